"""The embedded server in a SLURM job of its own, for login nodes that end long processes.

The job ends with its server, which ends when it is idle. Before its time limit it submits a successor for the same
node and stops the server: trials' W&B processes have the server's host and port in their environment and wait for it
to answer there again. After preemption and node failures the server comes back wherever there is room, at another
address; agents find that in its directory, but trials that were under way don't. It needs a free CPU for that: where
agents have taken all there are, it waits until one of them ends.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from wandb_sweep_server.launch import STATUS_OWNED, ServerAddress, ServerStartError, find_running, log_tail, spawn

from . import _slurm
from ._errors import ServerUnreachableError, SweepFailedError
from ._notice import preempt_signal
from ._slurm import SlurmCallError
from ._submitit import SmallJob, SubmititDispatch

log = logging.getLogger(__name__)

_HOST = "0.0.0.0"  # noqa: S104 (agents are on other nodes)
_MEM_GB = 2
_POLL_S = 0.5
_ASK_S = 2.0
# From the job's start to the server's first answer; interpreters start slowly on a busy network file system.
_START_S = 180.0
# How long a job waits for a directory whose owner doesn't answer: it is about to end, or its lock outlives its node.
_OWNED_S = 120.0
_END_S = 20.0


# --- in the user's process ---


def start_in_job(directory: Path, dispatch: SubmititDispatch) -> None:
    """See to it that the server of a directory runs, in a new job if it doesn't; returns when it answers.

    A server that only this machine can reach is ended first. If this fails or is interrupted, the job is cancelled.
    Errors: ServerUnreachableError, SweepFailedError if the job is refused.
    """
    address = _find(directory)
    if address is not None:
        log.info("The project's embedded server runs already, at %s; no job is submitted for it.", address.url)
        return
    job = _small_job(dispatch)
    try:
        # Some clusters don't bring jobs back after a node failure unless they are told to.
        job_id = job.submit(ServerTask(directory, job), {"requeue": True})
    except Exception as error:
        raise SweepFailedError(
            f"The server's job can't be submitted: {error}\nCheck the settings of hydra.launcher."
        ) from error
    try:
        address = wait_for_server(job_id, lambda: _find(directory), where=_where(directory, job, job_id))
    except BaseException:
        with contextlib.suppress(SlurmCallError):
            _slurm.cancel([job_id])
        raise
    log.info("The embedded server runs at %s, in job %s.", address.url, job_id)


def _small_job(dispatch: SubmititDispatch) -> SmallJob:
    launcher = dispatch.config.hydra.launcher
    changes = {"name": f"{launcher.name}-server"}
    if launcher.get("mem_gb"):
        changes["mem_gb"] = min(launcher.mem_gb, _MEM_GB)
    return dispatch.small_job(**changes)


def _find(directory: Path) -> ServerAddress | None:
    try:
        return find_running(directory, host=_HOST)
    except ServerStartError as error:
        raise ServerUnreachableError(str(error)) from error


def _where(directory: Path, job: SmallJob, job_id: str) -> Callable[[], str]:
    logs = job.log_directory.replace("%j", job_id)
    return lambda: f"Its own log is in {logs}. The end of the server's, in {directory}:\n{log_tail(directory)}"


def wait_for_server(
    job_id: str,
    find: Callable[[], ServerAddress | None],
    where: Callable[[], str],
    *,
    state_of: Callable[[str], str | None] = _slurm.queue_state,
    final_state: Callable[[str], str] = _slurm.final_state,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> ServerAddress:
    """Wait until a job's server answers, saying what the job waits for. A job may wait in the queue for ever.

    find: the server that answers now. where: what to read if it doesn't come. The others as in _slurm and time.
    Errors: ServerUnreachableError if the job has ended, or runs and its server doesn't answer.
    """
    state: str | None = None
    asked_s, begun_s = float("-inf"), None
    while (address := find()) is None:
        now = clock()
        if now - asked_s >= _ASK_S:
            asked_s = now
            before, state = state, _state(job_id, state, state_of)
            if state is None:
                if (address := find()) is not None:  # one that somebody else started at the same time
                    return address
                raise ServerUnreachableError(
                    f"The server's job {job_id} ended without serving ({final_state(job_id)}). {where()}"
                )
            if state != before:
                log.info("Waiting for the server's job %s (%s).", job_id, state)
                begun_s = now if state.startswith("RUNNING") else None
        if begun_s is not None and now - begun_s > _START_S:
            raise ServerUnreachableError(
                f"The server's job {job_id} runs, but its server didn't answer within {_START_S:.0f} s. Check that "
                f"this machine can connect to compute nodes. {where()}"
            )
        sleep(_POLL_S)
    return address


def _state(job_id: str, before: str | None, state_of: Callable[[str], str | None]) -> str | None:
    try:
        return state_of(job_id)
    except SlurmCallError as error:
        log.warning("The state of the server's job can't be asked for: %s", error)
        return before or "state unknown"


# --- in the job ---


@dataclass(frozen=True)
class ServerTask:
    """The job as submitit runs it: it hosts the server of a directory. job: as which its successor is submitted."""

    directory: Path
    job: SmallJob

    def __call__(self) -> None:
        """Run the server to its end, or until the job has to end. Errors: RuntimeError if the server died."""
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        told = _note_signals()
        server = self._spawn()
        deadline = time.monotonic() + _OWNED_S
        while not told:
            time.sleep(_POLL_S)
            # Both are told to end at the same time, and the server may be the quicker one.
            if (status := server.poll()) is None or told:
                continue
            if status == STATUS_OWNED and not self._is_served() and time.monotonic() < deadline:
                server = self._spawn()
                continue
            self._ended(status)
            return
        self._hand_over(server, told[0])

    def _spawn(self) -> subprocess.Popen[bytes]:
        # SLURM sends its warning to every process of a job, and the server would die of it. What is blocked here
        # stays blocked in the server.
        warning = {preempt_signal()}
        signal.pthread_sigmask(signal.SIG_BLOCK, warning)
        try:
            return spawn(self.directory, host=_HOST)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, warning)

    def _is_served(self) -> bool:
        return find_running(self.directory) is not None

    def _ended(self, status: int) -> None:
        if status == STATUS_OWNED:
            log.info("The directory has a server already: this one isn't needed.")
        elif status == 0:
            log.info("The server has ended: it was idle, or somebody ended it.")
        else:
            raise RuntimeError(f"The server died (status {status}). The end of its log:\n{log_tail(self.directory)}")

    def _hand_over(self, server: subprocess.Popen[bytes], told: str) -> None:
        job_id, warning = _slurm.own_job_id() or "", preempt_signal().name
        preempted = told != warning and _slurm.is_being_preempted(job_id)
        following = next_server(told, warning=warning, preempted=preempted, node=_slurm.node_name())
        log.info("%s: %s", told, following.reason)
        # As long as nobody follows, it serves on.
        if following.is_due and not (self._submit_successor(job_id, following.node) or _requeue(job_id)):
            log.error("Nobody follows: the sweep's server is gone when this job is ended.")
            server.wait()
            return
        server.terminate()
        try:
            server.wait(_END_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def _submit_successor(self, job_id: str, node: str | None) -> bool:
        sbatch = {"requeue": True, "dependency": f"afterany:{job_id}", **({"nodelist": node} if node else {})}
        try:
            with _slurm.as_outside_of_jobs():
                successor = self.job.submit(self, sbatch)
        except Exception as error:  # noqa: BLE001 (whatever submitit raises: sbatch's words are in it)
            log.warning("The cluster takes no job to follow this one: %s", error)
            return False
        log.info("Job %s follows.", successor)
        return True


@dataclass(frozen=True)
class Following:
    """What comes after a server's job. node: where its successor has to run, None for anywhere."""

    is_due: bool
    node: str | None
    reason: str


def next_server(told: str, *, warning: str, preempted: bool, node: str | None) -> Following:
    """Decide what comes after a job that was told to end by a signal.

    warning: name of the signal that announces the time limit. preempted: the job has to make room for another one.
    node: where the job runs.
    """
    if told == warning:
        return Following(True, node, f"the time limit is near; another job goes on on {node}, at the same address.")
    if preempted:
        return Following(True, None, "it has to make room for another job; one that follows goes on on some node.")
    return Following(False, None, "it was told to end, and stays ended.")


def _requeue(job_id: str) -> bool:
    try:
        _slurm.requeue(job_id)
    except SlurmCallError as error:
        log.warning("This job can't be put back into the queue: %s", error)
        return False
    return True


def _note_signals() -> list[str]:
    """Return a list that gets the names of the signals that end a job, instead of what submitit does on them."""
    told: list[str] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        told.append(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, preempt_signal()):
        signal.signal(number, handler)
    return told
