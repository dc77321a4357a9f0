"""The SQLite file: whole transactions, a known schema, and what is in it after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.unit.server.support import Server
from wandb_sweep_server.database import SCHEMA_VERSION, Database, SchemaVersionError
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.store import Limits, Store, new_name

PROJECT = {"entity": "e", "created_at": 1.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sweeps.sqlite3"


def project_names(database: Database) -> list[str]:
    return [row["name"] for row in database.rows("SELECT name FROM projects ORDER BY id")]


@pytest.mark.parametrize(
    ("setting", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("locking_mode", "exclusive")]
)
def test_each_commit_is_synced_and_no_memory_is_shared(path: Path, setting: str, value: object) -> None:
    # 2 is FULL: in WAL mode the log is synced after each transaction, and not only before a checkpoint.
    database = Database(path)
    assert database.value(f"PRAGMA {setting}") == value
    assert not path.with_name(path.name + "-shm").exists()


def test_a_transaction_that_raises_leaves_nothing(path: Path) -> None:
    database = Database(path)
    database.insert("projects", {**PROJECT, "name": "before"})

    def change_and_fail() -> None:
        with database.transaction():
            database.insert("projects", {**PROJECT, "name": "undone"})
            database.execute("DELETE FROM projects WHERE name = 'before'")
            raise LookupError("too late")

    with pytest.raises(LookupError):
        change_and_fail()
    assert project_names(database) == ["before"]


def test_a_transaction_that_cannot_be_committed_leaves_nothing_and_the_next_one_works(path: Path) -> None:
    database = Database(path)

    def fail_to_commit() -> None:
        # A full disk looks like this, too: the statements succeed, their COMMIT does not.
        row = {"sweep_id": 99, "name": "a", "host": "h", "created_at": 1.0, "heartbeat_at": 1.0}
        with database.transaction():
            database.execute("PRAGMA defer_foreign_keys = ON")
            database.insert("agents", row)

    with pytest.raises(sqlite3.IntegrityError):
        fail_to_commit()
    with database.transaction():
        database.insert("projects", {**PROJECT, "name": "next"})
    assert project_names(database) == ["next"]
    assert database.value("SELECT COUNT(*) FROM agents") == 0


def test_an_error_that_ended_the_transaction_already_is_the_one_to_see(path: Path) -> None:
    database = Database(path)

    def conflict() -> None:
        with database.transaction():
            database.insert("projects", {**PROJECT, "name": "a"})
            database.execute("INSERT OR ROLLBACK INTO projects (entity, name, created_at) VALUES ('e', 'a', 1)")

    with pytest.raises(sqlite3.IntegrityError):
        conflict()
    assert project_names(database) == []


def test_work_of_the_store_is_one_transaction(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits())

    def work(fails: bool) -> str:
        name = store.projects.require("e", "undone" if fails else "kept").name
        if fails:
            raise LookupError("too late")
        return name

    assert asyncio.run(store.run(lambda: work(False))) == "kept"
    with pytest.raises(LookupError):
        asyncio.run(store.run(lambda: work(True)))
    assert project_names(store.database) == ["kept"]
    store.close()


def test_what_was_committed_is_there_after_a_restart(path: Path) -> None:
    database = Database(path)
    with database.transaction():
        database.insert("projects", {**PROJECT, "name": "kept"})
    database.close()
    reopened = Database(path)
    assert project_names(reopened) == ["kept"]
    assert reopened.value("PRAGMA user_version") == SCHEMA_VERSION


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99, -1])
def test_a_database_of_another_version_is_refused_by_name_and_left_alone(path: Path, version: int) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE precious (a)")
    other.execute(f"PRAGMA user_version = {version}")
    other.commit()
    other.close()
    with pytest.raises(SchemaVersionError) as refusal:
        Database(path)
    for word in (str(path), f"schema version {version}", f"reads {SCHEMA_VERSION}", "another directory"):
        assert word in str(refusal.value)
    untouched = sqlite3.connect(path)
    assert untouched.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]


def test_ids_are_never_used_again(path: Path) -> None:
    database = Database(path)
    first = database.insert("projects", {**PROJECT, "name": "a"})
    database.execute("DELETE FROM projects")
    assert database.insert("projects", {**PROJECT, "name": "b"}) > first


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [("a.c", "xabcx", 1), ("^b", "abc", 0), ("", "", 1), ("1", 1, 0), ("x", None, 0), ("(?i)ABC", "abc", 1)],
)
def test_regexp_looks_for_a_pattern_in_texts(path: Path, pattern: str, text: object, matches: int) -> None:
    assert Database(path).value("SELECT ? REGEXP ?", (text, pattern)) == matches


def test_a_pattern_that_takes_for_ever_is_the_clients_error_and_the_next_one_has_its_time(path: Path) -> None:
    database = Database(path)
    with pytest.raises(ClientError, match=r"\$regex takes longer than 2 s"):
        database.rows("SELECT ? REGEXP '(a|aa)+$'", ("a" * 200 + "!",))
    with database.transaction():
        assert database.value("SELECT 'xay' REGEXP 'a'") == 1


def test_a_random_sweep_goes_on_with_its_seed_after_a_restart(server: Server) -> None:
    sweep = server.sweep({"a": {"min": 0.0, "max": 1.0}}, method="random")
    expected = [server.store.sweeps.config(sweep).search.args(index) for index in range(4)]
    given = []
    for _ in range(4):
        (command,) = server.heartbeat(server.agent(sweep))
        given.append(command["args"])
        server.reopen()
    assert given == expected


def test_two_sweeps_of_one_configuration_draw_differently(server: Server) -> None:
    parameters = {"a": {"min": 0.0, "max": 1.0}}
    trials = [server.heartbeat(server.agent(server.sweep(parameters, method="random")))[0]["args"] for _ in range(2)]
    assert trials[0] != trials[1]


def test_names_are_eight_lower_case_letters_and_digits() -> None:
    names = {new_name() for _ in range(200)}
    assert len(names) == 200
    assert all(len(name) == 8 and name.isascii() and name.isalnum() and name == name.lower() for name in names)


def test_everybody_who_wants_to_know_of_changes_is_told(path: Path) -> None:
    database = Database(path)
    told: list[tuple[str, int | None, int]] = []
    for who in ("one", "other"):
        database.call_on_change(
            "projects", ["name"], lambda a, b, who=who: told.append((who, a, b)), told=("id", "id")
        )
    number = database.insert("projects", {**PROJECT, "name": "a"})
    database.execute("UPDATE projects SET name = 'b'")
    database.execute("UPDATE projects SET entity = 'c'")
    database.execute("DELETE FROM projects")
    assert sorted(told) == [("one", number, number)] * 3 + [("other", number, number)] * 3
