"""A trial's run that W&B's SDK records, from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ._client import RunInfo
from ._run_client import RunClient
from ._wandb_run import open_run, record_and_finish


class SdkRun:
    """One attempt's hold on its trial's run. The process has been made ready for it (prepare_run).

    own_files: names and texts of small files of the run that the SDK is not to make. opens_run: the task opens it
    itself. find_run: see record_and_finish. Errors of `wait_until_ready`: those of Transport.
    """

    def __init__(
        self,
        run_id: str,
        client: RunClient,
        own_files: Mapping[str, str],
        *,
        opens_run: bool,
        find_run: Callable[[], RunInfo | None],
    ) -> None:
        self._run_id = run_id
        self._client = client
        self._own_files = dict(own_files)
        self._opens_run = opens_run
        self._find_run = find_run
        self._sending: Future[None] | None = None

    def begin(self) -> None:
        """Have the run's own files sent, which takes no time from Hydra's work; open the run unless the task does."""
        if self._own_files:
            thread = ThreadPoolExecutor(1, "own files of the run")
            self._sending = thread.submit(self._client.stream, self._run_id, {"run_files": self._own_files})
            thread.shutdown(wait=False)  # it ends when it has done that
        if not self._opens_run:
            open_run()

    def wait_until_ready(self) -> None:
        """Return once all is sent."""
        if self._sending is not None:
            self._sending.result()

    def finish(self, metrics: Mapping[str, float], error: str | None, exit_code: int) -> dict[str, Any]:
        """Record the end of the task, and return the run's scalar summary. See record_and_finish."""
        return record_and_finish(metrics, error, exit_code, self._find_run)
