"""What SLURM is asked, how often, and what its answers mean."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper import _slurm
from hydra_plugins.hydra_wandb_sweeper._slurm import Queue, SlurmCallError, parse_duration_s


class FakeSlurm:
    """Answers by the command's name; an exception is raised."""

    def __init__(self, **answers: str | Exception) -> None:
        self.answers = answers
        self.calls: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.calls.append(list(command))
        answer = self.answers[command[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2-00:00:00", 172_800.0),
        ("1-02:03:04", 93_784.0),
        ("1:00:00", 3600.0),
        ("59:58", 3598.0),
        ("0:07", 7.0),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_durations_are_read_as_slurm_writes_them(text: str, seconds: float | None) -> None:
    assert parse_duration_s(text) == seconds


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_any_duration_that_slurm_can_write_is_read(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_duration_s(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == expected


def test_a_cluster_that_does_not_say_its_array_limit_has_slurm_s_default(caplog: pytest.LogCaptureFixture) -> None:
    assert _slurm.max_array_size(FakeSlurm(scontrol="MaxArraySize            = 16\n")) == 16
    assert _slurm.max_array_size(FakeSlurm(scontrol=SlurmCallError("down"))) == 1001
    assert caplog.messages == ["MaxArraySize can't be asked for, 1001 is assumed: down"]


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7"}, "7"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}, "7_0"),
        # SLURM gives the last task of an array the array's id: by that, all its tasks would be requeued.
        ({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}, "7_1"),
    ],
    ids=["outside", "job", "first of an array", "last of an array"],
)
def test_a_job_names_itself_and_no_other_task_of_its_array(environ: dict[str, str], name: str) -> None:
    assert _slurm.own_job_name(environ) == name


def test_a_cancelled_job_is_not_taken_for_a_preempted_one(caplog: pytest.LogCaptureFixture) -> None:
    assert _slurm.is_being_preempted("7", FakeSlurm(scontrol="JobId=7 JobState=RUNNING Reason=None"))
    assert not _slurm.is_being_preempted("7", FakeSlurm(scontrol="JobId=7 JobState=COMPLETING Reason=None"))
    assert not _slurm.is_being_preempted("7", FakeSlurm(scontrol=SlurmCallError("gone")))
    assert caplog.messages == ["Why job 7 has to end can't be asked for: gone"]


def test_all_jobs_are_asked_for_at_once_and_less_often_while_nothing_changes() -> None:
    slurm, now = FakeSlurm(squeue="12_0 RUNNING\n12_1 RUNNING\n13 PENDING\n"), [0.0]
    queue = Queue(slurm, (3.0, 30.0), lambda: now[0])
    ids = ["12_0", "12_1", "13"]
    asked = []
    for second in range(120):
        now[0] = float(second)
        assert set(queue.states(ids)) == set(ids)
        asked.append(len(slurm.calls))
    assert slurm.calls[0] == ["squeue", "-h", "-r", "-o", "%i %T", "-j", "12,13"]
    assert asked[-1] <= 8
    slurm.answers["squeue"] = "12_1 RUNNING\n"
    queue.look_again()
    now[0] += 3.0
    assert set(queue.states(ids)) == {"12_1"}


def test_a_queue_that_can_not_be_asked_is_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    slurm, now = FakeSlurm(squeue="5 RUNNING\n"), [0.0]
    queue = Queue(slurm, (3.0, 30.0), lambda: now[0])
    assert queue.states(["5"]) == {"5": "RUNNING"}
    slurm.answers["squeue"] = SlurmCallError("squeue says: Unable to contact slurm controller")
    now[0] = 100.0
    assert queue.states(["5"]) == {"5": "RUNNING"}
    assert caplog.messages == ["The job queue can't be asked: squeue says: Unable to contact slurm controller"]
    slurm.answers["squeue"] = SlurmCallError("squeue says: slurm_load_jobs error: Invalid job id specified")
    now[0] = 200.0
    assert queue.states(["5"]) == {}


ENDED = "scancel: error: Kill job error on job id 15_1: Invalid job id specified"


def test_jobs_that_have_ended_meanwhile_are_cancelled_without_a_word() -> None:
    slurm = FakeSlurm(scancel=SlurmCallError(f"scancel says: {ENDED}\n{ENDED}"))
    _slurm.cancel(["15_1", "16"], waiting_only=True, run=slurm)
    assert slurm.calls == [["scancel", "--state=PENDING", "15_1", "16"]]
    slurm = FakeSlurm(scancel=SlurmCallError(f"scancel says: {ENDED}\nscancel: error: Access/permission denied"))
    with pytest.raises(SlurmCallError, match="Access/permission denied"):
        _slurm.cancel(["15_1", "16"], run=slurm)


def test_a_job_just_submitted_is_expected_in_the_queue() -> None:
    queue = Queue(FakeSlurm(squeue="8 PENDING\n"), clock=lambda: 0.0)
    queue.expect("8")
    assert queue.states(["8"]) == {"8": "PENDING"}


def test_what_a_command_says_is_in_the_error() -> None:
    with pytest.raises(SlurmCallError, match="no-such-program"):
        _slurm.call(["no-such-program"])
    with pytest.raises(SlurmCallError, match="sh says: its own words"):
        _slurm.call(["sh", "-c", "echo its own words >&2; exit 3"])
