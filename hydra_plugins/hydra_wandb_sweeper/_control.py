"""What people want of a sweep that runs: files in the sweep directory, which agents look at before each claim.

They work without a supervisor and without the server, and each is there or it isn't: no reader sees half of one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_DIRECTORY = "control"
_PAUSE, _DRAIN, _CANCEL = "pause", "drain", "cancel"


@dataclass(frozen=True)
class Orders:
    """What stands at one moment.

    paused: claim nothing for now. draining: claim nothing more, end when the running trial has ended. cancelled: stop
    the running trial too. drained_agents: those that are to end by themselves.
    """

    paused: bool = False
    draining: bool = False
    cancelled: bool = False
    drained_agents: frozenset[str] = frozenset()

    def leave_reason(self, agent: str) -> str | None:
        """Return why an agent is to claim nothing more, None if it may go on."""
        if self.cancelled:
            return "the sweep was cancelled"
        if self.draining:
            return "the sweep was told to begin no more trials"
        if without_restarts(agent) in self.drained_agents:
            return "it was told to begin no more trials"
        return None

    @property
    def ends_sweep(self) -> bool:
        """True if no trial begins any more, in any agent."""
        return self.draining or self.cancelled


def without_restarts(agent: str) -> str:
    """Return the name of the first agent in an agent's place: of agent-0r1-2x1 it is agent-0-2.

    r: the job was put back into the queue. x: an agent of several in one job died, and another one took its place.
    """
    return re.sub(r"x\d+$", "", re.sub(r"^(agent-\d+)r\d+", r"\1", agent))


class Control:
    """The orders of one sweep. root: the ledger's directory."""

    def __init__(self, root: Path) -> None:
        self._directory = root / _DIRECTORY

    def orders(self) -> Orders:
        """Read what stands now."""
        try:
            names = set(os.listdir(self._directory))
        except FileNotFoundError:
            return Orders()
        agents = (name.removeprefix(f"{_DRAIN}.") for name in names if name.startswith(f"{_DRAIN}."))
        return Orders(_PAUSE in names, _DRAIN in names, _CANCEL in names, frozenset(agents))

    def pause(self) -> None:
        """No trial begins until `resume`; agents wait."""
        self._set(_PAUSE)

    def resume(self) -> None:
        """Trials may begin again after a pause."""
        self._unset(_PAUSE)

    def allow(self) -> None:
        """Trials may begin again after a drain; agents that were drained by name stay so."""
        self._unset(_DRAIN)

    def drain(self, agent: str | None = None) -> None:
        """Running trials may end, then the agents do; all of them, or the one of that name."""
        self._set(_DRAIN if agent is None else f"{_DRAIN}.{without_restarts(agent)}")

    def cancel(self) -> None:
        """Running trials are stopped, and agents end."""
        self._set(_CANCEL)

    def reopen(self) -> None:
        """Trials may begin again, after a cancellation too."""
        self.allow()
        self._unset(_CANCEL)

    def _set(self, name: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / name).touch()

    def _unset(self, name: str) -> None:
        (self._directory / name).unlink(missing_ok=True)
