"""`coderl sample --best-of N`: sample tasks, choose, count on hidden tests; a JSON file and a plot of the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from coderl.config import RunConfig
from coderl.errors import ConfigError
from coderl.learned import load_learned
from coderl.run_folder import RunFolder, atomic_write
from coderl.stages.best_of_n import Choice, choose, to_json
from coderl.store import RolloutStore
from coderl.train import workbench


def sample_best_of(config: RunConfig, out: Path) -> list[Choice]:
    """Choices of `config.best_of_n` on tasks.test; writes `out`, the plot beside it (.svg) and the samples (.rollouts)."""
    with workbench(config) as bench:
        learned = config.reward.learned
        if learned is not None:
            bench = replace(bench, learned=load_learned(learned, Path(learned.model), bench.policy))
        choices, rollouts = choose(bench, config.best_of_n, "sample")
        if bench.accelerator.is_main_process:
            atomic_write(out, to_json(choices))
            RolloutStore(out.with_suffix(".rollouts")).append("sample", 0, rollouts)
            plot(choices, out.with_suffix(".svg"))
        return choices


def last_reward_model(folder: RunFolder) -> Path:
    """The newest reward model of a run. Raises ConfigError if it has none."""
    found = sorted((folder.path / "reward_models").glob("[0-9]*_*"), key=lambda path: int(path.name.partition("_")[0]))
    if not found:
        raise ConfigError(f"run folder {folder.path}: has no reward model: name one with --reward-model")
    return found[-1]


def plot(choices: Sequence[Choice], path: Path) -> None:
    """Pass rate on hidden tests against N, one curve per way to choose, with the 95 % intervals over problems."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "best of n", "font.size": 9.0}):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        for by in dict.fromkeys(choice.by for choice in choices):
            own = [choice for choice in choices if choice.by == by]
            x = [choice.n for choice in own]
            [line] = axes.plot(x, [c.pass_rate for c in own], marker="o", markersize=3, label=by.replace("_", " "))
            axes.fill_between(
                x, [c.low for c in own], [c.high for c in own], color=line.get_color(), alpha=0.12, linewidth=0
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({c.n for c in choices}), [str(n) for n in sorted({c.n for c in choices})])
        axes.set_xlabel("samples to choose from (N)")
        axes.set_ylabel("passes all hidden tests")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
