"""The writing thread: what comes together is committed together, and fails alone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wandb_sweep_server.database import Database
from wandb_sweep_server.writer import Writer


class CountingDatabase(Database):
    """Knows how many transactions there were."""

    transactions = 0

    def transaction(self) -> Any:
        self.transactions += 1
        return super().transaction()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[CountingDatabase]:
    database = CountingDatabase(tmp_path / "sweeps.sqlite3")
    yield database
    database.close()


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    # Time stands still: only what waits decides how much shares a commit.
    writer = Writer(database, clock_s=lambda: 0.0)
    yield writer
    writer.close()


def add(database: Database, name: str) -> str:
    database.insert("projects", {"entity": "e", "name": name, "created_at": 1.0})
    return name


def names(database: Database) -> list[str]:
    return [row["name"] for row in database.rows("SELECT name FROM projects ORDER BY id")]


def do_together(writer: Writer, *works: Callable[[], Any]) -> list[Any]:
    """The results or errors of works that wait while another one is done."""

    async def do() -> list[Any]:
        is_waiting = threading.Event()
        others = [writer.run(work) for work in works]
        first = asyncio.ensure_future(writer.run(is_waiting.wait))
        await asyncio.sleep(0)  # the first one is with the writer
        tasks = [asyncio.ensure_future(other) for other in others]
        await asyncio.sleep(0)
        is_waiting.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(do())


def test_what_waits_while_something_is_done_shares_its_commit(database: CountingDatabase, writer: Writer) -> None:
    works = [lambda name=name: add(database, name) for name in "abcdef"]
    assert do_together(writer, *works) == list("abcdef")
    assert database.transactions == 1
    assert names(database) == list("abcdef")


def test_a_commit_is_not_put_off_for_more_than_a_moment(database: CountingDatabase) -> None:
    times = iter(range(100))
    writer = Writer(database, clock_s=lambda: float(next(times)))  # a second passes whenever it looks
    assert do_together(writer, lambda: 1, lambda: 2, lambda: 3) == [1, 2, 3]
    assert database.transactions == 4
    writer.close()


def test_an_error_is_for_its_own_request_alone(database: CountingDatabase, writer: Writer) -> None:
    def fail() -> None:
        add(database, "undone")
        raise LookupError("no")

    before, error, after = do_together(writer, lambda: add(database, "a"), fail, lambda: add(database, "b"))
    assert (before, after) == ("a", "b")
    assert isinstance(error, LookupError)
    assert names(database) == ["a", "b"]
    assert database.transactions == 1


def test_an_error_that_ends_the_transaction_is_for_its_own_request_alone(database: Database, writer: Writer) -> None:
    def end_it() -> None:
        # A full disk ends a transaction as this does.
        database.execute("INSERT OR ROLLBACK INTO projects (entity, name, created_at) VALUES ('e', 'a', 1)")

    before, error, after = do_together(writer, lambda: add(database, "a"), end_it, lambda: add(database, "b"))
    assert (before, after) == ("a", "b")
    assert isinstance(error, sqlite3.IntegrityError)
    assert names(database) == ["a", "b"]


def test_what_cannot_be_committed_fails_alone(database: Database, writer: Writer) -> None:
    def promise_in_vain() -> None:
        database.execute("PRAGMA defer_foreign_keys = ON")
        row = {"sweep_id": 99, "name": "a", "host": "h", "created_at": 1.0, "heartbeat_at": 1.0}
        database.insert("agents", row)

    before, error, after = do_together(
        writer, lambda: add(database, "a"), promise_in_vain, lambda: add(database, "b")
    )
    assert (before, after) == ("a", "b")
    assert isinstance(error, sqlite3.IntegrityError)
    assert names(database) == ["a", "b"]
    assert database.value("SELECT COUNT(*) FROM agents") == 0


def test_who_comes_while_no_transaction_can_begin_is_answered_all_the_same(
    database: Database, writer: Writer
) -> None:
    database.execute("BEGIN")  # as after a rollback that failed
    (error,) = do_alone(writer, lambda: add(database, "a"))
    assert isinstance(error, sqlite3.OperationalError)
    database.execute("ROLLBACK")
    assert do_alone(writer, lambda: add(database, "b")) == ["b"]


def do_alone(writer: Writer, work: Callable[[], Any]) -> list[Any]:
    """The result or error of a work that nothing else shares a transaction with."""

    async def do() -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(writer.run(work), return_exceptions=True), timeout=30)

    return asyncio.run(do())


def test_nobody_is_answered_before_the_commit(database: Database, writer: Writer) -> None:
    async def look_after_each() -> list[bool]:
        seen = []
        for name in "abc":
            await writer.run(lambda name=name: add(database, name))
            seen.append(not database.in_transaction)
        return seen

    assert asyncio.run(look_after_each()) == [True] * 3


def test_a_client_that_has_gone_keeps_nobody_from_an_answer(database: Database, writer: Writer) -> None:
    async def leave_one() -> str:
        gone = asyncio.ensure_future(writer.run(lambda: add(database, "gone")))
        await asyncio.sleep(0)
        gone.cancel()
        return await writer.run(lambda: add(database, "here"))

    assert asyncio.run(leave_one()) == "here"
    assert names(database) == ["gone", "here"]


def test_what_was_asked_for_before_the_end_is_still_done(database: Database) -> None:
    writer = Writer(database)

    async def ask_and_close() -> list[str]:
        tasks = [asyncio.ensure_future(writer.run(lambda name=name: add(database, name))) for name in "abc"]
        await asyncio.sleep(0)
        writer.close()
        return await asyncio.gather(*tasks)

    assert asyncio.run(ask_and_close()) == list("abc")


def test_a_closed_writer_takes_no_more_work(database: Database) -> None:
    writer = Writer(database)
    writer.close()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(writer.run(lambda: add(database, "late")))
    assert names(database) == []
