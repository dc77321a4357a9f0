"""What a supervisor says when it gives up on agents or on the sweep."""

from __future__ import annotations

import pytest

from tests.unit.sweeper.test_supervisor import Bench, bench

__all__ = ["bench"]  # a fixture


def test_agents_that_keep_dying_are_replaced_no_more_while_others_work(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.cluster.work = lambda number: number != 0  # the first one works on, all others die at once

    def end_the_first_one_too() -> None:
        if "Agents keep dying" in caplog.text:
            bench.cluster.jobs[0].ended = True

    bench.on_nap = end_the_first_one_too
    bench.supervise(2, max_agent_restarts=2)
    rule = "(hydra.sweeper.max_agent_restarts=2)"
    assert f"Agents keep dying without a trial ending: no more of them are started {rule}." in caplog.messages
    assert "4 trial(s) are left; starting 1 more job(s) in 2 s." in caplog.messages
    assert "trial(s) are left, but no agent could run them." in caplog.text


def test_a_sweep_of_which_no_trial_finished_has_failed_whatever_rate_is_allowed(bench: Bench) -> None:
    bench.trials = 1
    bench.cluster.work = lambda number: bench.agent(number, [0], dies_in=0)
    supervisor = bench.supervise(1, max_agent_restarts=9)
    assert bench.counts(supervisor) == {"failed": 1}
    failure = supervisor.failure(1.0)
    assert failure is not None
    assert failure.startswith("no trial finished: agent-1 died: job 70")
