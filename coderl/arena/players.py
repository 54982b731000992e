"""Who plays? A model's answers to tasks: the last evaluation of a run, or any file that an evaluation wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from coderl.arena.ratings import Game
from coderl.errors import ConfigError, RunFolderError
from coderl.evaluate.passk import pass_rates
from coderl.pairs import Pair
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """`rates` maps a task to the share of samples that pass; `store` and `stage` say where the samples are kept."""

    name: str
    path: Path
    rates: dict[str, float]
    store: Path
    stage: str

    def rollouts(self) -> list[Rollout]:
        """The samples of the evaluation; none where they were not kept."""
        return list(RolloutStore(self.store).read(self.stage))


def read_players(specs: Sequence[str]) -> list[Player]:
    """RUN, EVAL.json or NAME=one of them, each. Raises ConfigError for two of one name, RunFolderError as `read_player`."""
    players = [read_player(spec) for spec in specs]
    names = [player.name for player in players]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"arena: two players are called {name!r}: name one of them, as in after={specs[-1]}")
    return players


def read_player(spec: str) -> Player:
    """`runs/mine` is its last evaluation; `runs/mine/evals/1_eval_00000.json` is called mine/1_eval."""
    given, _, rest = ("", "", spec) if Path(spec).exists() else spec.partition("=")
    path = Path(rest or given)
    if path.is_dir():
        folder = RunFolder.open(path)
        stages = folder.config().stages
        last = max((i for i, stage in enumerate(stages) if stage == "eval"), default=None)
        if last is None:
            raise RunFolderError(f"run folder {path}: has no stage eval to compare by; evaluate it with `coderl eval`")
        file, stage, store, name = folder.evals_dir / f"{last}_eval_00000.json", f"{last}_eval", folder.rollouts_dir, ""
    elif path.parent.name == "evals" and path.parent.with_name("rollouts").is_dir():
        file, stage, store = path, path.stem.rpartition("_")[0], path.parent.with_name("rollouts")
        name = f"{path.resolve().parent.parent.name}/{stage}"
    else:
        file, stage, store, name = path, "eval", path.with_suffix(".rollouts"), path.stem
    try:
        rates = pass_rates(json.loads(file.read_text(encoding="utf-8"))["scores"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        fault = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise RunFolderError(
            f"{file}: not an evaluation ({fault}); give a run that has ended, or a file of coderl eval"
        ) from error
    return Player(
        name=(given if rest else "") or name or path.resolve().name, path=path, rates=rates, store=store, stage=stage
    )


def games_by_execution(players: Sequence[Player]) -> list[Game]:
    """One game for every two players and task that both answered: a sample of each, drawn at random, in expectation.

    With pass rates p and q: p wins p (1 - q), loses q (1 - p), and ties the rest (both pass, or none does).
    """
    games = []
    for first, second in combinations(players, 2):
        for problem in sorted(first.rates.keys() & second.rates.keys()):
            p, q = first.rates[problem], second.rates[problem]
            wins, losses = p * (1 - q), q * (1 - p)
            games.append(
                Game(
                    first=first.name, second=second.name, problem=problem, source="execution",
                    wins=wins, losses=losses, ties=1 - wins - losses,
                )
            )  # fmt: skip
    return games


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """The games that pairs stand for, and how many pairs are of unknown or of doubtful origin."""

    games: list[Game]
    unknown: int  # a side that no player wrote
    doubtful: int  # a side that several wrote, or both sides by one


def games_by_pairs(players: Sequence[Player], pairs: Iterable[Pair]) -> Attributed:
    """One game per pair whose two sides were written by two players; by task and text, so a label needs to name no model."""
    writers: dict[tuple[str, str], set[str]] = {}
    for player in players:
        for rollout in player.rollouts():
            writers.setdefault((rollout.task_id, rollout.completion), set()).add(player.name)
    games, unknown, doubtful = [], 0, 0
    for pair in pairs:
        better = writers.get((pair.task_id, pair.chosen), set())
        worse = writers.get((pair.task_id, pair.rejected), set())
        if not better or not worse:
            unknown += 1
            continue
        both = better | worse
        alike = pair.chosen == pair.rejected
        if len(both) != 2 or not (alike or len(better) == len(worse) == 1):
            doubtful += 1
            continue
        first, second = sorted(both) if alike else (min(better), min(worse))
        won = 0.0 if pair.tie else 1.0
        games.append(
            Game(
                first=first, second=second, problem=pair.task_id, wins=won, losses=0.0, ties=1 - won, source=pair.source,
                weight=pair.weight,
            )
        )  # fmt: skip
    return Attributed(games=games, unknown=unknown, doubtful=doubtful)
