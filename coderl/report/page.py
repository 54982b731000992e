"""How is a run told on one page? First whether it helped, then how it went, what it wrote, and how to do it again."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path

import yaml

from coderl.report import plots
from coderl.report.evidence import Curves, Evaluated, Event, Evidence, Sample, comparison, read_evidence
from coderl.report.markup import Html, facts, join, table, tag
from coderl.run_folder import RunFolder, atomic_write
from sandbox.verdict import Outcome

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the page may load nothing and run nothing
MAX_PROGRAM = 4000  # characters of a program shown

# Which numbers of a training stage are drawn, under which title; several in one picture share an axis.
CURVES: dict[str, dict[str, str]] = {
    "Reward": {"rollout/reward": "reward"},
    "Pass rate of samples": {"rollout/pass_rate": "all cases", "rollout/visible_pass_rate": "visible cases"},
    "Loss": {"loss": "loss"},
    "Gradient norm before clipping": {"grad_norm/policy": "policy", "grad_norm/critic": "critic"},
    "KL to the start of the stage, nats per token": {"policy/ref_kl": "KL"},
    "Approximate KL to the sampling policy, nats": {"policy/approx_kl": "KL"},
    "Entropy, nats per token": {"rollout/entropy": "entropy"},
    "Tokens per completion": {"rollout/length": "tokens"},
    "Completions cut off": {"rollout/truncated": "share"},
    "Groups without a signal": {"rollout/groups_without_signal": "share"},
    "Clipped tokens": {"policy/clip_fraction": "share"},
    "Critic: explained variance": {"critic/explained_variance": "explained"},
}
# One layer of the verdict picture each: what is alike for a person has one colour.
VERDICTS: dict[str, tuple[str, int]] = {
    "passed": ("AC", 0),
    "partly or wrong": ("PA WA", 1),
    "exception": ("RE", 2),
    "no code": ("CE", 3),
    "over a limit": ("MLE OLE FLE PLE TLE WTLE", 4),
    "forbidden or not scorable": ("SV IE JE SKIP", 5),
}
TIMES = {"time/generate": "sampling", "time/grade": "grading", "time/update": "learning"}


def write_report(folder: RunFolder) -> Path:
    """Write report.html of a run, finished or not. Raises RunFolderError if the folder cannot be read or written."""
    atomic_write(folder.report_path, render(read_evidence(folder)).encode())
    return folder.report_path


def render(evidence: Evidence, *, policy: str = POLICY, tail: str = "") -> str:
    """The whole page, with `tail` after what it tells."""
    config = evidence.config
    style = resources.files("coderl.report").joinpath("style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("title", f"{config.name} · coderl"),
        tag("style", Html(style)),
    )
    body = [
        tag("header", tag("h1", config.name), _answer(evidence)),
        _section("Evaluations on held-out tasks", _evaluations(evidence.evaluations)),
        *(_section(f"Stage {curves.label}", _stage(curves)) for curves in evidence.curves),
        _section("What happened", _events(evidence.events)),
        _section("What it wrote", _samples(evidence)),
        _section("What was run", _setting(evidence)),
        _section("Do it again", _again(evidence)),
    ]
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *body), tail), lang="en") + "\n"


def _section(title: str, *children: Html) -> Html:
    return tag("section", tag("h2", title), *children) if any(children) else Html()


def _answer(evidence: Evidence) -> Html:
    state = "" if evidence.finished else "This run is not finished. "
    found = comparison(evidence.evaluations)
    if found is None:
        none = "Whether training helped was not measured: that takes an evaluation before it and one after it."
        return tag("p", f"{state}{none}", cls="answer")
    difference = found.difference
    if difference.low > 0:
        verdict = "The policy became better."
    elif difference.high < 0:
        verdict = "The policy became worse."
    else:
        verdict = "The change cannot be told from chance."
    interval = f"95 % interval {100 * difference.low:+.1f} to {100 * difference.high:+.1f}, paired bootstrap over tasks"
    text = (
        f"{state}{verdict} pass@1 on {found.num_tasks} held-out tasks went from {found.before_mean:.1%} "
        f"({found.before.title}) to {found.after_mean:.1%} ({found.after.title}): "
        f"{100 * difference.estimate:+.1f} points ({interval})."
    )
    return tag("p", text, cls="answer")


def _evaluations(found: list[Evaluated]) -> Html:
    if not found:
        return Html()
    ks = sorted({k for e in found for k in e.pass_at_k})
    rows = [
        [e.title, *(_estimate(e, k) for k in ks), str(e.num_tasks), _percent(e.truncated), _temperature(e.temperature)]
        for e in found
    ]
    header = ["after", *(f"pass@{k} (95 % interval)" for k in ks), "tasks", "cut off", "temperature"]
    return join([table(header, rows), _levels(found)])


def _levels(found: list[Evaluated]) -> Html:
    levels = sorted({level for e in found for level, _, _ in e.scores.values()})
    if len(levels) < 2:
        return Html()
    rows = []
    for e in found:
        cells = []
        for level in levels:
            rates = [passed / n for own, n, passed in e.scores.values() if own == level and n]
            cells.append(f"{sum(rates) / len(rates):.1%} of {len(rates)}" if rates else "–")
        rows.append([e.title, *cells])
    return join([tag("h3", "pass@1 by level of difficulty"), table(["after", *(f"level {n}" for n in levels)], rows)])


def _stage(curves: Curves) -> Html:
    pictures = []
    for title, names in CURVES.items():
        present = {name: short for name, short in names.items() if name in curves.values}
        given = [
            plots.Line(name=short, x=curves.steps, y=curves.values[name], colour=i)
            for i, (name, short) in enumerate(present.items())
            if not all(map(math.isnan, curves.values[name]))
        ]
        if given:
            pictures.append(plots.lines(title, given))
    return join([tag("div", *pictures, *_verdicts(curves), *_times(curves), cls="plots")])


def _verdicts(curves: Curves) -> list[Html]:
    layers = []
    for title, (outcomes, colour) in VERDICTS.items():
        own = [curves.values[f"verdict/{o}"] for o in outcomes.split() if f"verdict/{o}" in curves.values]
        if own:
            shares = [sum(v for v in at if not math.isnan(v)) for at in zip(*own, strict=True)]
            layers.append(plots.Line(name=title, x=curves.steps, y=shares, colour=colour))
    return [plots.areas("Verdicts, share of samples", curves.steps, layers)] if layers else []


def _times(curves: Curves) -> list[Html]:
    present = [name for name in TIMES if name in curves.values]
    if len(present) < 2:
        return []
    given = [plots.Line(name=TIMES[n], x=curves.steps, y=curves.values[n], colour=i) for i, n in enumerate(present)]
    return [plots.areas("Seconds of a step", curves.steps, given)]


def _events(events: list[Event]) -> Html:
    return facts((f"{e.stage} step {e.step}, {e.name}", e.message) for e in events) if events else Html()


def _samples(evidence: Evidence) -> Html:
    if evidence.damage:
        return tag("p", evidence.damage)
    return join(_sample(sample) for sample in evidence.samples)


def _sample(sample: Sample) -> Html:
    rollout, verdict = sample.rollout, sample.rollout.verdict
    outcome = str(verdict.outcome) if verdict else "not graded"
    passed = verdict is not None and verdict.outcome is Outcome.AC
    parts = ", ".join(f"{name} {value:.3g}" for name, value in rollout.reward_parts.items())
    summary = tag(
        "summary",
        tag("span", outcome, cls="verdict good" if passed else "verdict bad"),
        f" {sample.stage} step {sample.step}, {sample.why} {rollout.reward:.3g}: {rollout.task_id}",
    )
    told = facts(
        [
            ("reward", parts),
            (
                "verdict",
                f"{verdict.num_passed} of {len(verdict.cases)} cases passed. {verdict.detail}" if verdict else "",
            ),
            ("integrity", str(verdict.integrity) if verdict else ""),
            ("length", f"{len(rollout.completion_ids)} tokens{', cut off' if rollout.truncated else ''}"),
        ]
    )
    shown = rollout.program or rollout.completion
    title = "program" if rollout.program else "completion, in which no code was found"
    cut = f"\n… {len(shown) - MAX_PROGRAM} more characters" if len(shown) > MAX_PROGRAM else ""
    return tag("details", summary, told, tag("h3", title), tag("pre", tag("code", shown[:MAX_PROGRAM] + cut)))


def _setting(evidence: Evidence) -> Html:
    config, versions = evidence.config, evidence.versions
    packages = versions.get("packages", {})
    resumed = []
    for record in versions.get("resumed", []):
        changes = [f"{key} {old!r} → {new!r}" for key, (old, new) in record.get("changes", {}).items()]
        resumed.append(f"{record.get('started', '')} ({', '.join(changes) or 'same config'})")
    reward = f"{config.reward.scheme}, looking at {config.reward.cases} cases"
    return facts(
        [
            ("policy", config.policy.model + (f", LoRA rank {config.policy.lora.rank}" if config.policy.lora else "")),
            ("stages", " → ".join(config.stages)),
            ("trained on", ", ".join(dict.fromkeys([*config.tasks.sft, *config.tasks.train]))),
            ("held out", ", ".join(config.tasks.test)),
            ("reward", reward if {"grpo", "ppo"} & set(config.stages) else ""),
            ("programs ran in", "; ".join(evidence.isolation)),
            ("seed", str(config.seed)),
            ("versions", ", ".join(f"{name} {version}" for name, version in packages.items() if version)),
            ("python", str(versions.get("python", ""))),
            (
                "machine",
                f"{versions.get('platform', '')}; {versions.get('num_cpus', '?')} × {versions.get('processor', '')}",
            ),
            ("started", str(versions.get("started", ""))),
            ("resumed", "; ".join(resumed)),
        ]
    )


def _again(evidence: Evidence) -> Html:
    text = yaml.safe_dump(evidence.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
    commit = str(evidence.versions.get("commit", ""))
    told = f"From commit {commit}. " if commit else ""
    promise = "The run is a function of its config and seed: the same versions on the same CPU repeat it bit for bit."
    return join(
        [
            tag("p", f"{told}{promise}"),
            tag("pre", tag("code", str(evidence.versions.get("command", "")))),
            tag("details", tag("summary", "config.yaml, every default filled in"), tag("pre", tag("code", text))),
        ]
    )


def _estimate(e: Evaluated, k: int) -> str:
    if k not in e.pass_at_k:
        return "–"
    estimate, low, high = e.pass_at_k[k]
    return f"{estimate:.1%}" + ("" if math.isnan(low) else f" ({low:.1%} to {high:.1%})")


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"


def _temperature(value: float) -> str:
    return "–" if math.isnan(value) else "greedy" if value == 0 else f"{value:g}"
