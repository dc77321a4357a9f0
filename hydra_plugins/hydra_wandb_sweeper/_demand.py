"""How many jobs there should be: by the trials that are left, and by what people and failures allow."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from ._client import SweepClient
from ._control import Control
from ._errors import ServerError, ServerUnreachableError
from ._history import History
from ._job import AgentJob
from ._ledger import SweepRecord
from ._trial_table import QUEUED, RUNNING

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class Demand:
    """jobs: how many at a time the sweep was begun with. floor, ceiling: how many there are at least and at most as
    long as there is work for them, whatever was asked for since.
    """

    sweep: SweepRecord
    client: SweepClient
    job: AgentJob
    history: History
    control: Control
    jobs: int = 0
    floor: int = 0
    ceiling: float = math.inf

    @property
    def target(self) -> int:
        """How many jobs there should be at a time, as long as there is work for them."""
        wanted = self.jobs + self.history.jobs_added - len(self.history.jobs_drained)
        return int(max(self.floor, min(wanted, self.ceiling)))

    def jobs_for(self, trials: int) -> int:
        """Return how many jobs it takes to run so many trials at a time."""
        return -(-trials // self.job.agents_per_job)

    def trials(self) -> int:
        """How many trials could still be run, as far as is known; those that run now included."""
        if self.history.stop_reason or self.control.orders().ends_sweep:
            return 0
        return int(min(self._left(), self._allowed()))

    def _allowed(self) -> float:
        """How many trials the agents may still begin or have under way by hydra.sweeper.trials_per_agent."""
        if self.job.settings.trials_per_agent is None:
            return math.inf
        allowed = self.target * self.job.agents_per_job * self.job.settings.trials_per_agent
        counts = self.history.counts()
        return max(0, allowed - counts.total() + counts[RUNNING] + counts[QUEUED])

    def _left(self) -> int:
        counts = self.history.counts()
        open_trials = counts[RUNNING] + counts[QUEUED]
        expected = self.sweep.expected_trials
        if expected is not None and len(self.history.trials) >= expected:
            return open_trials
        if not self._sweep_is_running():
            return open_trials
        if expected is not None:
            return open_trials + expected - len(self.history.trials)
        # The server alone knows how many there will be, and says so to the agents.
        is_unfinished = bool(self.history.agents) and not self.history.found_no_more
        return open_trials + (self.target * self.job.agents_per_job if is_unfinished else 0)

    def _sweep_is_running(self) -> bool:
        """False if somebody ended the sweep on the server (its page, `wandb sweep --stop`)."""
        try:
            info = self.client.get_sweep(self.sweep.sweep)
        except (ServerError, ServerUnreachableError) as error:
            # The agents have more patience, and their trials don't need the server at all.
            log.warning("The sweep's state can't be asked for, it is taken to be running: %s", error)
            return True
        return info is not None and info.state in ("PENDING", "RUNNING", "PAUSED")
