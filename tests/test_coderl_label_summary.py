"""What labels become: pairs to learn from, weights of annotators, agreement; and where items come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")
from label_items import item, new_store

from coderl.errors import ConfigError
from coderl.label.items import Item, items_of_rollouts, read_items, with_gold
from coderl.label.store import Answer, Kind
from coderl.label.summary import (
    annotators,
    disagreement,
    fleiss_counts,
    pairs,
    summary,
    votes,
    with_execution,
    write_export,
)
from coderl.pairs import Pair, read_pairs, write_pairs
from coderl.rollout import Rollout
from sandbox import CaseResult, Integrity, Isolation, Outcome, Verdict


def answer(of: Item, annotator: str, *ranks: int, kind: Kind = Kind.FIRST, strength: int = 2, **more) -> Answer:
    fields = {"reason": "", "seconds": 4.0, "results_seen": False, "at": 0.0, **more}
    return Answer(
        item=of.key, annotator=annotator, gold=bool(of.gold), kind=kind, ranks=ranks, strength=strength, **fields
    )


def keyed(*items: Item) -> dict[str, Item]:
    return {i.key: i for i in items}


def test_a_comparison_becomes_one_pair_with_the_better_side_chosen():
    one = item(1, prompt_ids=(1, 2), tokenizer="t")
    one = Item.from_json(one.to_json().replace('"completion_ids": []', '"completion_ids": [7]'))
    [pair] = pairs([answer(one, "eve", 2, 1, kind=Kind.SECOND, strength=3)], keyed(one))
    assert (pair.chosen, pair.rejected) == (one.choices[1].completion, one.choices[0].completion)
    assert (pair.source, pair.annotator, pair.margin, pair.tie, pair.weight) == ("human", "eve", 1.0, False, 1.0)
    assert (pair.prompt_ids, pair.chosen_ids, pair.tokenizer) == ((1, 2), (7,), "t")


def test_a_tie_and_both_bad_are_ties_and_gold_questions_are_left_out():
    one, two, gold = item(1), item(2), item(3, gold=(1, 2))
    said = [
        answer(one, "eve", 1, 1, kind=Kind.TIE, strength=0),
        answer(two, "eve", 1, 1, kind=Kind.BOTH_BAD, strength=0),
        answer(gold, "eve", 1, 2),
    ]
    found = pairs(said, keyed(one, two, gold))
    assert [(pair.task_id, pair.tie, pair.margin) for pair in found] == [("demo/1", True, 0.0), ("demo/2", True, 0.0)]


def test_a_ranking_of_k_becomes_all_its_pairs_which_weigh_as_much_as_one_comparison():
    ranked, plain = item(1, "a", "b", "c", "d"), item(2)
    said = [answer(ranked, "eve", 2, 1, 2, 4, kind=Kind.RANKING), answer(plain, "eve", 1, 2)]
    found = pairs(said, keyed(ranked, plain))
    of_ranking = [pair for pair in found if pair.task_id == "demo/1"]
    # ranks a 2, b 1, c 2, d 4: b > a, a = c, a > d, b > c, b > d, c > d
    assert {(p.chosen, p.rejected, p.tie) for p in of_ranking} == {
        ("b", "a", False), ("a", "c", True), ("a", "d", False), ("b", "c", False), ("b", "d", False), ("c", "d", False),
    }  # fmt: skip
    assert sum(p.weight for p in of_ranking) == pytest.approx(found[-1].weight)
    assert sum(p.weight for p in found) / len(found) == pytest.approx(1.0)


def test_annotators_weigh_by_what_they_get_right_of_gold_shrunk_to_the_mean():
    gold = [item(n, gold=(1, 2)) for n in range(8)]
    said = [answer(g, "good", 1, 2) for g in gold] + [
        answer(g, "coin", *((1, 2) if n % 2 else (2, 1))) for n, g in enumerate(gold)
    ]
    said.append(answer(item(9), "new", 1, 2))
    coin, good, new = annotators(said, keyed(*gold, item(9)))
    assert (good.right, good.checked, coin.right, coin.checked, new.checked) == (8, 8, 4, 8, 0)
    # mean 12/16 = 0.75; good (8 + 4 * 0.75) / 12 = 11/12; coin (4 + 3) / 12 = 7/12; new 3/4; the weights are 2 p - 1.
    assert (
        good.weight == pytest.approx(5 / 6)
        and coin.weight == pytest.approx(1 / 6)
        and new.weight == pytest.approx(1 / 2)
    )


def test_who_is_always_wrong_counts_nothing_and_leaves_no_pair():
    gold = [item(n, gold=(1, 2)) for n in range(40)]
    said = [answer(g, "good", 1, 2) for g in gold] + [answer(g, "wrong", 2, 1) for g in gold]
    said += [answer(item(99), "wrong", 1, 2), answer(item(99), "good", 2, 1)]
    items = keyed(*gold, item(99))
    assert [a.weight for a in annotators(said, items)] == [pytest.approx(2 * 42 / 44 - 1), 0.0]
    assert [pair.annotator for pair in pairs(said, items)] == ["good"]


def test_a_tie_on_a_gold_question_is_not_right():
    gold = item(1, gold=(2, 1))
    [eve] = annotators([answer(gold, "eve", 1, 1, kind=Kind.TIE)], keyed(gold))
    assert (eve.right, eve.checked) == (0, 1)


def test_without_gold_the_majority_of_the_others_is_the_measure():
    items = [item(n) for n in range(4)]
    said = [answer(i, name, 1, 2) for i in items for name in ("eve", "max", "ann")]
    said += [answer(i, "odd", 2, 1) for i in items]
    found = {a.name: (a.right, a.checked) for a in annotators(said, keyed(*items))}
    assert found == {"ann": (4, 4), "eve": (4, 4), "max": (4, 4), "odd": (0, 4)}


def test_alone_and_without_gold_an_annotator_weighs_one():
    [eve] = annotators([answer(item(1), "eve", 1, 2)], keyed(item(1)))
    assert eve.weight == 1.0 and eve.checked == 0


def test_votes_of_a_ranking_are_those_of_its_pairs():
    ranked = item(1, "a", "b", "c")
    said = votes([answer(ranked, "eve", 1, 3, 1, kind=Kind.RANKING), answer(item(2), "eve", 1, 1, kind=Kind.BOTH_BAD)])
    key = ranked.key
    assert said["eve"] == {
        (key, 0, 1): "first", (key, 0, 2): "tie", (key, 1, 2): "second", (item(2).key, 0, 1): "both_bad",
    }  # fmt: skip


def test_fleiss_takes_the_units_with_the_number_of_answers_that_most_have():
    units = {
        ("a", 0, 1): ["first", "first"],
        ("b", 0, 1): ["first", "tie"],
        ("c", 0, 1): ["tie"] * 3,
        ("d", 0, 1): ["tie"],
    }
    assert fleiss_counts(units) == ([[2, 0, 0, 0], [1, 0, 1, 0]], 2)


def test_agreement_with_execution_counts_where_running_tells_them_apart():
    apart, same = item(1, passed=(4, 1)), item(2, passed=(2, 2))
    said = [
        answer(apart, "eve", 1, 2),
        answer(apart, "max", 2, 1),
        answer(apart, "ann", 1, 1),
        answer(same, "eve", 1, 2),
    ]
    assert with_execution(said, keyed(apart, same)) == (1, 2)


def test_the_summary_says_who_how_many_and_how_far_they_agree(tmp_path: Path):
    from coderl.label.store import Submission

    store = new_store(tmp_path, *(item(n) for n in range(4)), overlap=2.0)
    with pytest.raises(ConfigError, match="no answers"):
        summary(store)
    for name in ("eve", "max"):
        store.add_annotator(name)
        while (found := store.next(name, 0.0)) is not None:
            odd = int(found.item.task_id[-1]) % 2 or (name == "max" and found.item.task_id == "demo/2")
            ranks = (1, 2) if odd else (2, 1)
            given = Submission(
                submit_key=f"{name}{found.id}",
                assignment=found.id,
                kind=Kind.FIRST,
                ranks=ranks,
                strength=1,
                reason="",
                seconds=3.0,
            )
            store.submit(name, given, 1.0)
    text = summary(store)
    # eve 2 1 2 1, max 2 1 1 1: p_o 3/4, p_e (2/4)(3/4) + (2/4)(1/4) = 1/2, kappa 1/2.
    assert "two answers agree          0.750" in text and "Cohen's kappa, mean        0.500" in text
    assert "4 comparisons with 2 answers each" in text
    assert "8 pairs (0 ties) of 2 annotators" in write_export(store, tmp_path / "out.jsonl")
    assert len(read_pairs(tmp_path / "out.jsonl")) == 8
    store.close()


def test_people_who_disagree_on_enough_comparisons_are_an_alarm_in_one_line():
    items = [item(n) for n in range(10)]

    def line(alike: int, number: int = 10) -> str:
        said = [answer(one, "eve", 1, 2) if n % 2 else answer(one, "eve", 2, 1) for n, one in enumerate(items[:number])]
        for n, one in enumerate(items[:number]):
            said.append(answer(one, "max", *((1, 2) if (n % 2 == 1) == (n < alike) else (2, 1))))
        return disagreement(said)

    # 8 of 10 alike, eve 5 and 5, max 5 and 5: D_o 4/20, D_e 2 * 10 * 10 / (20 * 19), alpha 1 - 0.2 / 0.5263 = 0.62
    assert line(8).startswith("Krippendorff's alpha is 0.620, below 0.667, over 10 comparisons: ")
    assert line(9) == line(10) == ""  # one apart: alpha is 0.8
    assert line(0, number=9) == ""  # too few to tell


def write(path: Path, *records: object) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return path


def test_a_file_of_pairs_forgets_which_side_was_chosen(tmp_path: Path):
    sides = {"prompt": "p", "task_id": "t", "source": "ai"}
    write_pairs(tmp_path / "1.jsonl", [Pair(chosen="b", rejected="a", **sides)])
    write_pairs(tmp_path / "2.jsonl", [Pair(chosen="a", rejected="b", **sides)])
    [one], [other] = read_items(tmp_path / "1.jsonl"), read_items(tmp_path / "2.jsonl")
    assert one == other


def test_a_file_of_comparisons_may_mark_gold_questions(tmp_path: Path):
    path = write(
        tmp_path / "c.jsonl",
        {"task_id": "t", "prompt": "p", "completions": ["a", "b", "c"], "gold": [1, 2, 2], "language": "rust"},
    )
    [found] = read_items(path)
    assert (found.gold, found.language, [c.program for c in found.choices]) == ((1, 2, 2), "rust", ["a", "b", "c"])


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"prompt": "p", "completions": ["a", "b"]}, "task_id"),
        ({"prompt": "p", "task_id": "t", "completions": ["a"]}, "give 2 to 9"),
        ({"prompt": "p", "task_id": "t", "completions": ["a", "a"]}, "the same"),
        ({"prompt": "p", "task_id": "t", "completions": ["a", 1]}, "list of texts"),
        ({"prompt": "p", "task_id": "t", "completions": ["a", "b"], "gold": [1]}, "gold"),
        ({"prompt": "p", "task_id": "t", "completions": ["a", "b"], "gold": [2, 2]}, "gold"),
        ({"prompt": "p", "task_id": "t", "completions": ["a", "b"], "golden": [1, 2]}, "golden"),
    ],
)
def test_a_line_that_is_no_comparison_is_named(tmp_path: Path, record, fault):
    good = {"prompt": "p", "task_id": "t", "completions": ["a", "b"]}
    with pytest.raises(ConfigError, match=rf"line 2: .*{fault}"):
        read_items(write(tmp_path / "c.jsonl", good, record))


def rollout(task_id: str, program: str, passed: int = 0) -> Rollout:
    cases = tuple(CaseResult(outcome=Outcome.AC if n < passed else Outcome.WA) for n in range(2))
    verdict = Verdict(
        outcome=Outcome.AC if passed == 2 else Outcome.WA,
        cases=cases,
        integrity=Integrity.SEPARATED,
        isolation=Isolation(backend="jail"),
    )
    return Rollout(
        stage="0_sample", step=1, task_id=task_id, sample_index=0, seed=0, prompt_ids=(1,), completion_ids=(5, 6),
        logprobs=(0.0, 0.0), truncated=False, completion=program, program=program, verdict=verdict,
    )  # fmt: skip


def of_rollouts(*rollouts: Rollout, ways: int = 2, per_task: int = 9) -> list[Item]:
    return items_of_rollouts(
        rollouts, prompts={(1,): "prompt"}, questions={"t": ("question", "python")}, tokenizer="k", ways=ways,
        per_task=per_task, seed=0,
    )  # fmt: skip


def test_items_of_a_run_hold_programs_that_differ_in_more_than_names():
    same = [rollout("t", "def f(x):\n    return x"), rollout("t", "def f(y):  # y\n    return y")]
    assert of_rollouts(*same) == []
    [found] = of_rollouts(*same, rollout("t", "def f(x):\n    return -x"))
    assert (found.question, found.prompt, found.tokenizer, found.prompt_ids) == ("question", "prompt", "k", (1,))
    assert all(choice.completion_ids == (5, 6) for choice in found.choices)


def test_a_program_is_in_one_item_only_and_tasks_give_no_more_than_asked():
    rollouts = [rollout("t", f"x = {n}") for n in range(9)]
    items = of_rollouts(*rollouts, ways=2)
    programs = [choice.program for found in items for choice in found.choices]
    assert len(items) == 4 and len(set(programs)) == 8
    assert len(of_rollouts(*rollouts, ways=3, per_task=2)) == 2
    assert of_rollouts(*rollouts) == items


def test_gold_questions_of_a_run_are_pairs_that_running_has_settled():
    clear = of_rollouts(rollout("t", "x = 1", 2), rollout("t", "x = 2", 0))
    part = of_rollouts(rollout("u", "x = 1", 2), rollout("u", "x = 2", 1))
    marked = with_gold([*clear, *part], 1.0, seed=0)
    assert sorted(marked[0].gold) == [1, 2] and marked[1].gold == ()
    best = marked[0].choices[marked[0].gold.index(1)]
    assert best.result.outcome == "AC"
    assert not any(i.gold for i in with_gold([*clear, *part], 0.0, seed=0))
