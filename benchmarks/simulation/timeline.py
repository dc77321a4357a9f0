"""Simulated time, and blocking code that lives in it.

The project's agents and its supervisor are loops that wait. To be simulated as they are, each gets a thread of its
own, of which exactly one runs at a time: a wait hands over to the timeline, which goes on to the next moment at which
something is due. Nothing depends on the threads' scheduling, so that a seed gives the same course every time.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


class Killed(BaseException):
    """Raised in a process that was killed by whatever it does next that needs time: the dead read no clock."""


@dataclass(order=True)
class Timer:
    """Something that is due. at_s: when. cancelled: it isn't any more."""

    at_s: float
    serial: int
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Timeline:
    """What is due, in the order of its times; at the same time, in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[Timer] = []
        self._serials = itertools.count()
        self._stamps = itertools.count()

    def call_at(self, at_s: float, action: Callable[[], None]) -> Timer:
        """Have something done at a time; one that is past means now."""
        timer = Timer(max(at_s, self.now_s), next(self._serials), action)
        heapq.heappush(self._due, timer)
        return timer

    def call_in(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Have something done in so many seconds."""
        return self.call_at(self.now_s + seconds, action)

    def stamp(self) -> float:
        """The time, a microsecond later with every look at it: events of one moment keep their order."""
        return self.now_s + next(self._stamps) * 1e-6

    def run(self) -> None:
        """Go on until nothing is due. Errors: whatever an action raises."""
        while self._due:
            timer = heapq.heappop(self._due)
            if not timer.cancelled:
                self.now_s = timer.at_s
                timer.action()


class Process:
    """Blocking code in simulated time.

    body: the code; it waits by `wait` only. on_end: called once it has ended by itself, not if it was killed.
    """

    def __init__(self, timeline: Timeline, body: Callable[[Process], None], on_end: Callable[[], None]) -> None:
        self._timeline = timeline
        self._body = body
        self._on_end = on_end
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._timer: Timer | None = None
        self._is_killed = False
        self._was_woken = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._timer = timeline.call_in(0.0, self._begin)

    # --- for the code in it ---

    def clock(self) -> float:
        """Simulated seconds. Errors: Killed."""
        self._refuse_dead()
        return self._timeline.now_s

    def stamp(self) -> float:
        """The same, different with every look. Errors: Killed."""
        self._refuse_dead()
        return self._timeline.stamp()

    def wait(self, seconds: float) -> bool:
        """Wait until woken, for `seconds` at most; True if woken. Errors: Killed."""
        self._refuse_dead()
        self._was_woken = False
        self._timer = self._timeline.call_in(seconds, self._resume)
        self._back.release()
        self._turn.acquire()
        self._refuse_dead()
        return self._was_woken

    def _refuse_dead(self) -> None:
        if self._is_killed:
            raise Killed

    # --- for others ---

    def wake(self) -> None:
        """End its wait, now."""
        if self._timer is not None and not self._was_woken and self._thread.ident is not None:
            self._was_woken = True
            self._timer.cancelled = True
            self._timer = self._timeline.call_in(0.0, self._resume)

    def kill(self) -> None:
        """End it where it is. Not to be called by itself."""
        if self._is_killed or self._timer is None:
            return
        self._is_killed = True
        self._timer.cancelled = True
        if self._thread.ident is not None:
            self._resume()

    def _begin(self) -> None:
        self._timer = None
        self._thread.start()
        self._give_way()

    def _resume(self) -> None:
        self._timer = None
        self._turn.release()
        self._give_way()

    def _give_way(self) -> None:
        """Let the process run until it waits or ends."""
        self._back.acquire()
        if self._timer is not None:
            return
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if not self._is_killed:
            self._on_end()

    def _run(self) -> None:
        try:
            self._body(self)
        except Killed:
            pass
        except BaseException as failure:  # noqa: BLE001 (raised again in the timeline's thread)
            self._failure = failure
        finally:
            self._timer = None
            self._back.release()
