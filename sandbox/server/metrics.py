"""What does the server count, and how does Prometheus read it?"""

from __future__ import annotations

import threading
from collections import defaultdict

from sandbox.verdict import Verdict

TEXT = "text/plain; version=0.0.4; charset=utf-8"
_HELP = {
    "sandbox_requests_total": ("counter", "HTTP requests answered, by path and status"),
    "sandbox_programs_total": ("counter", "Programs graded or run, by outcome"),
    "sandbox_cases_total": ("counter", "Cases of graded programs"),
    "sandbox_cpu_seconds_total": ("counter", "CPU time of cases"),
    "sandbox_cancelled_total": ("counter", "Programs dropped because the client had gone"),
    "sandbox_replayed_total": ("counter", "Batches answered, or taken up again, by their idempotency key"),
    "sandbox_refused_total": ("counter", "Requests refused, by reason"),
    "sandbox_waiting": ("gauge", "Programs that wait or run"),
    "sandbox_max_queue": ("gauge", "Programs that may wait or run before 429"),
    "sandbox_workers": ("gauge", "Programs that run at once"),
    "sandbox_blob_bytes": ("gauge", "Programs and tests kept by their hash"),
    "sandbox_result_bytes": ("gauge", "Verdicts kept by idempotency key"),
}


class Metrics:
    """Counters and gauges by name and labels; safe to share between threads."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        with self._lock:
            self._values[name, tuple(sorted(labels.items()))] += value

    def set(self, name: str, value: float) -> None:
        with self._lock:
            self._values[name, ()] = value

    def verdict(self, verdict: Verdict) -> None:
        self.add("sandbox_programs_total", outcome=verdict.outcome.value)
        self.add("sandbox_cases_total", len(verdict.cases))
        self.add("sandbox_cpu_seconds_total", sum(case.cpu_ms for case in verdict.cases) / 1000)

    def text(self) -> str:
        """All of them in Prometheus' text format, one HELP and TYPE for each name."""
        with self._lock:
            values = sorted(self._values.items())
        lines = []
        for name, (kind, about) in _HELP.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            for (own, labels), value in values:
                if own == name:
                    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
                    lines.append(f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}")
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
