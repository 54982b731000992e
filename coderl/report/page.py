"""How is a run told on one page? Whether it helped, what was done and went wrong, what it wrote, and how to do it again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from coderl.report import sample_view, stage_view, tasks_view
from coderl.report.evidence import Comparison, Curves, Evaluated, Event, Evidence, comparison, read_evidence
from coderl.report.further import further_view
from coderl.report.markup import Html, document, facts, join, table, tag
from coderl.run_folder import RunFolder, atomic_write
from tasks.task import Task

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the page may load nothing and run nothing
# What a stage does, in words.
DOES = {
    "sft": "imitates reference solutions",
    "rejection": "imitates its own samples that passed",
    "sample": "samples training tasks and grades them",
    "pairs": "makes pairs of samples that execution tells apart",
    "reward_model": "trains a reward model on pairs",
    "dpo": "learns from pairs which program is better (DPO)",
    "best_of_n": "chooses among N samples of each held-out task",
    "eval": "is tested on held-out tasks",
}
MAX_EVENTS = 3  # of one kind that are told
ONLINE = "learns from the verdicts on its own samples ({})"
# Events that say that a run may not be what its reward says, in words.
ALARMS = {
    "reward_hacking": "reward hacking",
    "mode_collapse": "mode collapse",
    "learned_reward_diverges": "reward model and verdicts part",
    "annotators_disagree": "people do not agree which program is better",
    "eos_unreachable": "no completion stops by itself",
    "no_program": "no completion holds a program",
    "no_reward_variance": "all rewards alike",
    "flaky_verdict": "a verdict changed when it was looked at again",
    "unscorable": "verdicts that nobody could reach",
    "stopped": "the run was stopped",
    "hang": "nothing moved",
}


def write_report(folder: RunFolder, *, tasks: Sequence[Task] | None = None) -> Path:
    """Write report.html of a run, finished or not; `tasks` as for `read_evidence`.

    Raises RunFolderError if the folder cannot be read or written.
    """
    atomic_write(folder.report_path, render(read_evidence(folder, tasks=tasks)).encode())
    return folder.report_path


def render(evidence: Evidence, *, policy: str = POLICY, tail: str = "") -> str:
    """The whole page, with `tail` after what it tells."""
    config = evidence.config
    found = comparison(evidence.evaluations, evidence.tasks)
    body = [
        tag("header", tag("h1", config.name), _answer(evidence, found)),
        _section("What was done", _story(evidence)),
        _section("Alarms", _alarms(evidence)),
        _section("Evaluations on held-out tasks", _evaluations(evidence.evaluations)),
        _section("Which tasks it solves", tasks_view.difficulty(found) if found else Html()),
        *(
            _section(f"Stage {curves.label}", stage_view.stage(curves, evidence.choices.get(curves.label, ())))
            for curves in evidence.curves
        ),
        _section("Where the time went", stage_view.budgets(evidence.curves, config)),
        _section("What people said", tag("pre", evidence.labels) if evidence.labels else Html()),
        _section("What it wrote", _samples(evidence)),
        _section("What further evaluations found", further_view(evidence.further)),
        _section("What was run", _setting(evidence)),
        _section("Do it again", _again(evidence)),
    ]
    return document(config.name, tag("main", *body), tail, policy=policy)


def _section(title: str, *children: Html) -> Html:
    return tag("section", tag("h2", title), *children) if any(children) else Html()


def _answer(evidence: Evidence, found: Comparison | None) -> Html:
    state = "" if evidence.finished else "This run is not finished. "
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


def _story(evidence: Evidence) -> Html:
    """The stages in order: what each did, and what came of it as far as it got."""
    config = evidence.config
    curves = {found.label: found for found in evidence.curves}
    tests = {found.label: found for found in evidence.evaluations if not found.step}
    steps = []
    for number, name in enumerate(config.stages):
        label = f"{number}_{name}"
        does = DOES.get(name, ONLINE.format(name.upper().replace("_", "-")))
        if label in tests:
            came = f"pass@1 {tests[label].pass_at_k[1][0]:.1%}" if 1 in tests[label].pass_at_k else "done"
        elif label in curves:
            came = _came_of(curves[label], getattr(config, name))
        else:
            came = "not reached"
        steps.append((label, f"{does}: {came}"))
    lora = config.policy.lora
    trained = f"LoRA adapters of rank {lora.rank}" if lora else "all weights"
    origin = "a new model, made from scratch" if config.policy.model == "new:" else config.policy.model
    about = f"The policy starts as {origin}; {trained} are trained. It works through {len(config.stages)} stages:"
    return join([tag("p", about), facts(steps)])


def _came_of(curves: Curves, section: object) -> str:
    planned = getattr(section, "steps", None)
    told = [f"{curves.steps[-1]} of {planned} steps"] if planned else []
    for name, word in (
        ("rollout/pass_rate", "pass rate of samples"),
        ("pairs/accuracy", "pairs in order"),
        ("loss", "loss"),
    ):
        values = [v for v in curves.values.get(name, []) if not math.isnan(v)]
        if values:
            told.append(f"{word} {values[0]:.3g} → {values[-1]:.3g}" if len(values) > 1 else f"{word} {values[0]:.3g}")
            break
    if (count := curves.values.get("pairs/count")) is not None:
        told.append(f"{count[-1]:.0f} pairs")
    return ", ".join(told) or "done"


def _alarms(evidence: Evidence) -> Html:
    """The events by stage and kind, of many alike the first and the last; or that there was none, and what was looked for."""
    kinds: dict[tuple[str, str], list[Event]] = {}
    for event in evidence.events:
        kinds.setdefault((event.stage, event.name), []).append(event)
    if not kinds:
        watched = ", ".join(ALARMS[name] for name in ("reward_hacking", "mode_collapse", "learned_reward_diverges"))
        return tag("p", f"None. Looked for, among others: {watched}.") if evidence.curves else Html()
    told = []
    for (stage, name), events in kinds.items():
        mark = tag("span", ALARMS.get(name, name), cls="verdict bad")
        shown = events if len(events) <= MAX_EVENTS else [*events[: MAX_EVENTS - 1], events[-1]]
        lines = [tag("li", f"{_place(event)}{event.name}: {event.message}") for event in shown]
        if len(shown) < len(events):
            lines.insert(-1, tag("li", f"{len(events) - len(shown)} more like these"))
        told.append(tag("div", tag("p", mark, f" {stage}"), tag("ul", *lines), cls="alarm"))
    return join(told)


def _place(event: Event) -> str:
    at = f"step {event.step}" if event.step else ""
    words = " ".join(word for word in (event.stage, at) if word)
    return f"{words}, " if words else ""


def _evaluations(found: list[Evaluated]) -> Html:
    if not found:
        return Html()
    ks = sorted({k for e in found for k in e.pass_at_k})
    rows = [
        [e.title, *(_estimate(e, k) for k in ks), str(e.num_tasks), _percent(e.truncated), _temperature(e.temperature)]
        for e in found
    ]
    header = ["after", *(f"pass@{k} (95 % interval)" for k in ks), "tasks", "cut off", "temperature"]
    mixes = [(e.title, stage_view.verdict_shares(e.verdicts)) for e in found]
    mix = join([tag("h3", "how the samples ended"), facts(mixes)]) if any(text for _, text in mixes) else Html()
    return join([table(header, rows), mix])


def _samples(evidence: Evidence) -> Html:
    if evidence.damage:
        return tag("p", evidence.damage)
    shown = [sample_view.sample(sample) for sample in evidence.samples]
    if shown and evidence.without_tasks:
        shown.insert(
            0, tag("p", f"Some tests are not shown, as their tasks could not be loaded: {evidence.without_tasks}")
        )
    return join(shown)


def _setting(evidence: Evidence) -> Html:
    config, versions = evidence.config, evidence.versions
    packages = versions.get("packages", {})
    resumed = []
    for record in versions.get("resumed", []):
        changes = [f"{key} {old!r} → {new!r}" for key, (old, new) in record.get("changes", {}).items()]
        resumed.append(f"{record.get('started', '')} ({', '.join(changes) or 'same config'})")
    reward = f"{config.reward.scheme}, looking at {config.reward.cases} cases"
    online = any(name not in DOES for name in config.stages)
    return facts(
        [
            ("policy", config.policy.model + (f", LoRA rank {config.policy.lora.rank}" if config.policy.lora else "")),
            ("stages", " → ".join(config.stages)),
            ("trained on", ", ".join(dict.fromkeys([*config.tasks.sft, *config.tasks.train]))),
            ("held out", ", ".join(config.tasks.test)),
            ("reward", reward if online else ""),
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
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return join(
        [
            tag("p", f"{told}{promise}"),
            tag("pre", tag("code", str(evidence.versions.get("command", "")))),
            tag("p", f"Reports of the same config have the same digest: {digest}.", cls="note"),
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
