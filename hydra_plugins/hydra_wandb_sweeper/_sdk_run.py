"""A trial's run that W&B's SDK records, from beginning to end."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ._client import RunInfo
from ._ledger import Trial
from ._run_client import RunClient
from ._wandb_run import end_unsent_run, open_run, open_run_afterwards, record_and_finish, run_directories

log = logging.getLogger(__name__)


class SdkRun:
    """One attempt's hold on its trial's run. The process has been made ready for it (prepare_run).

    own_files: names and texts of small files of the run that the SDK is not to make. opens_run: the task opens it
    itself, or so it looks. find_run: see record_and_finish. printed: gives what the process has printed from `begin`
    on.
    """

    def __init__(
        self,
        trial: Trial,
        client: RunClient,
        own_files: Mapping[str, str],
        *,
        opens_run: bool,
        find_run: Callable[[], RunInfo | None],
        printed: Callable[[], Iterable[str]],
    ) -> None:
        self._trial = trial
        self._client = client
        self._own_files = dict(own_files)
        self._opens_run = opens_run
        self._find_run = find_run
        self._printed = printed
        self._earlier_directories: set[Path] = set()
        self._sending: Future[None] | None = None

    def begin(self) -> None:
        """Open the run unless the task does."""
        if self._opens_run:
            self._earlier_directories = run_directories(os.environ)
        else:
            open_run()

    def wait_until_ready(self) -> None:
        """Have the run's own files sent beside the task, which waits for W&B's service and its server at first."""
        if self._own_files:
            thread = ThreadPoolExecutor(1, "own files of the run")
            self._sending = thread.submit(self._client.stream, self._trial.run_id, {"run_files": self._own_files})
            thread.shutdown(wait=False)  # it ends when it has done that

    def finish(self, metrics: Mapping[str, float], error: str | None, exit_code: int) -> dict[str, Any]:
        """Record the end of the task, and return the run's summary. See record_and_finish."""
        self._wait_until_sent()
        metrics = {**end_unsent_run(), **metrics}
        if self._opens_run and self._is_unopened():
            open_run_afterwards(self._printed)
        return record_and_finish(metrics, error, exit_code, self._find_run, is_first=not self._trial.attempt)

    def _wait_until_sent(self) -> None:
        if self._sending is not None and (error := self._sending.exception()) is not None:
            log.warning("The run's %s can't be sent: %s", ", ".join(self._own_files), error)

    def _is_unopened(self) -> bool:
        """True if the task didn't open the run after all: that it imports W&B doesn't mean that it uses it."""
        import wandb

        if wandb.run is not None or run_directories(os.environ) != self._earlier_directories:
            return False
        # Where the task keeps its run's files is up to it.
        found = self._find_run()
        return found is None or found.state != "finished"
