"""One W&B service process for all the trials of an agent, and one look at what W&B's SDK imports when it is used.

Every process that opens a W&B run talks to a service process (wandb-core). A process that finds none starts one,
which takes longer than all the rest of a short trial; and at its first run the SDK imports some three hundred
modules. A *keeper of the service*, a child of the agent, does both ahead: it starts the service, and, unless an
earlier sweep has done so, rehearses a run offline to see what is imported. The agent itself must stay without
threads, so that it can go on forking.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ._sdk_modules import read_modules, write_modules

log = logging.getLogger(__name__)

# Documented by wandb.setup() ("modifies os.environ, and it is important that child processes inherit the modified
# environment variables") and `wandb beta core start --help`.
SERVICE_VARIABLE = "WANDB_SERVICE"
# What a service takes from its environment, not from the run.
_READ_BY_SERVICE = ("WANDB_", "SSL_", "REQUESTS_", "CURL_", "HTTP", "NO_PROXY", "ALL_PROXY", "GO", "TMPDIR", "NETRC")
# A trial would need as long to start a service of its own; and the first one ever to import what a rehearsal does.
_PATIENCE_S = 2.0
_REHEARSAL_S = 10.0
# Of each run, wandb-core 0.31 keeps six open files until it collects its garbage: 700 of them were seen.
_MOST_TRIALS = 100
_AT_ONCE = 1 << 16


def may_share_service(variables: Iterable[object]) -> bool:
    """False if one of the variables that trials set (hydra.job.env_set) would not be seen by a service that runs."""
    return not any(str(name).upper().startswith(_READ_BY_SERVICE) for name in variables)


@dataclass
class _Keeper:
    """pid: of a child of this process. notes: the end of the pipe that it writes to."""

    pid: int
    notes: int
    text: bytes = b""

    def read(self, timeout_s: float) -> bool:
        """Wait for timeout_s until it writes something, and take in all that is there; False once it is gone."""
        while select.select([self.notes], [], [], timeout_s)[0]:
            if not (more := os.read(self.notes, _AT_ONCE)):
                return False
            self.text += more
            timeout_s = 0
        return True

    def note(self, key: str) -> object:
        """Return what it has written under a key, None if that isn't there yet."""
        for line in self.text.split(b"\n")[:-1]:
            note = json.loads(line)
            if key in note:
                return note[key]
        return None

    def end(self) -> None:
        """End it, and with it its service, which ends with its parent."""
        os.close(self.notes)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class SharedService:
    """The service of an agent's trials. prepare: called first in the keeper's process; its environment is to be that
    of trials, as what the SDK imports depends on it. modules: where it is noted what that is (see _sdk_modules), None
    to find it out in any case.

    It is a help only: where there is none, for whatever reason, a trial starts its own, as W&B does by default.
    most_trials: after so many it is replaced. rehearsal_s: how long a rehearsal may take; there is no second one.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        modules: Path | None = None,
        most_trials: int = _MOST_TRIALS,
        rehearsal_s: float = _REHEARSAL_S,
    ) -> None:
        self._prepare = prepare
        self._place = modules
        self._known = read_modules(modules) if modules is not None else None
        self._most_trials = most_trials
        self._rehearsal_s = rehearsal_s
        self._trials = 0
        self._keeper: _Keeper | None = None
        self._is_warm = False

    @property
    def knows_modules(self) -> bool:
        """True if nothing has to be rehearsed."""
        return self._known is not None

    def start(self) -> None:
        """Start it unless it runs; returns at once."""
        if self._keeper is not None:
            return
        reader, writer = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            _be_keeper(writer, self._prepare, rehearses=not self.knows_modules)
        os.close(writer)
        self._keeper = _Keeper(pid, reader)

    def environment(self) -> dict[str, str]:
        """Return the variables by which the next trial finds the service; none if it can't be had.

        No other trial may be running.
        """
        if self._trials >= self._most_trials:
            self.stop()
        self.start()
        assert self._keeper is not None
        deadline = time.monotonic() + (_PATIENCE_S if self.knows_modules else self._rehearsal_s)
        is_alive = self._keeper.read(0)
        while is_alive and self._keeper.note("token") is None and (left_s := deadline - time.monotonic()) > 0:
            is_alive = self._keeper.read(left_s)
        token = self._keeper.note("token")
        if not is_alive:
            log.warning("Trials start W&B's service themselves: %s", self._keeper.note("error") or "it has ended")
            self.stop()
            return {}
        if token is None:
            if not self.knows_modules:  # else each trial would wait as long
                self._known = []
                self.stop()
            return {}
        self._trials += 1
        return {SERVICE_VARIABLE: str(token)}

    def warm_up(self) -> bool:
        """Import what the rehearsed run has imported, once: forked trials then needn't. False if it isn't known yet.

        Only names that W&B's SDK has imported by itself in this very version are imported, so none is named here.
        """
        if self._is_warm:
            return True
        if self._known is None:
            self._known = self._rehearsed()
        if self._known is None:
            return False
        self._is_warm = True
        for name in self._known:
            # What can be imported there only in a certain order, or is no module of a file, trials do without.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        return True

    def _rehearsed(self) -> list[str] | None:
        if self._keeper is None:
            return None
        self._keeper.read(0)
        modules = self._keeper.note("modules")
        if not isinstance(modules, list):
            return None
        if self._place is not None:
            write_modules(self._place, modules)
        return modules

    def stop(self) -> None:
        """End it. It holds nothing of trials that have finished their runs."""
        if self._keeper is not None:
            self._keeper.end()
            self._keeper, self._trials = None, 0


def _be_keeper(writer: int, prepare: Callable[[], None], *, rehearses: bool) -> None:
    def note(**values: object) -> None:
        os.write(writer, json.dumps(values).encode() + b"\n")

    try:
        # In the `try`: whatever fails here must not run on as a second agent.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        try:
            prepare()
            before = set(sys.modules)
            token = _start_service()
            # SLURM signals every process of a job that has to end, but trials still have to record their ends.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)
            if rehearses:
                # Before anybody knows of the service: two runs that begin at the same time in a new wandb-core may
                # wait for a second each.
                _rehearse()
                note(modules=sorted(set(sys.modules) - before))
            note(token=token)
        except BaseException as error:  # noqa: BLE001 (the agent logs it; trials do without)
            note(error=f"{type(error).__name__}: {error}")
            return
        # If its service ends, this one does: the agent sees that by the end of the pipe.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    finally:
        os._exit(0)


def _start_service() -> str:
    """Start a service and return its address.

    Tried on wandb 0.19.11, 0.22.3 and 0.31.0: test_wandb_service.py notices if the variable isn't set any more.
    """
    import wandb

    os.environ.pop(SERVICE_VARIABLE, None)
    wandb.setup()
    return os.environ[SERVICE_VARIABLE]


def _rehearse() -> None:
    """Log to a run and finish it, all in a temporary directory, and so import what that needs."""
    import wandb

    # Without system metrics: what they need is started by the first run that has some, which takes its time.
    settings = wandb.Settings(silent=True, x_disable_stats=True)
    with tempfile.TemporaryDirectory() as directory:
        run = wandb.init(mode="offline", dir=directory, project="rehearsal", settings=settings)
        run.log({"value": 0.0})
        run.finish()
