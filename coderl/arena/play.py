"""From players and pairs to tables: all games together, then those of each source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coderl.arena.page import Table
from coderl.arena.players import games_by_execution, games_by_pairs, read_players
from coderl.arena.ratings import Game, rate
from coderl.errors import ConfigError
from coderl.pairs import read_pairs

FEW = 20  # problems, below which percentile intervals are not to be trusted


def play(specs: Sequence[str], pair_files: Sequence[Path], *, seed: int) -> tuple[list[Table], list[str]]:
    """The tables, that of all games first, and what a reader must know of them. Raises ConfigError or RunFolderError."""
    if len(specs) < 2:
        raise ConfigError("arena: one player has nobody to play against: name two runs or evaluations, or more")
    players = read_players(specs)
    games = games_by_execution(players)
    notes = []
    for file in pair_files:
        pairs = read_pairs(file)
        found = games_by_pairs(players, pairs)
        notes.append(
            f"{file}: {len(found.games)} of {len(pairs)} pairs are games of two players; {found.unknown} hold a completion "
            f"that none of them wrote, {found.doubtful} one whose writer is in doubt"
        )
        games += found.games
    playing = {name for g in games for name in (g.first, g.second)}
    if idle := [player.name for player in players if player.name not in playing]:
        raise ConfigError(f"arena: {idle[0]} shares no task and no pair with another: evaluate all on the same tasks")
    if (problems := len({g.problem for g in games})) < FEW:
        notes.append(f"intervals from {problems} problems are too narrow: a bootstrap wants {FEW} or more")
    try:
        tables = [_table("all", games, seed)]
    except ValueError as error:
        raise ConfigError(f"arena: {error}: evaluate them on the same tasks") from error
    sources = sorted({g.source for g in games})
    for source in sources if len(sources) > 1 else []:
        try:
            tables.append(_table(source, [g for g in games if g.source == source], seed))
        except ValueError as error:
            notes.append(f"no table from {source} alone: {error}")
    return tables, notes


def _table(source: str, games: list[Game], seed: int) -> Table:
    standings, meetings = rate(games, seed=seed)
    problems = len({g.problem for g in games})
    return Table(source=source, num_games=len(games), num_problems=problems, standings=standings, meetings=meetings)
