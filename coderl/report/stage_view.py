"""How did a stage go? Its curves, its verdicts and where its time went, as pictures and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from coderl.config import RunConfig
from coderl.report import plots
from coderl.report.budget import PARTS, Budget, budget, duration
from coderl.report.evidence import Choice, Curves
from coderl.report.markup import Html, facts, join, table, tag
from coderl.step_time import knob
from coderl.store import stage_index

# Which numbers of a training stage are drawn, under which title; several in one picture share an axis.
CURVES: dict[str, dict[str, str]] = {
    "Reward": {"rollout/reward": "reward"},
    "Pass rate of samples": {"rollout/pass_rate": "all cases", "rollout/visible_pass_rate": "visible cases"},
    "Tasks with a sample that passes": {"rollout/pass_at_group": "share"},
    "Loss": {"loss": "loss"},
    "Pairs in the right order": {"pairs/accuracy": "share"},
    "Scores of pairs": {"pairs/score_margin": "chosen less rejected", "pairs/score_mean": "mean"},
    "Implicit reward of pairs": {"pairs/reward_chosen": "chosen", "pairs/reward_rejected": "rejected"},
    "Log-probability of pairs, nats": {"pairs/logprob_chosen": "chosen", "pairs/logprob_rejected": "rejected"},
    "Reward model's score, standard deviations": {"learned/score": "score"},
    "Correlation of score and verdict": {"learned/correlation": "correlation"},
    "KL to the start of the stage, nats per token": {"policy/ref_kl": "KL"},
    "Approximate KL to the sampling policy, nats": {"policy/approx_kl": "KL"},
    "Entropy, nats per token": {"rollout/entropy": "entropy"},
    "Different programs per sample": {"rollout/unique_asts": "by syntax tree", "rollout/distinct_2": "distinct-2"},
    "Tokens per completion": {"rollout/length": "tokens"},
    "Completions cut off": {"rollout/truncated": "share"},
    "Groups without a signal": {"rollout/groups_without_signal": "share"},
    "Clipped tokens": {"policy/clip_fraction": "share"},
    "Critic: explained variance": {"critic/explained_variance": "explained"},
    "Gradient norm before clipping": {"grad_norm/policy": "policy", "grad_norm/critic": "critic"},
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
TIMES = {name: title for name, title in PARTS.items() if name != "time/idle"}  # waiting is no work
# The state of the training tasks, as the curriculum keeps it.
SEEN = {
    "all": "always",
    "over_half": "half or more",
    "under_half": "less than half",
    "none": "never",
    "untried": "untried",
}
SEEN_COLOURS = {"all": 0, "over_half": 1, "under_half": 3, "none": 2, "untried": plots.GREY}
HIDDEN = ("difficulty/", "verdict/", "time/", "reward/", "best_of_n/")  # drawn or listed elsewhere
NAMED = {
    "pairs/count": "pairs",
    "pairs/tasks": "tasks with a pair",
    "pairs/flaky_programs": "programs left out, as their verdict changed",
    "pairs/chosen_longer": "share of pairs whose chosen program is longer",
    "rollout/num_samples": "samples",
    "rollout/pass_rate": "pass rate of samples",
    "rollout/visible_pass_rate": "pass rate on visible cases",
    "rollout/pass_at_group": "tasks with a sample that passes",
    "rollout/entropy": "entropy, nats per token",
    "rollout/length": "tokens per completion",
    "rollout/truncated": "completions cut off",
    "reward_model/pairs": "held-out pairs",
    "reward_model/problems": "held-out tasks",
    "reward_model/accuracy": "held-out pairs in the right order",
    "reward_model/auc": "area under the curve, score against verdict",
    "reward_model/auc_within_problems": "the same within a task",
    "reward_model/ece": "calibration error (ECE)",
    "rejection/kept": "programs imitated",
}


def stage(curves: Curves, choices: Sequence[Choice]) -> Html:
    """All that the metrics say of one stage."""
    if choices:
        return _best_of(choices)
    many = len(curves.steps) > 1
    pictures = [*_curves(curves), *_parts(curves), *_verdicts(curves), *_seen(curves), *_times(curves)] if many else []
    drawn = tag("div", *pictures, cls="plots") if pictures else Html()
    still = [title for title, names in CURVES.items() if many and _is_still(curves, names)]
    note = tag("p", f"0 at every step: {'; '.join(still)}.", cls="note") if still else Html()
    return join([drawn, note, _at_the_end(curves, drawn=many)])


def budgets(found: Sequence[Curves], config: RunConfig) -> Html:
    """One row per stage: how long it took, the share of each part, and which setting would make the largest part smaller."""
    rows = [spent for curves in found if (spent := budget(curves.label, curves.values)) is not None]
    if not rows:
        return Html()
    names = [name for name in PARTS.values() if any(name in row.parts for row in rows)]
    header = ["stage", "steps", "time", "per step", *names, "other"]
    whole = Budget(
        stage="all",
        num_steps=sum(row.num_steps for row in rows),
        total=math.fsum(row.total for row in rows),
        parts={name: math.fsum(row.parts.get(name, 0.0) for row in rows) for name in names},
    )
    told = [_budget_row(row, names) for row in ([*rows, whole] if len(rows) > 1 else rows)]
    note = " ".join(
        ["Without evaluations, start-up and checkpoints.", *filter(None, (_advice(row, config) for row in rows))]
    )
    return join([table(header, told), tag("p", note, cls="note")])


def _advice(spent: Budget, config: RunConfig) -> str:
    """What would help a stage that learns; "" where nothing is known."""
    names = {title: name.removeprefix("time/") for name, title in PARTS.items()}
    section = config.stages[stage_index(spent.stage)] if stage_index(spent.stage) < len(config.stages) else ""
    if not spent.parts or not section:
        return ""
    largest = max(spent.parts, key=spent.parts.__getitem__)
    setting = knob(names[largest], config, section, has_bfloat16=False)
    return f"To make the {largest} of {spent.stage} faster: {setting}." if setting else ""


def verdict_shares(verdicts: Mapping[str, int]) -> str:
    """E.g. "passed 24%, partly or wrong 52%", of the groups of VERDICTS that occurred."""
    total = sum(verdicts.values())
    shares = {
        title: sum(verdicts.get(o, 0) for o in outcomes.split()) / total
        for title, (outcomes, _) in VERDICTS.items()
        if total
    }
    return ", ".join(f"{title} {share:.0%}" for title, share in shares.items() if share)


def _budget_row(spent: Budget, names: Sequence[str]) -> list[str]:
    def share(seconds: float) -> str:
        return f"{seconds / spent.total:.0%}" if spent.total else "–"

    parts = [share(spent.parts[name]) if name in spent.parts else "–" for name in names]
    per_step = f"{spent.total / spent.num_steps:.3g} s"
    return [spent.stage, str(spent.num_steps), duration(spent.total), per_step, *parts, share(spent.rest)]


def _curves(curves: Curves) -> list[Html]:
    pictures = []
    for title, names in CURVES.items():
        if not _is_still(curves, names):
            pictures += _picture(title, curves, names)
    return pictures


def _is_still(curves: Curves, names: Mapping[str, str]) -> bool:
    """Whether there is nothing to see: all values are 0."""
    values = [v for name in names for v in curves.values.get(name, ()) if not math.isnan(v)]
    return len(values) > 1 and not any(values)


def _picture(title: str, curves: Curves, names: Mapping[str, str]) -> list[Html]:
    present = {name: short for name, short in names.items() if name in curves.values}
    given = [
        plots.Line(name=short, x=curves.steps, y=curves.values[name], colour=i)
        for i, (name, short) in enumerate(present.items())
        if sum(not math.isnan(v) for v in curves.values[name]) > 1
    ]
    return [plots.lines(title, given)] if given else []


def _parts(curves: Curves) -> list[Html]:
    """The parts of the reward, where there is more than one."""
    names = {name: name.removeprefix("reward/") for name in curves.values if name.startswith("reward/")}
    return _picture("Parts of the reward", curves, names) if len(names) > 1 else []


def _verdicts(curves: Curves) -> list[Html]:
    layers = []
    for title, (outcomes, colour) in VERDICTS.items():
        own = [curves.values[f"verdict/{o}"] for o in outcomes.split() if f"verdict/{o}" in curves.values]
        if own:
            shares = [sum(v for v in at if not math.isnan(v)) for at in zip(*own, strict=True)]
            layers.append(plots.Line(name=title, x=curves.steps, y=shares, colour=colour))
    return [plots.areas("Verdicts, share of samples", curves.steps, layers)] if layers else []


def _seen(curves: Curves) -> list[Html]:
    """Per level of the training tasks: how often the policy solves them by now."""
    levels = dict.fromkeys(name.split("/")[1] for name in curves.values if name.startswith("difficulty/"))
    pictures = []
    for level in levels:
        layers = [
            plots.Line(name=short, x=curves.steps, y=curves.values[name], colour=SEEN_COLOURS[key])
            for key, short in SEEN.items()
            if (name := f"difficulty/{level}/{key}") in curves.values
        ]
        title = "Training tasks, by how often they are solved"
        pictures.append(plots.areas(title if level == "0" else f"{title}: level {level}", curves.steps, layers))
    return pictures


def _times(curves: Curves) -> list[Html]:
    present = [name for name in TIMES if name in curves.values]
    if len(present) < 2:
        return []
    given = [plots.Line(name=TIMES[n], x=curves.steps, y=curves.values[n], colour=i) for i, n in enumerate(present)]
    return [plots.areas("Seconds of a step", curves.steps, given)]


def _at_the_end(curves: Curves, *, drawn: bool) -> Html:
    """The numbers that were measured once: at the end of a training stage, or by a stage that does not train."""
    once = {}
    for name, values in curves.values.items():
        finite = [value for value in values if not math.isnan(value)]
        if len(finite) == 1 and not name.startswith(HIDDEN) and not (drawn and name == "loss"):
            once[name] = finite[0]
    told = []
    for name, value in once.items():
        low, high = once.get(f"{name}_low"), once.get(f"{name}_high")
        interval = f" (95 % interval {low:.3g} to {high:.3g})" if low is not None and high is not None else ""
        if not name.endswith(("_low", "_high")):
            told.append((name, f"{value:.0f}" if value == round(value) else f"{value:.4g}{interval}"))
    first = [(NAMED[name], text) for name, text in told if name in NAMED]
    rest = [(name, text) for name, text in told if name not in NAMED]
    more = tag("details", tag("summary", f"{len(rest)} more numbers"), facts(rest)) if rest else Html()
    return join([facts(first) if first else Html(), more])


def _best_of(choices: Sequence[Choice]) -> Html:
    ways = list(dict.fromkeys(choice.by for choice in choices))
    by_way = {way: sorted((c for c in choices if c.by == way), key=lambda c: c.n) for way in ways}
    given = [
        plots.Line(name=way.replace("_", " "), x=[c.n for c in own], y=[c.pass_rate for c in own], colour=i)
        for i, (way, own) in enumerate(by_way.items())
    ]
    picture = plots.lines("Pass rate of the chosen sample", given, unit="samples to choose from (N)")
    ns = sorted({choice.n for choice in choices})
    rows = []
    for way, own in by_way.items():
        told = {c.n: f"{c.pass_rate:.1%} ({c.low:.1%} to {c.high:.1%})" for c in own}
        rows.append([way.replace("_", " "), *(told.get(n, "–") for n in ns)])
    return join([tag("div", picture, cls="plots"), table(["chosen by", *(f"N = {n}" for n in ns)], rows)])
