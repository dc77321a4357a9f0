"""What becomes of the trials that an agent left open when it died."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ._files import read_json
from ._history import History
from ._ledger import Ledger, Trial
from ._outcome import FAILED, FINISHED
from ._output_place import noted_place
from ._trial_table import QUEUED


def take_over(ledger: Ledger, history: History, agent: str, max_retries: int) -> list[tuple[Trial, str]]:
    """Offer the trials that a dead agent had claimed to the others, or count them as failed; returns these, and why.

    history: of all events so far. max_retries: as in config.WandbSweeperConf; a death counts as a failure of the
    trial, which may have caused it, unless the trial was making room when it happened. An agent that has said why it
    leaves is not dead, whatever it left.
    """
    known = history.agents.get(agent)
    if known is not None and known.ended is None:
        # Each death counts once, whoever comes to see to the sweep after this process.
        ledger.record("agent_died", agent=agent)
    lost = []
    for left in history.open_trials_of(agent):
        trial = left.trial
        result = read_json(ledger.result_path(trial))
        if result is not None and result["state"] == FINISHED:
            # The agent died between the trial's word and its own.
            ledger.record("ended", trial, **result, duration_s=None, final=True)
        elif left.is_preempting:
            ledger.offer(following(trial), f"{agent} was killed while the trial made room")
        elif trial.failures < max_retries:
            ledger.offer(replace(following(trial), failures=trial.failures + 1), f"{agent} died")
        else:
            lost.append((trial, f"{agent} died while it ran the trial"))
            record_lost(ledger, *lost[-1], noted_place(ledger.result_path(trial)))
    return lost


def offer_forgotten(ledger: Ledger, history: History) -> None:
    """Offer trials that wait without being on offer: whoever was about to offer them couldn't write that down."""
    for left in history.trials.values() if history.counts()[QUEUED] else ():
        if left.state == QUEUED:
            again = replace(following(left.trial), failures=left.trial.failures + bool(left.error_line))
            if not ledger.is_known(again):
                ledger.offer(again, "its offer was lost")


def following(trial: Trial) -> Trial:
    """Return the attempt after this one.

    Not the one after the last that was claimed: if two processes take over from the same dead agent, one of them
    late, both offer the same attempt, which only one agent gets.
    """
    return replace(trial, attempt=trial.attempt + 1, resumes=True)


def record_lost(ledger: Ledger, trial: Trial, error: str, output_dir: str | None = None) -> None:
    """Count a trial as failed that nobody will run any more. output_dir: where it ran, as far as that is known."""
    ledger.failures.mark(trial.number)
    lost: dict[str, Any] = {"metrics": {}, "output_dir": output_dir, "duration_s": None}
    ledger.record("ended", trial, state=FAILED, error=error, error_line=error, final=True, **lost)
