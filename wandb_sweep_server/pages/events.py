"""Server-sent events: each page of a sweep that is open hears what has changed, at most so often."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from wandb_sweep_server import jsontext

from .changes import OutdatedError

log = logging.getLogger(__name__)

# Of a fast sweep whose changes are large, a page hears less often: it has to draw them too.
_BYTES_PER_S = 200_000


@dataclass(frozen=True)
class Pace:
    """pause_s: between two events of a page, at least. silence_s: after that, a sign of life. retry_s: how long a
    browser waits before it comes again."""

    pause_s: float = 1.0
    silence_s: float = 15.0
    retry_s: float = 2.0


class Streams:
    """The open event streams of all pages. `wake` may be called in any thread, all else in the event loop."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: dict[int, set[asyncio.Event]] = {}
        # Sweeps whose listeners are about to be woken: the loop is told once, not with each of many changes.
        self._woken: set[int] = set()
        self._ended = asyncio.Event()

    def wake(self, sweep_id: int) -> None:
        """Something of the sweep has changed, or will have when its transaction ends."""
        if self._loop is None or sweep_id not in self._listening or sweep_id in self._woken:
            return
        self._woken.add(sweep_id)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._wake, sweep_id)

    def _wake(self, sweep_id: int) -> None:
        self._woken.discard(sweep_id)
        for event in self._listening.get(sweep_id, ()):
            event.set()

    def end(self) -> None:
        """End all streams: the server is about to."""
        self._ended.set()
        for events in self._listening.values():
            for event in events:
                event.set()

    async def follow(
        self,
        sweep_id: int,
        revision: int | None,
        read: Callable[[int | None], Awaitable[dict[str, Any] | None]],
    ) -> AsyncIterator[bytes]:
        """Yield a sweep's events.

        Args:
            sweep_id: Its row number.
            revision: What the page knows; None for nothing.
            read: Returns what has changed since a revision, with the new revision in it, or None for nothing. Raises
                OutdatedError: then the page is told to read all again, and this ends.
        """
        self._loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        self._listening.setdefault(sweep_id, set()).add(woken)
        try:
            yield f"retry: {self._pace.retry_s * 1000:.0f}\n\n".encode()
            while not self._ended.is_set():
                woken.clear()  # before reading: what comes while it is read is read the next time
                change = await read(revision)
                if change is not None:
                    revision = change["revision"]
                    text = await asyncio.to_thread(jsontext.dumps, change)
                    yield f"id: {revision}\nevent: change\ndata: {text}\n\n".encode()
                    await _is_set(self._ended, max(self._pace.pause_s, len(text) / _BYTES_PER_S))
                if not await _is_set(woken, self._pace.silence_s):
                    yield b": still here\n\n"  # or a browser that has gone would never be noticed
        except OutdatedError:
            yield b"event: reload\ndata: {}\n\n"
        except (OSError, sqlite3.Error) as error:  # a full disk; the page comes again
            log.warning("a page isn't told what has changed: %s", error)
        finally:
            self._listening[sweep_id].discard(woken)
            if not self._listening[sweep_id]:
                del self._listening[sweep_id]


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), within_s)
    return event.is_set()
