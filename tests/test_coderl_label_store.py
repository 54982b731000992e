"""The store of labels: nothing lost, nothing counted twice, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("fastapi")
from label_items import HOSTILE, item

from coderl.errors import ConfigError, RunFolderError
from coderl.label.choice import Waiting, next_item, shown_order, uncertainty, wanted
from coderl.label.store import LEASE_SECONDS, Assignment, Kind, LabelStore, Submission, Submitted


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A private PostgreSQL on a socket of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed (initdb)")
    pytest.importorskip("psycopg")
    programs = Path(initdb).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="coderl-pg-"))  # not pytest's: only its own user may look into that
    as_user = {}
    if os.getuid() == 0:  # PostgreSQL refuses root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        as_user = {"user": "nobody", "group": nobody.pw_gid, "extra_groups": ()}
    data, quiet = folder / "data", {"capture_output": True, "check": True, "cwd": folder, **as_user}
    made = subprocess.run(
        [programs / "initdb", "-D", data, "-U", "coderl", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"],
        **{**quiet, "check": False},
    )
    if made.returncode:
        shutil.rmtree(folder)
        pytest.skip(f"PostgreSQL cannot be set up here: {made.stderr.decode()[-200:]}")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    control = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run(
        [*control, "-o", options, "start"], **{**quiet, "capture_output": False, "stdout": subprocess.DEVNULL}
    )
    yield f"postgresql://coderl@/postgres?host={folder}"
    subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'labels.sqlite'}"
    address = request.getfixturevalue("postgres")

    from coderl.label.store import _engine, metadata

    engine = _engine(address)
    metadata.drop_all(engine)
    engine.dispose()
    return address


@pytest.fixture
def store(url: str) -> Iterator[LabelStore]:
    made = LabelStore(url)
    yield made
    made.close()


def answer_to(assignment: Assignment | None, key: str, kind: Kind = Kind.FIRST, **more) -> Submission:
    assert assignment is not None
    fields = {"ranks": (1, 2), "strength": 2, "reason": "", "seconds": 1.0, **more}
    return Submission(submit_key=key, assignment=assignment.id, kind=kind, **fields)


def test_a_double_click_is_saved_once_and_another_tab_cannot_add_a_second_answer(store):
    store.add_items([item(1), item(2)])
    store.add_annotator("eve")
    first = store.next("eve", 0.0)
    assert store.submit("eve", answer_to(first, "k1"), 1.0) is Submitted.SAVED
    assert store.submit("eve", answer_to(first, "k1", Kind.SECOND, ranks=(2, 1)), 2.0) is Submitted.REPEATED
    assert store.submit("eve", answer_to(first, "k2", Kind.SECOND, ranks=(2, 1)), 3.0) is Submitted.ANSWERED
    [answer] = store.answers()
    assert (answer.kind, answer.ranks, answer.at) == (Kind.FIRST, (1, 2), 1.0)


def test_undo_brings_the_item_back_and_a_late_repetition_does_not_revive_the_answer(store):
    store.add_items([item(1), item(2)])
    store.add_annotator("eve")
    first = store.next("eve", 0.0)
    store.submit("eve", answer_to(first, "k1", reason="clearer"), 1.0)
    second = store.next("eve", 2.0)
    assert second.item.key != first.item.key
    assert store.undo("eve", 3.0)
    again = store.next("eve", 4.0)
    assert (again.id, again.reason, again.strength) == (first.id, "clearer", 2)
    assert store.submit("eve", answer_to(first, "k1"), 5.0) is Submitted.REPEATED
    assert store.answers() == []
    assert store.submit("eve", answer_to(again, "k2", Kind.TIE, ranks=(1, 1), strength=0), 6.0) is Submitted.SAVED
    assert [a.kind for a in store.answers()] == [Kind.TIE]
    assert store.next("eve", 7.0).id == second.id
    assert store.undo("eve", 8.0) and not store.undo("eve", 9.0)


def test_nobody_answers_for_another(store):
    store.add_items([item(1)])
    for name in ("eve", "max"):
        store.add_annotator(name)
    of_eve = store.next("eve", 0.0)
    with pytest.raises(KeyError):
        store.submit("max", answer_to(of_eve, "k"), 1.0)
    assert store.assignment(of_eve.id, "max") is None
    store.see_results(of_eve.id, "max", 1.0)
    assert not store.assignment(of_eve.id, "eve").results_seen


def test_that_results_were_seen_is_kept_with_the_answer(store):
    store.add_items([item(1), item(2)])
    store.add_annotator("eve")
    store.submit("eve", answer_to(store.next("eve", 0.0), "k1"), 1.0)
    seen = store.next("eve", 2.0)
    store.see_results(seen.id, "eve", 3.0)
    store.submit("eve", answer_to(seen, "k2"), 4.0)
    assert [answer.results_seen for answer in store.answers()] == [False, True]


def test_two_people_at_once_never_get_the_same_item_and_lose_no_answer(url):
    stores = [LabelStore(url, overlap=1.0) for _ in range(2)]
    stores[0].add_items([item(n) for n in range(12)])
    names = ("eve", "max")
    for name in names:
        stores[0].add_annotator(name)
    start, faults = threading.Barrier(2), []

    def work(store: LabelStore, name: str) -> None:
        try:
            start.wait()
            while (found := store.next(name, 1.0)) is not None:
                for _ in range(2):  # every click doubled
                    store.submit(name, answer_to(found, f"{name} {found.id}"), 2.0)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(stores, names, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    asked = Counter(answer.item for answer in stores[0].answers())
    assert len(asked) == 12 and set(asked.values()) == {1}
    for store in stores:
        store.close()


def test_overlap_gives_an_item_to_as_many_annotators_as_wanted(url):
    store = LabelStore(url, overlap=2.0)
    store.add_items([item(n) for n in range(3)])
    for name in ("eve", "max", "ann"):
        store.add_annotator(name)
        while (found := store.next(name, 0.0)) is not None:
            store.submit(name, answer_to(found, f"{name} {found.id}"), 1.0)
    assert Counter(Counter(a.item for a in store.answers()).values()) == {2: 3}
    assert "ann" not in store.progress().by_annotator
    store.close()


def test_an_item_that_was_left_open_waits_for_its_annotator_and_then_goes_to_another(store):
    store.add_items([item(1)])
    for name in ("eve", "max"):
        store.add_annotator(name)
    held = store.next("eve", 0.0)
    assert store.next("max", LEASE_SECONDS - 1) is None
    assert store.next("max", LEASE_SECONDS + 1).item.key == held.item.key
    assert store.submit("eve", answer_to(held, "late"), LEASE_SECONDS + 2) is Submitted.SAVED  # late is not lost


def test_hostile_text_comes_back_as_it_was(store):
    store.add_items([item(1, HOSTILE, "x = 1")])
    store.add_annotator("eve")
    assert store.next("eve", 0.0).item.choices[0].program == HOSTILE


def test_items_that_are_known_stay_and_new_ones_are_added(store):
    assert store.add_items([item(1), item(2)]) == 2
    assert store.add_items([item(2, uncertainty=0.5), item(3)]) == 1
    assert [i.task_id for i in store.items().values()] == ["demo/1", "demo/2", "demo/3"]


def test_what_the_reward_model_is_least_sure_of_comes_first(store):
    items = [item(1, uncertainty=0.1), item(2, uncertainty=0.6), item(3, uncertainty=0.3)]
    store.add_items(items)
    store.set_uncertainty({items[0].key: 0.69})
    store.add_annotator("eve")
    seen = []
    while (found := store.next("eve", 0.0)) is not None:
        seen.append(found.item.task_id)
        store.submit("eve", answer_to(found, f"{found.id}"), 1.0)
    assert seen == ["demo/1", "demo/2", "demo/3"]


def test_names_and_tokens_belong_together(store):
    store.add_annotator("eve", "token of eve")
    store.add_annotator("open")
    assert store.session(store.sign_in("eve", "token of eve")) == "eve"
    for name, token in (("eve", ""), ("eve", "token of max"), ("max", "token of eve"), ("open", ""), ("open", "x")):
        assert store.sign_in(name, token) == ""
    assert store.sign_in("eve", "", names_suffice=True) == ""  # who has a token needs it
    assert store.session(store.sign_in("open", "", names_suffice=True)) == "open"
    assert store.session(store.sign_in("new", "", names_suffice=True)) == "new"
    old = store.sign_in("eve", "token of eve")
    assert not store.add_annotator("eve", "another")
    assert store.add_annotator("eve", "another", renew=True)
    assert store.session(old) == "" and store.sign_in("eve", "token of eve") == ""


def test_secrets_are_not_in_the_database(tmp_path):
    store = LabelStore(f"sqlite:///{tmp_path / 'l.sqlite'}")
    store.add_annotator("eve", "token of eve")
    session = store.sign_in("eve", "token of eve")
    store.close()
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"token of eve" not in data and session.encode() not in data


WRITER = """
import sys
from coderl.label.store import Kind, LabelStore, Submission
store = LabelStore(sys.argv[1])
number = 0
while (found := store.next("eve", 0.0)) is not None:
    store.submit("eve", Submission(submit_key=str(found.id), assignment=found.id, kind=Kind.FIRST, ranks=(1, 2),
                                   strength=1, reason="", seconds=1.0), 1.0)
    print(found.id, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    url = f"sqlite:///{tmp_path / 'l.sqlite'}"
    store = LabelStore(url)
    store.add_items([item(n) for n in range(200)])
    store.add_annotator("eve")
    store.close()
    root = str(Path(__file__).resolve().parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as process:
        said = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    acknowledged = [int(line) for line in said if line.endswith("\n")]
    store = LabelStore(url)
    kept = len(store.answers())
    assert len(acknowledged) <= kept <= len(acknowledged) + 1 < 200
    assert store.next("eve", 0.0).id == kept + 1  # goes on where it was
    store.close()


def test_a_wrong_address_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="SQLite and PostgreSQL"):
        LabelStore("mysql://here/x")
    with pytest.raises(ConfigError, match="no database address"):
        LabelStore("://")
    with pytest.raises(RunFolderError, match="--db"):
        LabelStore(f"sqlite:///{tmp_path / 'none' / 'l.sqlite'}")


def waiting(number: int, **more) -> Waiting:
    return Waiting(**{"key": f"k{number}", "position": number, "uncertainty": 0.0, "gold": False, "taken": 0, **more})


def test_gold_questions_are_spread_over_the_work_and_shown_to_everybody():
    items = [waiting(n, gold=n % 5 == 0, taken=9 if n % 5 == 0 else 0) for n in range(100)]
    order = []
    while (key := next_item(items, overlap=1.0, seed=0, annotator="eve", num_answered=len(order))) is not None:
        order.append(next(i for i in items if i.key == key))
        items = [i for i in items if i.key != key]
    halves = [sum(i.gold for i in order[:50]), sum(i.gold for i in order[50:])]
    assert sum(halves) == 20 and min(halves) >= 5


def test_a_fraction_of_overlap_is_the_share_of_items_asked_once_more():
    counts = Counter(wanted(f"k{n}", 1.2, seed=0) for n in range(2000))
    assert counts.keys() == {1, 2} and counts[2] == pytest.approx(400, abs=60)  # 3.4 standard deviations
    assert {wanted(f"k{n}", 2.0, seed=0) for n in range(100)} == {2}


def test_the_order_on_the_page_is_stored_even_and_differs_between_annotators():
    orders = [shown_order(2, seed=0, annotator="eve", key=f"k{n}") for n in range(1000)]
    assert sum(order == (0, 1) for order in orders) == pytest.approx(500, abs=60)  # 3.8 standard deviations
    of_max = [shown_order(2, seed=0, annotator="max", key=f"k{n}") for n in range(1000)]
    assert sum(a == b for a, b in zip(orders, of_max, strict=True)) == pytest.approx(500, abs=60)


def test_uncertainty_is_the_entropy_of_the_mean_chance_to_win():
    assert uncertainty([[1.0, 1.0]]) == pytest.approx(0.693147, abs=1e-6)  # log 2
    # One member: s(2) = 0.880797; H = -0.880797 log 0.880797 - 0.119203 log 0.119203 = 0.365334.
    assert uncertainty([[2.0, 0.0]]) == pytest.approx(0.365334, abs=1e-6)
    assert uncertainty([[9.0, 0.0], [0.0, 9.0]]) == pytest.approx(
        0.693147, abs=1e-6
    )  # sure, and contradicting each other
    # Three choices: the mean over pairs (0, 2), (0, 0) and (2, 0).
    assert uncertainty([[2.0, 0.0, 2.0]]) == pytest.approx((2 * 0.365334 + 0.693147) / 3, abs=1e-6)
