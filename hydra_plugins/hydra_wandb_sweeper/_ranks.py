"""Several ranks of one job (`tasks_per_node`, `nodes`) run each trial together: a single agent on many processes.

Rank 0 is the agent. It claims, owns the W&B run and decides; the others run what it runs, with the same overrides and
in the same directory. They meet in a directory of the ledger, since ranks may be on different nodes:

    N.json       the N-th trial of the agent, to be begun by every rank
    N.failed.R   rank R's part of it has failed
    N.over.json  how the others have to end theirs
    end          there will be no more
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ._files import read_json, write_whole
from ._isolation import Isolation, TrialProcess
from ._ledger import Trial

log = logging.getLogger(__name__)

# How soon ranks notice one another's files. Starting and ending together costs this much, not the trial itself.
_POLL_S = 0.2
# For ranks whose task hasn't returned yet when that of rank 0 has.
_LATE_S = 30.0


@dataclass(frozen=True)
class Ranks:
    """rank: of this process. size: how many there are. directory: where those of this agent meet."""

    rank: int
    size: int
    directory: Path

    def path(self, number: int, what: str) -> Path:
        """Where something about the agent's N-th trial is."""
        return self.directory / f"{number}.{what}"

    def failed(self, number: int) -> list[int]:
        """Return the ranks whose part of a trial has failed."""
        return sorted(int(path.suffix[1:]) for path in self.directory.glob(f"{number}.failed.*"))

    @property
    def end(self) -> Path:
        """What says that there will be no more trials."""
        return self.directory / "end"


class LeadingIsolation:
    """Rank 0: starts its part of each trial, and has the other ranks start theirs."""

    def __init__(self, inner: Isolation, ranks: Ranks) -> None:
        self._inner = inner
        self._ranks = ranks
        self._number = 0
        ranks.directory.mkdir(parents=True, exist_ok=True)

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        """See Isolation.start."""
        number = self._number
        self._number += 1
        write_whole(self._ranks.path(number, "json"), asdict(trial))
        return _LeadingProcess(self._inner.start(trial, result_path), self._ranks, number)

    def wait_until_clear(self) -> None:
        """See Isolation.wait_until_clear."""
        self._inner.wait_until_clear()

    def close(self) -> None:
        """Let the other ranks end."""
        self._ranks.end.touch()
        self._inner.close()


class _LeadingProcess:
    """Rank 0's part of a trial, which ends when another part fails, and ends the others."""

    def __init__(self, inner: TrialProcess, ranks: Ranks, number: int) -> None:
        self._inner = inner
        self._ranks = ranks
        self._number = number
        self._is_over = False
        self.failure: str | None = None

    @property
    def exit_code(self) -> int:
        return self._inner.exit_code

    def wait(self, timeout_s: float) -> bool:
        if self._inner.wait(min(timeout_s, _POLL_S)):
            self._say_over("end", _LATE_S)
            return True
        if failed := self._ranks.failed(self._number):
            names = ", ".join(map(str, failed))
            self.failure = f"rank {names} of {self._ranks.size} failed; see trial.rank{failed[0]}.log"
            self.terminate(_LATE_S)
            return True
        return False

    def terminate(self, grace_s: float) -> None:
        self._say_over("terminate", grace_s)
        self._inner.terminate(grace_s)

    def preempt(self, grace_s: float) -> None:
        self._say_over("preempt", grace_s)
        self._inner.preempt(grace_s)

    def _say_over(self, how: str, grace_s: float) -> None:
        if not self._is_over:
            self._is_over = True
            write_whole(self._ranks.path(self._number, "over.json"), {"how": how, "grace_s": grace_s})


def follow(isolation: Isolation, ranks: Ranks, sleep: Callable[[float], None] = time.sleep) -> int:
    """A rank other than 0: take part in trials until there are no more; returns in how many."""
    number = 0
    while (trial := _next_trial(ranks, number, sleep)) is not None:
        process = isolation.start(trial, ranks.path(number, f"result.{ranks.rank}"))
        if not _take_part(process, ranks, number):
            log.warning("Trial %d failed in rank %d; see trial.rank%d.log.", trial.number, ranks.rank, ranks.rank)
        number += 1
    return number


def _next_trial(ranks: Ranks, number: int, sleep: Callable[[float], None]) -> Trial | None:
    while True:
        if (told := read_json(ranks.path(number, "json"))) is not None:
            return Trial(**told)
        if ranks.end.exists():
            return None
        sleep(_POLL_S)


def _take_part(process: TrialProcess, ranks: Ranks, number: int) -> bool:
    """Wait for the end of this rank's part; False if it failed by itself."""
    while not process.wait(_POLL_S):
        if (over := read_json(ranks.path(number, "over.json"))) is None:
            continue
        if over["how"] == "preempt":
            process.preempt(over["grace_s"])
        elif over["how"] == "terminate" or not _ends_within(process, over["grace_s"]):
            process.terminate(over["grace_s"])
        return True
    if process.exit_code == 0 or ranks.path(number, "over.json").exists():
        return True
    ranks.path(number, f"failed.{ranks.rank}").touch()
    return False


def _ends_within(process: TrialProcess, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not process.wait(_POLL_S):
        if time.monotonic() > deadline:
            return False
    return True
