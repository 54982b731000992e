"""What does bandit say of a program? An optional second opinion on harm: `reward.harm_source: bandit`, extra `harm`.

Bandit reads the text and runs none of it. Findings of low severity (every assert, every import of random) say nothing about
harm here and are left out; `# nosec` comments are ignored, or a policy would learn to write them. Source: its documentation.
"""

from __future__ import annotations

import functools
import tempfile
from importlib.util import find_spec
from pathlib import Path

from coderl.errors import ConfigError

SEVERITY = {"MEDIUM": 0.5, "HIGH": 1.0}


def require() -> None:
    """Raises ConfigError where bandit is not installed."""
    if find_spec("bandit") is None:
        raise ConfigError("reward.harm_source: bandit is not installed: pip install 'coderl[harm]', or use rules")


@functools.lru_cache(maxsize=4096)
def bandit_findings(program: str) -> tuple[tuple[str, str], ...]:
    """The test and the severity of every finding, e.g. ("B605", "HIGH"), in the order of lines; none if it does not parse."""
    from bandit.core.config import BanditConfig
    from bandit.core.manager import BanditManager

    with tempfile.TemporaryDirectory(prefix="coderl-bandit-") as folder:
        path = Path(folder) / "program.py"
        path.write_text(program, encoding="utf-8", errors="replace")
        manager = BanditManager(BanditConfig(), "file", quiet=True, ignore_nosec=True)
        manager.discover_files([str(path)])
        manager.run_tests()
        return tuple((issue.test_id, issue.severity) for issue in manager.get_issue_list())


def bandit_harm(program: str) -> float:
    """The severities of all findings, at most 1."""
    return min(1.0, sum(SEVERITY.get(severity, 0.0) for _, severity in bandit_findings(program)))
