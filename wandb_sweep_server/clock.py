"""Time and the memory of who was heard of when."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

# A busy server may be that late.
_LATE_S = 5.0
# Longer than transactions take.
_RECENT_S = 60.0


@dataclass(frozen=True)
class Clock:
    """Two clocks: one for what is stored, one for silences, which must not jump with the wall clock."""

    wall_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic


@dataclass
class Liveness:
    """When each run was last heard of; in memory only.

    A server that was down has heard nothing from anyone, so after a start every silence counts from
    that start. Since nothing of this needs to survive, a heartbeat without news costs no disk write.
    """

    clock: Clock
    _heard_s: dict[int, float] = field(default_factory=dict)
    _start_s: float = field(init=False)
    _attended_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._start_s = self._attended_s = self.clock.monotonic_s()

    def attend(self, every_s: float) -> None:
        """To be called every so often, before silences are judged.

        A call that comes much later means that the server itself was away: stopped, suspended with its machine, or
        waiting for its disk. It has heard nothing meanwhile, so silences count from now as they do after a start.
        """
        now_s = self.clock.monotonic_s()
        if now_s - self._attended_s > 2 * every_s + _LATE_S:
            self._start_s = now_s
            self._heard_s.clear()
        self._attended_s = now_s

    def touch(self, run_id: int) -> None:
        """The run was heard of now."""
        self._heard_s[run_id] = self.clock.monotonic_s()

    def forget_all_but(self, run_ids: Collection[int]) -> None:
        """Forget the other runs, unless they were heard of a moment ago.

        Not at once when a run ends: the transaction in which it does may be undone, and one that lives on without its
        last sign of life would pass for silent.
        """
        now_s = self.clock.monotonic_s()
        ended = [i for i, heard_s in self._heard_s.items() if now_s - heard_s > _RECENT_S and i not in run_ids]
        for run_id in ended:
            del self._heard_s[run_id]

    def silence_s(self, run_id: int) -> float:
        """Seconds since the run was heard of, at most since this server started."""
        return self.clock.monotonic_s() - self._heard_s.get(run_id, self._start_s)
