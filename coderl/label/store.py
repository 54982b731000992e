"""Where are labels kept? A database, SQLite or PostgreSQL, in which nothing is lost and nothing counted twice.

Every answer is on disk before its page hears of it. The database itself refuses a second answer: each submission carries a
key that is stored once, and an assignment (an item before an annotator) has at most one answer that was not taken back. Taking
back marks the answer; nothing is ever deleted or changed. Times are seconds since 1970.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from coderl.errors import ConfigError, RunFolderError
from coderl.label.choice import Waiting, next_item, shown_order
from coderl.label.items import Item

SCHEMA = 1
LEASE_SECONDS = 1800.0  # an item shown and not answered waits that long for its annotator before another may get it
ADVISORY_LOCK = 0xC0DE71  # PostgreSQL: one writer at a time, as SQLite has it

metadata = sql.MetaData()
facts = sql.Table(
    "label_facts",
    metadata,
    sql.Column("name", sql.String(40), primary_key=True),
    sql.Column("value", sql.Text, nullable=False),
)
item_table = sql.Table(
    "label_items",
    metadata,
    sql.Column("key", sql.String(24), primary_key=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("uncertainty", sql.Float, nullable=False),
    sql.Column("gold", sql.Boolean, nullable=False),
    sql.Column("body", sql.Text, nullable=False),
)
annotators = sql.Table(
    "label_annotators",
    metadata,
    sql.Column("name", sql.String(64), primary_key=True),
    sql.Column("token_digest", sql.String(64)),  # NULL: the name is enough, on this machine
)
sessions = sql.Table(
    "label_sessions",
    metadata,
    sql.Column("digest", sql.String(64), primary_key=True),
    sql.Column("annotator", sql.ForeignKey("label_annotators.name"), nullable=False),
)
assignments = sql.Table(
    "label_assignments",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("item", sql.ForeignKey("label_items.key"), nullable=False),
    sql.Column("annotator", sql.ForeignKey("label_annotators.name"), nullable=False),
    sql.Column("shown_order", sql.Text, nullable=False),
    sql.Column("shown_at", sql.Float, nullable=False),
    sql.Column("results_seen_at", sql.Float),
    sql.UniqueConstraint("item", "annotator"),
)
answers = sql.Table(
    "label_answers",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("submit_key", sql.String(64), nullable=False, unique=True),
    sql.Column("assignment", sql.ForeignKey("label_assignments.id"), nullable=False),
    sql.Column("kind", sql.String(16), nullable=False),
    sql.Column("ranks", sql.Text, nullable=False),
    sql.Column("strength", sql.Integer, nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("seconds", sql.Float, nullable=False),
    sql.Column("results_seen", sql.Boolean, nullable=False),
    sql.Column("at", sql.Float, nullable=False),
    sql.Column("taken_back_at", sql.Float),
)
_standing = answers.c.taken_back_at.is_(None)
sql.Index(
    "label_one_answer", answers.c.assignment, unique=True, sqlite_where=_standing, postgresql_where=_standing
)  # fmt: skip


class Kind(StrEnum):
    """What was answered."""

    FIRST = "A"  # the first of two, as they were shown
    SECOND = "B"
    TIE = "tie"
    BOTH_BAD = "both_bad"  # no program is worth choosing
    RANKING = "ranking"  # of three and more


class Submitted(StrEnum):
    """What became of a submission."""

    SAVED = "saved"
    REPEATED = "repeated"  # this very submission was saved before: a double click, or a reply that got lost
    ANSWERED = "answered"  # another answer to this item stands: another tab, or a page gone back to


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """An item before an annotator. shown_order[place] is the index of a choice; the last reason and strength after an undo."""

    id: int
    annotator: str
    item: Item
    shown_order: tuple[int, ...]
    results_seen: bool
    reason: str = ""
    strength: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """`ranks[i]` is that of choice i of the item, 1 the best, equal for a tie; `seconds` is the time spent looking."""

    submit_key: str
    assignment: int
    kind: Kind
    ranks: tuple[int, ...]
    strength: int  # 1 slightly, 2 clearly, 3 much better; 0 where nothing is better
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that stands."""

    item: str
    annotator: str
    gold: bool
    kind: Kind
    ranks: tuple[int, ...]
    strength: int
    reason: str
    seconds: float
    results_seen: bool
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`answered` counts items that have an answer; `by_annotator` answers."""

    items: int
    answered: int
    by_annotator: dict[str, int]


class LabelStore:
    """The labels of one database. Raises RunFolderError where it cannot be used, ConfigError for a wrong URL."""

    def __init__(self, url: str, *, overlap: float = 1.0, seed: int = 0) -> None:
        self.url, self.overlap, self.seed = url, overlap, seed
        self._engine = _engine(url)
        with self._reported(), self._writing() as connection:
            metadata.create_all(connection)
            schema = connection.scalar(sql.select(facts.c.value).where(facts.c.name == "schema"))
            if schema is None:
                connection.execute(facts.insert().values(name="schema", value=str(SCHEMA)))
        if schema not in (None, str(SCHEMA)):
            raise RunFolderError(f"{self.place}: labels of schema {schema}: this version reads schema {SCHEMA}")

    @property
    def place(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self._engine.dispose()

    def add_items(self, items: Sequence[Item]) -> int:
        """Add those that are not there yet; their order is that of asking. Returns how many are new."""
        with self._writing() as connection:
            known = set(connection.scalars(sql.select(item_table.c.key)))
            new = [item for item in items if item.key not in known]
            rows = [
                {
                    "key": item.key,
                    "position": len(known) + number,
                    "uncertainty": item.uncertainty,
                    "gold": bool(item.gold),
                    "body": item.to_json(),
                }
                for number, item in enumerate(new)
            ]
            if rows:
                connection.execute(item_table.insert(), rows)
        return len(new)

    def item(self, key: str) -> Item:
        with self._reading() as connection:
            return Item.from_json(
                connection.execute(sql.select(item_table.c.body).where(item_table.c.key == key)).scalar_one()
            )

    def set_uncertainty(self, values: dict[str, float]) -> None:
        """What the reward model of now is unsure of, by key of the item."""
        with self._writing() as connection:
            for key, value in values.items():
                connection.execute(item_table.update().where(item_table.c.key == key).values(uncertainty=value))

    def add_annotator(self, name: str, token: str = "", *, renew: bool = False) -> bool:
        """Whether the name is new, or `renew` gave it this token: then older sessions of it end."""
        digest = _digest(token) if token else None
        with self._writing() as connection:
            known = connection.execute(sql.select(annotators).where(annotators.c.name == name)).first()
            if known is None:
                connection.execute(annotators.insert().values(name=name, token_digest=digest))
                return True
            if renew:
                connection.execute(annotators.update().where(annotators.c.name == name).values(token_digest=digest))
                connection.execute(sessions.delete().where(sessions.c.annotator == name))
            return renew

    def sign_in(self, name: str, token: str, *, names_suffice: bool = False) -> str:
        """The secret of a new session, "" where name and token do not belong together.

        `names_suffice` lets in those who have no token, and makes a name that is new; never for a server that others reach.
        """
        if names_suffice:
            self.add_annotator(name)
        with self._writing() as connection:
            known = connection.execute(sql.select(annotators).where(annotators.c.name == name)).first()
            expected = known.token_digest if known is not None else None
            by_name_alone = names_suffice and known is not None and expected is None
            # An unknown name takes as long as a wrong token, and a name without one never gets in by it.
            right = hmac.compare_digest(expected or _digest(secrets.token_hex()), _digest(token))
            if not by_name_alone and not right:
                return ""
            secret = secrets.token_urlsafe(32)
            connection.execute(sessions.insert().values(digest=_digest(secret), annotator=name))
            return secret

    def session(self, secret: str) -> str:
        """Whose session it is; "" for none."""
        with self._reading() as connection:
            query = sql.select(sessions.c.annotator).where(sessions.c.digest == _digest(secret))
            return connection.scalar(query) or ""

    def sign_out(self, secret: str) -> None:
        with self._writing() as connection:
            connection.execute(sessions.delete().where(sessions.c.digest == _digest(secret)))

    def next(self, annotator: str, now: float) -> Assignment | None:
        """What the annotator has before them: the item shown and not answered yet, or the next one; None when done."""
        with self._writing() as connection:
            open_one = connection.execute(
                sql.select(assignments)
                .where(assignments.c.annotator == annotator, ~_answered())
                .order_by(assignments.c.shown_at.desc(), assignments.c.id.desc())
            ).first()
            if open_one is not None:
                connection.execute(assignments.update().where(assignments.c.id == open_one.id).values(shown_at=now))
                return _assignment(connection, open_one.id)
            key = self._choose(connection, annotator, now)
            if key is None:
                return None
            body = connection.execute(sql.select(item_table.c.body).where(item_table.c.key == key)).scalar_one()
            order = shown_order(len(Item.from_json(body).choices), seed=self.seed, annotator=annotator, key=key)
            added = connection.execute(
                assignments.insert()
                .values(item=key, annotator=annotator, shown_order=json.dumps(order), shown_at=now)
                .returning(assignments.c.id)
            ).scalar_one()
            return _assignment(connection, added)

    def assignment(self, number: int, annotator: str) -> Assignment | None:
        """One of the annotator's own; None for another's, or where there is none of that number."""
        with self._reading() as connection:
            owner = connection.scalar(sql.select(assignments.c.annotator).where(assignments.c.id == number))
            return _assignment(connection, number) if owner == annotator else None

    def see_results(self, number: int, annotator: str, now: float) -> None:
        """Remember that the results of running were asked for before the answer; the first time counts."""
        with self._writing() as connection:
            own = (assignments.c.id == number) & (assignments.c.annotator == annotator)
            connection.execute(
                assignments.update().where(own, assignments.c.results_seen_at.is_(None)).values(results_seen_at=now)
            )

    def submit(self, annotator: str, given: Submission, now: float) -> Submitted:
        """Save an answer to one of the annotator's own assignments. Raises KeyError for another's."""
        with self._writing() as connection:
            if connection.scalar(sql.select(answers.c.id).where(answers.c.submit_key == given.submit_key)) is not None:
                return Submitted.REPEATED
            row = connection.execute(sql.select(assignments).where(assignments.c.id == given.assignment)).first()
            if row is None or row.annotator != annotator:
                raise KeyError(given.assignment)
            standing = sql.select(answers.c.id).where(answers.c.assignment == row.id, _standing)
            if connection.scalar(standing) is not None:
                return Submitted.ANSWERED
            connection.execute(
                answers.insert().values(
                    submit_key=given.submit_key,
                    assignment=row.id,
                    kind=given.kind.value,
                    ranks=json.dumps(given.ranks),
                    strength=given.strength,
                    reason=given.reason,
                    seconds=given.seconds,
                    results_seen=row.results_seen_at is not None,
                    at=now,
                )
            )
            return Submitted.SAVED

    def undo(self, annotator: str, now: float) -> bool:
        """Take back the annotator's newest answer that stands; its item is then the next. False where there is none."""
        with self._writing() as connection:
            newest = connection.execute(
                sql.select(answers.c.id, answers.c.assignment)
                .join(assignments, assignments.c.id == answers.c.assignment)
                .where(assignments.c.annotator == annotator, _standing)
                .order_by(answers.c.at.desc(), answers.c.id.desc())
            ).first()
            if newest is None:
                return False
            connection.execute(answers.update().where(answers.c.id == newest.id).values(taken_back_at=now))
            connection.execute(assignments.update().where(assignments.c.id == newest.assignment).values(shown_at=now))
            return True

    def answers(self) -> list[Answer]:
        """All that stand, in the order in which they were given."""
        with self._reading() as connection:
            rows = connection.execute(
                sql.select(answers, assignments.c.item, assignments.c.annotator, item_table.c.gold)
                .join(assignments, assignments.c.id == answers.c.assignment)
                .join(item_table, item_table.c.key == assignments.c.item)
                .where(_standing)
                .order_by(answers.c.at, answers.c.id)
            ).all()
        return [
            Answer(
                item=row.item,
                annotator=row.annotator,
                gold=row.gold,
                kind=Kind(row.kind),
                ranks=tuple(json.loads(row.ranks)),
                strength=row.strength,
                reason=row.reason,
                seconds=row.seconds,
                results_seen=row.results_seen,
                at=row.at,
            )
            for row in rows
        ]

    def items(self) -> dict[str, Item]:
        with self._reading() as connection:
            rows = connection.execute(sql.select(item_table.c.key, item_table.c.body).order_by(item_table.c.position))
            return {row.key: Item.from_json(row.body) for row in rows}

    def progress(self) -> Progress:
        with self._reading() as connection:
            joined = sql.select(assignments.c.item, assignments.c.annotator).join(
                answers, (answers.c.assignment == assignments.c.id) & _standing
            )
            rows = connection.execute(joined).all()
            total = connection.execute(sql.select(sql.func.count()).select_from(item_table)).scalar_one()
        return Progress(
            items=total,
            answered=len({row.item for row in rows}),
            by_annotator=dict(sorted(Counter(row.annotator for row in rows).items())),
        )

    def _choose(self, connection: sql.Connection, annotator: str, now: float) -> str | None:
        mine = set(connection.scalars(sql.select(assignments.c.item).where(assignments.c.annotator == annotator)))
        held = _answered() | (assignments.c.shown_at > now - LEASE_SECONDS)
        taken = Counter(connection.scalars(sql.select(assignments.c.item).where(held)))
        columns = (item_table.c.key, item_table.c.position, item_table.c.uncertainty, item_table.c.gold)
        waiting = [
            Waiting(
                key=row.key,
                position=row.position,
                uncertainty=row.uncertainty,
                gold=row.gold,
                taken=taken[row.key],
            )
            for row in connection.execute(sql.select(*columns))
            if row.key not in mine
        ]
        return next_item(waiting, overlap=self.overlap, seed=self.seed, annotator=annotator, num_answered=len(mine))

    @contextmanager
    def _reading(self) -> Iterator[sql.Connection]:
        with self._reported(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        """A transaction, one at a time; it is on disk when the block ends, or leaves no trace."""
        with self._reported(), self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            yield connection

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            raise RunFolderError(f"labels {self.place}: the database failed: {cause}; check --db") from error


def new_token() -> str:
    return secrets.token_urlsafe(18)


def _answered() -> Any:
    return sql.exists().where(answers.c.assignment == assignments.c.id, _standing)


def _assignment(connection: sql.Connection, number: int) -> Assignment:
    row = connection.execute(
        sql.select(assignments, item_table.c.body)
        .join(item_table, item_table.c.key == assignments.c.item)
        .where(assignments.c.id == number)
    ).one()
    last = connection.execute(
        sql.select(answers.c.reason, answers.c.strength)
        .where(answers.c.assignment == number)
        .order_by(answers.c.id.desc())
    ).first()
    return Assignment(
        id=row.id,
        annotator=row.annotator,
        item=Item.from_json(row.body),
        shown_order=tuple(json.loads(row.shown_order)),
        results_seen=row.results_seen_at is not None,
        reason=last.reason if last else "",
        strength=last.strength if last else 0,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _engine(url: str) -> sql.Engine:
    try:
        address = sql.make_url(url)
    except SQLAlchemyError:
        raise ConfigError(f"--db {url!r}: no database address: give a file, or postgresql://user@host/name") from None
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "postgresql":
        return sql.create_engine(address, pool_pre_ping=True)
    if address.get_backend_name() != "sqlite":
        raise ConfigError(
            f"--db {address.drivername}: SQLite and PostgreSQL are known; give a file, or postgresql://..."
        )
    engine = sql.create_engine(address, connect_args={"timeout": 30})

    @sql.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sql.event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
