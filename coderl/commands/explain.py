"""`coderl explain`: why did one rollout get its reward and its advantage?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coderl.commands.extras import needing_extra

if TYPE_CHECKING:
    from coderl.explain import Explanation

MAX_TOKENS = 200  # shown with their KL


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    rollout: Annotated[str, typer.Argument(metavar="ROLLOUT", help="STAGE/STEP/NUMBER, e.g. 2_grpo/7/3.")],
    record: Annotated[
        Path | None, typer.Option(help="Write program, tests and verdict here, for `sandbox replay`.")
    ] = None,
) -> None:
    """Print a rollout's program, tests, verdict, reward, advantage and KL per token, and run it in the sandbox again."""
    from rich.console import Console

    from coderl.run_folder import RunFolder
    from coderl.show_task import rendered

    folder = RunFolder.open(run)
    with needing_extra():
        from coderl.explain import explain as explained
    found = explained(folder, rollout)
    console = Console(highlight=False)
    console.print(rendered(found.task))
    for line in lines(found):
        console.print(line, markup=False)
    if record is not None:
        from sandbox.record import write_record

        write_record(record, found.request, found.replayed)
        console.print(f"written  {record}; `sandbox replay {record}` runs it again", markup=False, soft_wrap=True)


def lines(found: Explanation) -> list[str]:
    """What is printed below the task."""
    from sandbox import printable

    rollout, verdict = found.rollout, found.rollout.verdict
    text = ["program", *(f"  {printable(line, keep='')}" for line in (rollout.program or "(none found)").splitlines())]
    if verdict is not None:
        text.append(f"verdict  {verdict.outcome} {printable(verdict.detail, keep='')}".rstrip())
        pairs = zip(verdict.cases, found.replayed.cases, strict=False)
        for number, (then, now) in enumerate(pairs):
            kind = "visible" if number < len(found.task.visible) else "hidden"
            again = "" if then.outcome == now.outcome else f"; now {now.outcome}"
            text.append(f"  case {number} ({kind})  {then.outcome}{again}  {printable(then.detail, keep='')}".rstrip())
    text.append(f"replay   {found.replayed.outcome}: {'the same' if found.agrees else 'NOT the same'} as then")
    parts = " + ".join(f"{name} {value:g}" for name, value in rollout.reward_parts.items())
    text.append(f"reward   {parts} = {rollout.reward:g}")
    rewards = [r.reward for r in found.group if not math.isnan(r.reward)]
    if rollout.advantage is not None:
        text.append(f"advantage {rollout.advantage:.4f} (mean over tokens)")
    if len(rewards) > 1:
        mean = math.fsum(rewards) / len(rewards)
        deviation = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1))
        shown = ", ".join(f"{r:g}" for r in rewards)
        text.append(f"group    rewards {shown}; mean {mean:.4f}, deviation {deviation:.4f}")
    text.append(f"KL       {math.fsum(found.token_kl):.4f} nats to the start of the stage, by token:")
    pairs_of_tokens = list(zip(found.tokens, found.token_kl, strict=True))[:MAX_TOKENS]
    return text + [f"  {kl:+.3f} {token!r}" for token, kl in pairs_of_tokens]
