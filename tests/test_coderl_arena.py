"""`coderl arena`: ratings equal to references and hand-made numbers, games from execution and from pairs, one page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coderl import cli
from coderl.arena.page import render
from coderl.arena.play import play
from coderl.arena.players import games_by_execution, games_by_pairs, read_player
from coderl.arena.ratings import Game, bradley_terry, elo, rate, to_rating, with_draws
from coderl.pairs import Pair, write_pairs
from coderl.rollout import Rollout
from coderl.store import RolloutStore

WINS = np.array([[0, 7, 3, 1], [2, 0, 4, 2.5], [1, 3, 0, 6], [0.5, 2, 1, 0]], dtype=float)


def game(first, second, problem="p", wins=1.0, ties=0.0, source="human", weight=1.0):
    return Game(
        first=first,
        second=second,
        problem=problem,
        wins=wins,
        ties=ties,
        losses=1 - wins - ties,
        source=source,
        weight=weight,
    )


def test_bradley_terry_is_the_maximum_that_choix_finds():
    choix = pytest.importorskip("choix")
    whole = np.ceil(WINS).astype(int)
    data = [(i, j) for i in range(4) for j in range(4) for _ in range(whole[i, j])]
    expected = choix.opt_pairwise(4, data, tol=1e-12)
    assert bradley_terry(whole.astype(float)) == pytest.approx(expected - expected.mean(), abs=1e-6)


def test_half_wins_count_half_in_the_gradient():
    """At the maximum every player has won what the model expects it to: sum_j games_ij P(i beats j)."""
    strengths = bradley_terry(WINS)
    probability = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    expected = ((WINS + WINS.T) * probability).sum(1) - np.diag(WINS + WINS.T) / 2
    assert expected == pytest.approx(WINS.sum(1), abs=1e-7)


def test_two_players_at_ten_to_one_are_400_points_apart_around_1000():
    assert to_rating(bradley_terry(np.array([[0.0, 10.0], [1.0, 0.0]]))) == pytest.approx([1200, 800])


def test_a_batch_of_tables_is_rated_as_each_alone():
    both = bradley_terry(np.stack([WINS, WINS.T]))
    assert both == pytest.approx(np.stack([bradley_terry(WINS), bradley_terry(WINS.T)]), abs=1e-8)
    assert both[0] == pytest.approx(-both[1], abs=1e-8)  # who loses what the others won is as weak as they are strong


def test_an_imaginary_draw_keeps_a_player_that_wins_everything_finite():
    scores = np.array([[0.0, 3.0], [0.0, 0.0]])
    # 3 wins and a draw: 3.5 against 0.5, odds of 7
    assert bradley_terry(with_draws(scores, 1.0)) == pytest.approx([np.log(7) / 2, -np.log(7) / 2])


def test_elo_is_the_sequence_that_a_hand_computes():
    # 1 beats 2 (k 32): 1016, 984.  2 and 3 draw: expected of 2 is 1/(1+10^(16/400)) = 0.476990, so +0.736 and -0.736.
    # 3 beats 1: expected of 3 is 1/(1+10^((1016-999.2637)/400)) = 0.475932, so +16.770.
    [ratings] = elo(3, [(0, 1, 1.0, 1.0), (1, 2, 0.5, 1.0), (2, 0, 1.0, 1.0)], k=32.0)
    assert ratings == pytest.approx([1016 - 16.770, 984 + 0.736, 1000 - 0.736 + 16.770], abs=2e-3)
    assert ratings.sum() == pytest.approx(3000)


def test_the_order_of_games_changes_elo_and_a_skipped_game_changes_nothing():
    games = [(0, 1, 1.0, 1.0), (1, 0, 1.0, 1.0), (0, 1, 1.0, 1.0)]
    rows = elo(2, games, order=np.array([[0, 1, 2, -1], [0, 2, 1, -1], [-1, 0, 2, 1]]))
    assert rows[1] == pytest.approx(rows[2])
    assert abs(rows[0][0] - rows[1][0]) > 0.1


def test_the_stronger_player_of_many_games_stands_first_and_its_interval_holds_the_truth():
    generator = np.random.default_rng(1)
    strength = {"strong": 1.0, "middle": 0.0, "weak": -1.0}
    games = []
    for problem in range(150):
        for first, second in (("weak", "strong"), ("middle", "weak"), ("strong", "middle")):
            won = generator.random() < 1 / (1 + np.exp(strength[second] - strength[first]))
            games.append(game(first, second, str(problem), wins=float(won)))
    standings, meetings = rate(games, num_resamples=300)
    assert [s.player for s in standings] == ["strong", "middle", "weak"]
    assert [s.place for s in standings] == [1, 2, 3]
    for s in standings:
        truth = 1000 + 400 / np.log(10) * strength[s.player]
        assert s.rating.low < truth < s.rating.high
        assert s.elo.low < s.elo.value < s.elo.high
    again, _ = rate(games[::-1], num_resamples=300)
    assert [s.rating for s in again] == [s.rating for s in standings]  # the order of games is nobody's
    [_, _, last] = meetings
    assert (last.first, last.second, last.num_games) == ("strong", "weak", 150)
    assert last.wins + last.losses + last.ties == pytest.approx(1)
    assert last.score.value == pytest.approx(last.wins)


def test_problems_are_resampled_and_not_games():
    """Ten copies of a game on one problem tell no more than one; the interval is that of the problems."""
    single = [game("a", "b", str(p), wins=float(p % 3 > 0)) for p in range(30)]
    copied = [g for g in single for _ in range(10)]
    [narrow], [wide] = (
        [s.score for s in rate(games, num_resamples=400)[0] if s.player == "a"] for games in (copied, single)
    )
    assert (narrow.low, narrow.high) == pytest.approx((wide.low, wide.high))


def test_a_game_of_weight_two_counts_as_two():
    once = [game("a", "b", str(p), wins=float(p % 3 > 0)) for p in range(30)]
    heavy = [*once[:10], *(game(g.first, g.second, g.problem, wins=g.wins, weight=2.0) for g in once[10:])]
    [twice], [weighed] = ([s for s in rate(games)[0] if s.player == "a"] for games in ([*once, *once[10:]], heavy))
    assert weighed.rating == twice.rating and weighed.score == twice.score
    [meeting], [other] = rate(heavy)[1], rate([*once, *once[10:]])[1]
    assert (meeting.wins, meeting.losses) == pytest.approx((other.wins, other.losses))
    assert elo(2, [(0, 1, 1.0, 2.0)], k=16.0) == pytest.approx(elo(2, [(0, 1, 1.0, 1.0)], k=32.0))


def test_players_that_never_met_are_not_put_on_one_scale():
    with pytest.raises(ValueError, match="never met"):
        rate([game("a", "b"), game("c", "d")])


def write_evaluation(path, rates, completions=()):
    scores = [{"task_id": t, "level": 0, "num_samples": 4, "num_passed": int(4 * r)} for t, r in rates.items()]
    path.write_text(json.dumps({"scores": scores}))
    rollouts = [
        Rollout(
            stage="eval", step=0, task_id=task, sample_index=0, seed=0, prompt_ids=(1,), completion_ids=(2,),
            logprobs=(-1.0,), truncated=False, completion=text,
        )
        for task, text in completions
    ]  # fmt: skip
    RolloutStore(path.with_suffix(".rollouts")).append("eval", 0, rollouts)
    return str(path)


@pytest.fixture
def two(tmp_path):
    a = write_evaluation(
        tmp_path / "a.json", {"t": 0.75, "u": 0.5}, [("t", "good"), ("t", "same"), ("u", "x"), ("u", "mine")]
    )
    b = write_evaluation(tmp_path / "b.json", {"t": 0.25, "v": 1.0}, [("t", "bad"), ("t", "same"), ("u", "y")])
    return a, b


def test_execution_gives_one_game_per_shared_task_in_expectation(two):
    [found] = games_by_execution([read_player(spec) for spec in two])
    # 0.75 * 0.75 wins, 0.25 * 0.25 losses, the rest tied
    assert (found.wins, found.losses, found.ties) == pytest.approx((0.5625, 0.0625, 0.375))
    assert found.problem == "t"


def pair(task, chosen, rejected, tie=False, source="human"):
    return Pair(prompt="p", chosen=chosen, rejected=rejected, task_id=task, source=source, tie=tie)


def test_a_pair_belongs_to_the_models_that_wrote_its_sides(two):
    pairs = [
        pair("t", "bad", "good"),  # b beats a
        pair("u", "x", "y", tie=True),
        pair("t", "same", "same", tie=True),  # both wrote it
        pair("t", "same", "bad"),  # who wrote "same"?
        pair("u", "x", "mine"),  # both by a
        pair("u", "good", "y"),  # "good" is no answer to u
    ]
    found = games_by_pairs([read_player(spec) for spec in two], pairs)
    assert [(g.first, g.second, g.wins, g.ties) for g in found.games] == [
        ("b", "a", 1.0, 0.0), ("a", "b", 0.0, 1.0), ("a", "b", 0.0, 1.0)
    ]  # fmt: skip
    assert (found.unknown, found.doubtful) == (1, 2)


def test_the_command_mixes_sources_and_writes_tables_and_a_page_that_loads_nothing(two, tmp_path, monkeypatch, capsys):
    write_pairs(tmp_path / "people.jsonl", [pair("t", "bad", "good"), pair("u", "y", "x")])
    write_pairs(tmp_path / "judge.jsonl", [pair("t", "good", "bad", source="ai")])
    out = tmp_path / "arena.json"
    files = [word for name in ("people", "judge") for word in ("--pairs", str(tmp_path / f"{name}.jsonl"))]
    hostile = f"<b>\u202e={two[1]}"
    monkeypatch.setattr("sys.argv", ["coderl", "arena", two[0], hostile, *files, "--out", str(out)])
    assert cli.main() == 0
    printed = capsys.readouterr().out
    assert "all games: 4 on 2 problems" in printed and "2 of 2 pairs are games" in printed and "\u202e" not in printed
    record = json.loads(out.read_text())
    assert [t["source"] for t in record["tables"]] == ["all", "ai", "execution", "human"]
    people = next(t for t in record["tables"] if t["source"] == "human")
    assert [s["player"] for s in people["standings"]] == ["<b>\u202e", "a"]
    page = out.with_suffix(".html").read_text()
    assert "<b>" not in page and "&lt;b&gt;\\u202e" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert cli.main() == 2  # never overwritten


@pytest.mark.parametrize(
    ("players", "words"),
    [
        (["a.json"], "nobody to play against"),
        (["a.json", "x=a.json", "x=b.json"], "two players are called 'x'"),
        (["a.json", "missing.json"], "missing.json: not an evaluation"),
        (["a.json", "alone.json"], "a shares no task"),
        (["a.json", "b.json", "alone.json"], "alone shares no task"),
    ],
)
def test_what_cannot_be_rated_is_one_line(two, tmp_path, monkeypatch, capsys, players, words):
    monkeypatch.chdir(tmp_path)
    write_evaluation(tmp_path / "alone.json", {"z": 1.0})
    monkeypatch.setattr("sys.argv", ["coderl", "arena", *players])
    assert cli.main() == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "arena.json").exists()


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone_and_asks_for_nothing(two, tmp_path, dark):
    pytest.importorskip("websockets")
    from browser import Browser

    players = [f"a-name-that-is-long-enough-to-be-cut-{i}={path}" for i, path in enumerate(two)]
    tables, notes = play(players, [], seed=0)
    file = tmp_path / "arena.html"
    file.write_text(render(tables, notes))
    with Browser() as browser:
        page = browser.page(width=390, height=844, dark=dark)
        page.open(file.as_uri())
        assert page.run("document.documentElement.scrollWidth") == 390
        assert page.run("document.querySelectorAll('svg circle').length") == 2
        background, ink = (page.run(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
        assert (sum(map(int, background[4:-1].split(","))) < sum(map(int, ink[4:-1].split(",")))) == dark
        assert page.faults == [] and page.requests == [file.as_uri()]
