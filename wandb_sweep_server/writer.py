"""One thread that writes, and commits the work of many requests at once."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from .database import Database

T = TypeVar("T")

# A commit waits for the disk, for some milliseconds; what comes in meanwhile shares the next one. The bound keeps the
# first of a batch from waiting for all others.
_BATCH_S = 0.01


@dataclass
class _Job:
    """Work that somebody waits for. `answer` is called once it is on disk or has failed, in the event loop."""

    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = field(default=None)

    def answer(self) -> None:
        if self.future.cancelled():  # the client has gone
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Does work one after the other, each piece wholly or not at all; its result is seen only once it is on disk."""

    def __init__(self, database: Database, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._db = database
        self._clock_s = clock_s
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._is_closed = False
        # A daemon, so that an error elsewhere ends the process: what is cut off has not been answered.
        self._thread = threading.Thread(target=self._write, name="store", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """Do work; when this returns, what it did is on disk.

        Work may be done anew if what it shared a commit with failed, so it must change nothing but the database.

        Raises:
            RuntimeError: The writer was closed.
        """
        if self._is_closed:
            raise RuntimeError("the store is closed")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        self._jobs.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what was asked for so far."""
        self._is_closed = True
        self._jobs.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch, is_last = self._commit_some(job)
            _answer(batch)
            if is_last:
                return

    def _commit_some(self, first: _Job) -> tuple[list[_Job], bool]:
        """Do the job and those that wait already; also whether the end was among them."""
        batch: list[_Job] = []
        is_last = False
        end_s = self._clock_s() + _BATCH_S
        job: _Job | None = first
        try:
            with self._db.transaction():
                while job is not None:
                    batch.append(job)
                    self._do(job)
                    if self._clock_s() >= end_s:
                        break
                    job, is_last = self._next()
        except sqlite3.Error:
            # One job may have caused it (a full disk ends the whole transaction): it alone is to hear of it.
            # None in the batch: the transaction could not even begin.
            batch = batch or [first]
            for job in batch:
                self._commit_alone(job)
        return batch, is_last

    def _next(self) -> tuple[_Job | None, bool]:
        try:
            job = self._jobs.get_nowait()
        except Empty:
            return None, False
        return job, job is None

    def _do(self, job: _Job) -> None:
        """Do a job within the transaction; raises sqlite3.Error only if the transaction is gone."""
        job.result = job.error = None
        try:
            with self._db.savepoint():
                job.result = job.work()
        except Exception as error:  # it goes to whoever waits for the job
            job.error = error
            if not self._db.in_transaction:
                raise sqlite3.OperationalError("the transaction was ended by an error") from error

    def _commit_alone(self, job: _Job) -> None:
        try:
            with self._db.transaction():
                self._do(job)
        except sqlite3.Error as error:
            job.error = job.error or error


def _answer(batch: list[_Job]) -> None:
    """Wake each event loop once for all its jobs."""
    for loop in {job.loop for job in batch}:
        jobs = [job for job in batch if job.loop is loop]
        # A loop that was closed meanwhile has nobody who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_answer_all, jobs)


def _answer_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.answer()
