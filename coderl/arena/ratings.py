"""How strong is each player, given who beat whom? Bradley-Terry and Elo ratings, with intervals over problems. Pure.

Legend: M players, P problems, R resamples, G games. A tie is half a win for both sides (not Davidson's model: one parameter
less, and the score that Elo uses, too). Ratings are on Elo's scale: a difference of 400 is odds of 10 to 1; the mean is 1000.
Problems, not games, are resampled: games on one problem are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCALE = 400.0
MEAN = 1000.0
NUM_ORDERS = 200  # of the games, over which Elo is averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """One comparison of two players on a problem: the shares of it that each wins and that is tied; they sum to 1.

    >>> Game(first="a", second="b", problem="p", wins=0.5, losses=0.25, ties=0.25, source="execution").score
    0.625
    """

    first: str
    second: str
    problem: str
    wins: float  # of `first`
    losses: float
    ties: float
    source: str  # "execution", "human", "ai"
    weight: float = 1.0  # how often it counts, as that of a pair

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise ValueError(f"{self.first} cannot play against itself")
        if min(self.wins, self.losses, self.ties) < 0 or abs(self.wins + self.losses + self.ties - 1) > 1e-9:
            raise ValueError("wins, losses and ties are shares of one game: 0 or more, with a sum of 1")

    @property
    def score(self) -> float:
        """Of `first`, a tie being half a win."""
        return self.wins + self.ties / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One player. `place` is 1 plus the number of players that are better beyond their intervals."""

    player: str
    place: int
    rating: Estimate  # Bradley-Terry
    elo: Estimate
    score: Estimate  # mean score of a game
    num_games: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """All games of two players: shares of wins, losses and ties of `first`, and its score."""

    first: str
    second: str
    num_games: int
    wins: float
    losses: float
    ties: float
    score: Estimate


def bradley_terry(scores: Floats, *, tolerance: float = 1e-10, max_steps: int = 20_000) -> Floats:
    """Log-strengths (..., M) with mean 0 that maximise the likelihood of `scores` (..., M, M): [i, j] is what i won from j.

    P(i beats j) = exp(s_i) / (exp(s_i) + exp(s_j)) (Bradley and Terry 1952), by the MM step of Hunter 2004 (Annals of
    Statistics 32, equation 3): strength_i <- won_i / sum_j games_ij / (strength_i + strength_j). It has a maximum only if
    nobody wins everything from the rest, directly or through others; `with_draws` sees to that.
    """
    games = scores + np.swapaxes(scores, -1, -2)
    won = scores.sum(-1)
    log_strengths = np.zeros(scores.shape[:-1])
    for _ in range(max_steps):
        strengths = np.exp(log_strengths)
        expected = (games / (strengths[..., :, None] + strengths[..., None, :])).sum(-1)
        step = np.log(won) - np.log(expected)
        step -= step.mean(-1, keepdims=True)
        moved = np.abs(step - log_strengths).max()
        log_strengths = step
        if moved < tolerance:
            return log_strengths
    raise ValueError("Bradley-Terry: no convergence; is there a player that wins or loses every game?")


def with_draws(scores: Floats, num_draws: float) -> Floats:
    """`scores` (..., M, M) and `num_draws` imaginary drawn games of every two players, which keep ratings finite."""
    num_players = scores.shape[-1]
    return scores + num_draws / 2 * (1 - np.eye(num_players))


def to_rating(log_strengths: Floats) -> Floats:
    """On Elo's scale: rating = 1000 + 400 log10(strength)."""
    return MEAN + SCALE / np.log(10) * log_strengths


def elo(
    num_players: int,
    games: Sequence[tuple[int, int, float, float]],
    *,
    k: float = 16.0,
    order: NDArray[np.int64] | None = None,
) -> Floats:
    """Ratings (R, M) after the games (first, second, score of first, weight), played in each row of `order` (R, G); -1 skips.

    Elo 1978: r <- r + k weight (score - 1 / (1 + 10^((r_other - r) / 400))), all players starting at 1000.

    >>> elo(2, [(0, 1, 1.0, 1.0)] * 2, k=32.0).round(2).tolist()  # 1/2 expected, then 1 / (1 + 10^(-32/400)) = 0.5459
    [[1030.53, 969.47]]
    """
    rows = np.arange(len(games))[None, :] if order is None else order
    first = np.array([g[0] for g in games])
    second = np.array([g[1] for g in games])
    score = np.array([g[2] for g in games])
    step = k * np.array([g[3] for g in games])
    ratings = np.full((len(rows), num_players), MEAN)
    every = np.arange(len(rows))
    for column in rows.T:
        a, b = first[column], second[column]
        expected = 1 / (1 + 10 ** ((ratings[every, b] - ratings[every, a]) / SCALE))
        change = np.where(column >= 0, step[column] * (score[column] - expected), 0.0)
        ratings[every, a] += change
        ratings[every, b] -= change
    return ratings


