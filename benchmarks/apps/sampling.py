"""Notes what a process and the children that it forks are doing, every two milliseconds, in the file $SAMPLES.

A line is `PID SECONDS NOW WHAT`: for so long, until now by the clock that all processes share, that was being done. A
sample that comes late, because the process was in the kernel or in C, counts for the time since the one before.

This process samples itself from a signal handler: with a thread in it, its agent wouldn't fork. Its children reset
their signal handlers, and are sampled by a thread.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from types import FrameType

EVERY_S = 0.002
OWN = "hydra_plugins.hydra_wandb_sweeper."
# Whose functions say in which part of a trial's life a process is.
PHASES = {OWN + "_agent", OWN + "_trial"}

IMPORTING = ("importlib._bootstrap", "_find_and_load")
# Module, function, and what is being done in it; of nested ones the innermost counts.
KNOWN = {
    ("wandb.sdk.wandb_setup", "setup"): "wandb.setup",
    ("wandb.sdk.wandb_login", "login"): "wandb.login",
    ("wandb.sdk.wandb_init", "init"): "wandb.init",
    ("wandb.sdk.wandb_run", "log"): "run.log",
    ("wandb.sdk.wandb_run", "finish"): "run.finish",
    ("wandb.sdk.wandb_run", "__exit__"): "run.finish",
    ("hydra._internal.config_loader_impl", "load_sweep_config"): "Hydra composes the configuration",
    ("hydra.core.utils", "run_job"): "Hydra's run_job: output directory, its files, logging",
    ("task", "evaluate"): "the task itself",
}


def describe(frame: FrameType | None) -> str:
    """What is being done: a known function's word, else the phase and the innermost function of the plugin's own."""
    innermost = imports = ""
    while frame is not None:
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if (module, function) == IMPORTING:
            imports = ": imports"
        elif known := KNOWN.get((module, function)):
            return known + imports
        elif module.startswith(OWN):
            name = f"{module.removeprefix(OWN)}.{function}"
            innermost = innermost or name
            if module in PHASES:
                return (name if name == innermost else f"{name}: {innermost}") + imports
        frame = frame.f_back
    return (innermost or "Python") + imports


class Samples:
    """Those of this process. start_s: since when the first one counts."""

    def __init__(self, start_s: float) -> None:
        self._file = os.open(os.environ["SAMPLES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._last_s = start_s
        self._pid = os.getpid()

    def take(self, what: str) -> None:
        """Note that this was being done until now."""
        now_s = time.monotonic()
        line = f"{self._pid} {now_s - self._last_s:.6f} {now_s:.6f} {what}\n"
        self._last_s = now_s
        os.write(self._file, line.encode())


_forked_s = 0.0


def _before_fork() -> None:
    global _forked_s
    _forked_s = time.monotonic()


def _in_child() -> None:
    samples = Samples(_forked_s)
    samples.take("fork")
    sys.setswitchinterval(EVERY_S / 2)
    main = threading.main_thread().ident

    def sample() -> None:
        while True:
            time.sleep(EVERY_S)
            samples.take(describe(sys._current_frames().get(main)))

    threading.Thread(target=sample, daemon=True).start()


def start() -> None:
    """Sample this process and its children from now on."""
    samples = Samples(time.monotonic())
    signal.signal(signal.SIGALRM, lambda _, frame: samples.take(describe(frame)))
    signal.setitimer(signal.ITIMER_REAL, EVERY_S, EVERY_S)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # when Python ends, handlers end before timers
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
