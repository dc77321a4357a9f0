"""What is asked of SLURM, and in which words: squeue, scontrol, sacct and scancel, each call bounded in time.

squeue and scontrol exist wherever jobs run; sacct doesn't, so nothing depends on it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 60.0
# SLURM's own default.
_DEFAULT_MAX_ARRAY_SIZE = 1001
# What scancel says of a job that has ended: it may have done so since it was last seen in the queue.
_HAS_ENDED = re.compile(r"job id \S+: (?:Invalid job id specified|Job/step already completing or completed)")
PENDING = "PENDING"
# Of the SLURM_* variables, those that tell its commands how to reach the cluster, whoever calls them.
_OF_CLIENT = ("SLURM_CONF", "SLURM_JWT")

Run = Callable[[Sequence[str]], str]


class SlurmCallError(RuntimeError):
    """A SLURM command failed or gave no answer; the text has its own words."""


def call(command: Sequence[str]) -> str:
    """Run a SLURM command and return what it prints. Errors: SlurmCallError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CALL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmCallError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise SlurmCallError(f"{command[0]} says: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def max_array_size(run: Run = call) -> int:
    """Return how many tasks one job array may have on this cluster (MaxArraySize)."""
    try:
        match = re.search(r"^MaxArraySize\s*=\s*(\d+)", run(["scontrol", "show", "config"]), re.MULTILINE)
    except SlurmCallError as error:
        log.warning("MaxArraySize can't be asked for, %d is assumed: %s", _DEFAULT_MAX_ARRAY_SIZE, error)
        return _DEFAULT_MAX_ARRAY_SIZE
    # 0 means that arrays are switched off.
    return max(1, int(match[1])) if match else _DEFAULT_MAX_ARRAY_SIZE


def time_left_s(job_id: str, run: Run = call) -> float | None:
    """Return how long a job may still run, None if it has no limit or SLURM doesn't say."""
    try:
        return parse_duration_s(run(["squeue", "-h", "-j", job_id, "-o", "%L"]).strip())
    except SlurmCallError as error:
        log.warning("The time left in job %s can't be asked for: %s", job_id, error)
        return None


def parse_duration_s(text: str) -> float | None:
    """Read SLURM's [days-][[hours:]minutes:]seconds; None for UNLIMITED, NOT_SET, INVALID and the like."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def is_being_preempted(job_id: str, run: Run = call) -> bool:
    """True if a job that was told to end is to make room for another one; False if somebody cancelled it."""
    try:
        shown = run(["scontrol", "show", "job", "-o", job_id])
    except SlurmCallError as error:
        log.warning("Why job %s has to end can't be asked for: %s", job_id, error)
        return False
    # A cancelled job and one at its limit are COMPLETING while their processes get time to end.
    return "JobState=RUNNING" in shown


def queue_state(job_id: str, run: Run = call) -> str | None:
    """Return a job's state and why it waits, "PENDING: Resources"; None once it has ended. Errors: SlurmCallError."""
    try:
        state, _, reason = run(["squeue", "-h", "-j", job_id, "-o", "%T|%r"]).strip().partition("|")
    except SlurmCallError as error:
        if "Invalid job id" in str(error):
            return None
        raise
    return f"{state}: {reason}" if reason not in ("", "None") else state or None


@contextlib.contextmanager
def as_outside_of_jobs() -> Iterator[None]:
    """Within it, what SLURM and submitit say of this job is gone from the environment: new jobs would inherit it."""
    import submitit

    client = {name: os.environ[name] for name in _OF_CLIENT if name in os.environ}
    with submitit.helpers.clean_env():
        os.environ.update(client)
        yield


def requeue(job_id: str, run: Run = call) -> None:
    """Put a running job back into the queue; its processes are ended. Errors: SlurmCallError."""
    run(["scontrol", "requeue", job_id])


def cancel(job_ids: Iterable[str], *, waiting_only: bool = False, run: Run = call) -> None:
    """Cancel jobs, in one call; those that have ended are no error. Errors: SlurmCallError.

    waiting_only: leave alone those that run by the time SLURM looks.
    """
    ids = list(job_ids)
    if not ids:
        return
    try:
        run(["scancel", *(["--state=PENDING"] if waiting_only else []), *ids])
    except SlurmCallError as error:
        # It tries all jobs, and has a line for each that it can't end.
        if not all(_HAS_ENDED.search(line) for line in str(error).splitlines()):
            raise


def queued_states(job_ids: Iterable[str], run: Run = call) -> dict[str, str]:
    """Return job id -> state (PENDING, RUNNING, …) of those that are in the queue. Errors: SlurmCallError."""
    bases = sorted({job_id.partition("_")[0] for job_id in job_ids}, key=int)
    try:
        listed = run(["squeue", "-h", "-r", "-o", "%i %T", "-j", ",".join(bases)])
    except SlurmCallError as error:
        if "Invalid job id" not in str(error):
            raise
        listed = ""  # the last one has been forgotten by SLURM
    return {job_id: state for job_id, _, state in (line.partition(" ") for line in listed.splitlines())}


@dataclass(eq=False, repr=False)
class Queue:
    """The states of this sweep's jobs, asked for all at once and not more often than is useful.

    interval_s: (usual, longest) between two questions; it doubles while nothing changes, and is shorter for a moment
    where something is known to be about to. clock: seconds.
    """

    run: Run = call
    interval_s: tuple[float, float] = (3.0, 30.0)
    clock: Callable[[], float] = time.monotonic
    _states: dict[str, str] = field(default_factory=dict)
    _calm: int = 0
    _asked_s: float | None = None

    def states(self, job_ids: Iterable[str]) -> Mapping[str, str]:
        """Return job id -> state (PENDING, RUNNING, …) of those that are in the queue; others have ended.

        A queue that can't be asked is taken to be as it was; new jobs are taken to be pending.
        """
        now = self.clock()
        # First, as it is nearly always the answer: each job of a sweep asks, every time that it is looked at.
        if self._asked_s is not None and now - self._asked_s < self._wait_s():
            return self._states
        ids = list(job_ids)
        if ids:
            self._ask(ids)
            self._asked_s = now
        return self._states

    def expect(self, job_id: str) -> None:
        """A job was submitted."""
        self._states[job_id] = PENDING
        self._calm = 0

    def look_again(self) -> None:
        """Something is about to happen: the next questions are due soon."""
        self._calm = -2

    def _wait_s(self) -> float:
        usual, longest = self.interval_s
        return min(usual * 2.0**self._calm, longest)

    def _ask(self, ids: Sequence[str]) -> None:
        try:
            states = queued_states(ids, self.run)
        except SlurmCallError as error:
            log.warning("The job queue can't be asked: %s", error)
            self._calm = max(self._calm, 0) + 1
            return
        self._calm = min(self._calm, 0) if states != self._states else self._calm + 1
        self._states = states


def final_state(job_id: str, run: Run = call) -> str:
    """Return how a job ended in SLURM's words, as far as it can be known: from sacct, else scontrol."""
    if shutil.which("sacct"):
        try:
            states = run(["sacct", "-n", "-X", "-P", "-o", "State", "-j", job_id]).split("\n")
            if states[0].strip():
                return states[0].strip()
        except SlurmCallError:
            pass
    # The tasks of an array that was cancelled before it began are known by the array's id only.
    for name in dict.fromkeys([job_id, job_id.partition("_")[0]]):
        try:
            match = re.search(r"JobState=(\S+)(?: Reason=(\S+))?", run(["scontrol", "show", "job", "-o", name]))
        except SlurmCallError:
            continue
        if match:
            return " ".join(filter(None, match.groups()))
    return "state unknown"


def own_job_id(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the id of the SLURM job that this process belongs to, None outside of one.

    To ask or tell SLURM something about it, use own_job_name: the last task of an array has the whole array's id.
    """
    return environ.get("SLURM_JOB_ID")


def own_job_name(environ: Mapping[str, str] = os.environ) -> str:
    """Return the id of this process's job as squeue shows it: ID_TASK in an array."""
    array, task = environ.get("SLURM_ARRAY_JOB_ID"), environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environ.get("SLURM_JOB_ID", "")


def node_name(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return SLURM's name of the node that this process is on, None outside of a job."""
    return environ.get("SLURMD_NODENAME")


def restart_count(environ: Mapping[str, str] = os.environ) -> int:
    """Return how often this process's job was requeued before."""
    return int(environ.get("SLURM_RESTART_COUNT") or 0)
