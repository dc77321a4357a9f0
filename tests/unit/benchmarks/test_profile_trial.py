"""What samples of an agent and of its trials' processes add up to."""

from __future__ import annotations

import pytest
from profile_trial import AGENT, TRIAL, UNCOUNTED, Sample, profile, rows

AGENT_PID, FIRST, SECOND, THIRD, HELPER = 1, 10, 11, 12, 20
EARLIER = range(100, 100 + UNCOUNTED - 1)
BEGINS_S = [*(0.1 * number for number in range(UNCOUNTED - 1)), 1.0, 2.0, 3.0]
COMPOSES = "Hydra composes the configuration"
SAMPLES = [
    *(Sample(pid, 0.2, 0.5, COMPOSES) for pid in EARLIER),
    Sample(AGENT_PID, 0.5, 0.9, "before the first trial"),
    Sample(AGENT_PID, 0.2, 1.2, "waits"),
    Sample(AGENT_PID, 0.4, 2.5, "waits"),
    Sample(AGENT_PID, 0.1, 3.0, "claims"),
    Sample(AGENT_PID, 0.5, 3.5, "after the last trial began"),
    Sample(FIRST, 0.3, 0.95, COMPOSES),
    Sample(SECOND, 0.01, 1.4, COMPOSES),
    Sample(SECOND, 0.02, 1.5, "_trial._output_dir"),
    Sample(THIRD, 0.03, 2.9, "Hydra's run_job"),
    Sample(THIRD, 0.0001, 2.95, "_trial.to"),
    Sample(HELPER, 5.0, 3.0, "Python"),
]


def test_a_profile_is_of_the_time_between_begins_and_of_all_trials_but_the_first_ones() -> None:
    found = profile(SAMPLES, AGENT_PID, BEGINS_S)
    assert found == {
        (AGENT, "waits"): pytest.approx(300),
        (AGENT, "claims"): pytest.approx(50),
        (TRIAL, COMPOSES): pytest.approx(5),
        (TRIAL, "_trial._output_dir"): pytest.approx(10),
        (TRIAL, "Hydra's run_job"): pytest.approx(15),
        (TRIAL, "_trial.to"): pytest.approx(0.05),
    }


def test_what_is_short_is_summed_up() -> None:
    found = profile(SAMPLES, AGENT_PID, BEGINS_S)
    table = [(row["process"], row["what"]) for row in rows([found, found])]
    assert table == [
        (AGENT, "waits"),
        (AGENT, "claims"),
        (TRIAL, COMPOSES),
        (TRIAL, "_trial._output_dir"),
        (TRIAL, "Hydra's run_job"),
        (TRIAL, "all that is shorter"),
    ]
