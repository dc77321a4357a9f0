"""The SQLite file: opening, schema version, transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import regex

from .errors import ClientError

# How long a request may look for patterns in texts.
_MATCHING_S = 2.0

SCHEMA_VERSION = 7


class SchemaVersionError(RuntimeError):
    """The database was written by another version of this server."""


class Database:
    """One connection, used by one thread at a time.

    The directory may be on a network file system. There, write-ahead logging is unsafe as it is used commonly: all
    who open the file share memory. In exclusive locking mode, set before the file is read, SQLite keeps that index to
    itself (https://www.sqlite.org/wal.html, "Use of WAL Without Shared-Memory"), and the directory's lock guarantees
    that there is no second process. A commit is one sync of the log, where a rollback journal needs four; each of
    them takes milliseconds on a busy or distant disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # How many transactions came to nothing: whatever was learnt from the file meanwhile may not be so.
        self.undone_transactions = 0
        self._listeners = 0
        # Opened in the main thread, used in the store's worker thread.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._check_version()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        # SQLite has the operator but leaves the function to its host.
        self._matcher = _Matcher()
        self._connection.create_function("REGEXP", 2, self._matcher, deterministic=True)
        self._ensure_schema()

    def _check_version(self) -> None:
        """Before anything is changed: the file of another version is left as it is."""
        version = int(self.value("PRAGMA user_version"))
        if version not in (0, SCHEMA_VERSION):
            raise SchemaVersionError(
                f"{self.path} has schema version {version}, this server reads {SCHEMA_VERSION}. "
                "Use the version of hydra-wandb-sweeper that wrote it, or another directory."
            )

    def _ensure_schema(self) -> None:
        if int(self.value("PRAGMA user_version")) == SCHEMA_VERSION:
            return
        script = files("wandb_sweep_server").joinpath("schema.sql").read_text(encoding="utf-8")
        # One transaction, so that a server killed here leaves either nothing or a whole schema.
        self._connection.executescript(f"BEGIN; {script} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def close(self) -> None:
        """Close the file; further use raises sqlite3.ProgrammingError."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is durable once this returns, or nothing of it happened."""
        self._matcher.renew()
        self._connection.execute("BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self.undone_transactions += 1
            # A failed COMMIT (disk full) leaves the transaction open, other failures may have ended it already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; some errors of SQLite end it."""
        return self._connection.in_transaction

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Inside a transaction: everything in here happens, or nothing of it."""
        self._matcher.renew()
        self._connection.execute("SAVEPOINT part")
        try:
            yield
            self._connection.execute("RELEASE part")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            raise

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> int:
        """Run one statement; returns the number of rows changed."""
        return self._connection.execute(sql, tuple(parameters)).rowcount

    def insert(self, table: str, columns: dict[str, Any]) -> int:
        """Insert one row and return its id. Names come from this package, never from a request."""
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
        row_id = self._connection.execute(statement, tuple(columns.values())).lastrowid
        if row_id is None:
            raise sqlite3.DatabaseError(f"no row id after an insert into {table}")
        return row_id

    def update(self, table: str, row_id: int, columns: dict[str, Any]) -> None:
        """Set columns of one row. Names come from this package, never from a request."""
        if columns:
            assignments = ", ".join(f"{name} = ?" for name in columns)
            self.execute(f"UPDATE {table} SET {assignments} WHERE id = ?", (*columns.values(), row_id))  # noqa: S608

    def call_on_change(
        self,
        table: str,
        columns: Sequence[str],
        call: Callable[[int | None, int], None],
        *,
        told: tuple[str, str] = ("sweep_id", "id"),
    ) -> None:
        """Call `call(sweep_id, id)` for every row of a table that is inserted, deleted, or given a column anew.

        A trigger of this connection sees all changes, whichever statement makes them. It is called before they are
        committed, and they may be undone. told: the columns that `call` gets. Names come from this package, never
        from a request.
        """
        self._listeners += 1
        function = f"note_{table}_{self._listeners}"
        self._connection.create_function(function, 2, call)
        for event, row in (("INSERT", "NEW"), (f"UPDATE OF {', '.join(columns)}", "NEW"), ("DELETE", "OLD")):
            self.execute(
                f"CREATE TEMP TRIGGER {function}_{event.split()[0]} AFTER {event} ON {table} "
                f"BEGIN SELECT {function}({row}.{told[0]}, {row}.{told[1]}); END"
            )

    def executemany(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run one statement for each tuple of parameters."""
        self._connection.executemany(sql, rows)

    def row(self, sql: str, parameters: Iterable[Any] = ()) -> sqlite3.Row | None:
        """The first row, or None. Raises: ClientError, as `rows` does."""
        with self._timely():
            row: sqlite3.Row | None = self._connection.execute(sql, tuple(parameters)).fetchone()
        return row

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows. Raises: ClientError if it looks for a pattern in texts and that takes too long."""
        with self._timely():
            return self._connection.execute(sql, tuple(parameters)).fetchall()

    @contextmanager
    def _timely(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if self._matcher.is_exhausted:
                raise ClientError(
                    f"filters: $regex takes longer than {_MATCHING_S:.0f} s; use another one"
                ) from error
            raise

    def value(self, sql: str, parameters: Iterable[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, parameters)
        return None if row is None else row[0]


class _Matcher:
    """Looks for patterns in texts, for a limited time in all: some patterns take years on some texts."""

    def __init__(self) -> None:
        self._left_s = _MATCHING_S
        self.is_exhausted = False

    def renew(self) -> None:
        """Grant the time anew."""
        self._left_s = _MATCHING_S
        self.is_exhausted = False

    def __call__(self, pattern: str, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        start_s = time.monotonic()
        try:
            # Other threads go on meanwhile, unlike with `re`, which can't be interrupted either.
            return regex.search(pattern, value, timeout=max(self._left_s, 0.001), concurrent=True) is not None
        except TimeoutError:
            self.is_exhausted = True
            raise
        finally:
            self._left_s -= time.monotonic() - start_s