def rate(
    games: Sequence[Game], *, seed: int = 0, num_resamples: int = 1000, num_draws: float = 1.0
) -> tuple[list[Standing], list[Meeting]]:
    """Standings, strongest first, and what happened between every two players that met.

    `num_draws` imaginary draws of every two players keep the rating of one that wins everything finite. Raises ValueError if
    there are two groups of players that never met.
    """
    players = sorted({name for g in games for name in (g.first, g.second)})
    if missing := _apart(players, games):
        raise ValueError(f"{missing[0]} and {missing[1]} never met, nor through others: no scale holds both")
    at = {player: i for i, player in enumerate(players)}
    problems = sorted({g.problem for g in games})
    which = {problem: i for i, problem in enumerate(problems)}
    won = np.zeros((len(problems), len(players), len(players)))  # (P, M, M)
    for g in games:
        won[which[g.problem], at[g.first], at[g.second]] += g.weight * g.score
        won[which[g.problem], at[g.second], at[g.first]] += g.weight * (1 - g.score)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(problems), size=(num_resamples, len(problems)))
    counts = np.stack([np.bincount(row, minlength=len(problems)) for row in drawn]).astype(float)  # (R, P)
    resampled = np.tensordot(counts, won, axes=1)  # (R, M, M)

    ratings = to_rating(bradley_terry(with_draws(won.sum(0), num_draws)))
    rating_samples = to_rating(bradley_terry(with_draws(resampled, num_draws)))
    played = [(at[g.first], at[g.second], g.score, g.weight) for g in games]
    orders = np.stack([generator.permutation(len(played)) for _ in range(NUM_ORDERS)])
    elos = elo(len(players), played, order=orders).mean(0)
    elo_samples = elo(
        len(players), played, order=_orders(drawn[:NUM_ORDERS], [which[g.problem] for g in games], generator)
    )

    with np.errstate(invalid="ignore"):  # a resample can lack a player
        total, sample_total = won.sum(0), resampled
        mean = total.sum(-1) / (total + total.T).sum(-1)
        sample_mean = sample_total.sum(-1) / (sample_total + np.swapaxes(sample_total, 1, 2)).sum(-1)
        share = total / (total + total.T)
        sample_share = sample_total / (sample_total + np.swapaxes(sample_total, 1, 2))
    rated = [_estimate(ratings[i], rating_samples[:, i]) for i in range(len(players))]
    standings = [
        Standing(
            player=player,
            place=1 + sum(other.low > rated[i].high for other in rated),
            rating=rated[i],
            elo=_estimate(elos[i], elo_samples[:, i]),
            score=_estimate(mean[i], sample_mean[:, i]),
            num_games=sum(player in (g.first, g.second) for g in games),
        )
        for player, i in at.items()
    ]
    meetings = [
        _meeting(games, a, b, _estimate(share[at[a], at[b]], sample_share[:, at[a], at[b]]))
        for a in players
        for b in players
        if a < b and any({g.first, g.second} == {a, b} for g in games)
    ]
    return sorted(standings, key=lambda s: -s.rating.value), meetings


def _meeting(games: Sequence[Game], first: str, second: str, score: Estimate) -> Meeting:
    own = [g for g in games if {g.first, g.second} == {first, second}]
    total = sum(g.weight for g in own)
    wins = sum(g.weight * (g.wins if g.first == first else g.losses) for g in own) / total
    losses = sum(g.weight * (g.losses if g.first == first else g.wins) for g in own) / total
    ties = sum(g.weight * g.ties for g in own) / total
    return Meeting(first=first, second=second, num_games=len(own), wins=wins, losses=losses, ties=ties, score=score)


def _estimate(value: float, samples: Floats) -> Estimate:
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return Estimate(value=float(value), low=float(low), high=float(high))


def _orders(drawn: NDArray[np.int64], problem_of: Sequence[int], generator: np.random.Generator) -> NDArray[np.int64]:
    """The games of the drawn problems, each row shuffled, filled up with -1."""
    of_problem: dict[int, list[int]] = {}
    for game, problem in enumerate(problem_of):
        of_problem.setdefault(problem, []).append(game)
    rows = [generator.permutation([game for problem in row for game in of_problem[int(problem)]]) for row in drawn]
    orders = np.full((len(rows), max(map(len, rows))), -1)
    for order, row in zip(orders, rows, strict=True):
        order[: len(row)] = row
    return orders


def _apart(players: Sequence[str], games: Sequence[Game]) -> tuple[str, str] | None:
    """Two players that no chain of games joins, if there are any."""
    reached, front = {players[0]}, [players[0]]
    while front:
        player = front.pop()
        for g in games:
            if player in (g.first, g.second):
                other = g.second if player == g.first else g.first
                if other not in reached:
                    reached.add(other)
                    front.append(other)
    left = sorted(set(players) - reached)
    return (players[0], left[0]) if left else None
