"""The run of a task that only returns numbers, recorded on the embedded server without W&B's SDK.

On the server it looks like any other run. To start the SDK takes half a second, longer than many a trial; one that
lasts gets it nevertheless, see _sdk_later.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ._client import RunInfo
from ._console import ConsoleLog, Recorder
from ._ledger import Trial
from ._on_import import after_import
from ._run_client import NewRun, RunClient, Tail
from ._run_facts import RunFacts, disks
from ._run_files import OUTPUT, SUMMARY, Ending, Writer, contents, history_line, last_summary, own_config
from ._sdk_later import SdkLater
from ._system_metrics import sample
from ._wandb_run import (
    beside_swept,
    end_unsent_run,
    is_unsent,
    open_later,
    own_values,
    prepare_run,
    record_and_finish,
    run_directories,
)

# What the embedded server takes with a run's last words.
_SMALL_BYTES = 1 << 16

# The user's variables that mean nothing here, or what is done here as well; trial_environment sets the rest.
_UNDERSTOOD = frozenset(
    """
    BASE_URL API_KEY ENTITY PROJECT MODE NAME RUN_ID SWEEP_ID DIR SWEEP_PARAM_PATH ERROR_REPORTING SILENT QUIET
    CONFIG_DIR CACHE_DIR DATA_DIR ARTIFACT_DIR APP_URL INIT_TIMEOUT HTTP_TIMEOUT SERVICE
    X_FILE_STREAM_TRANSMIT_INTERVAL NOTES JOB_TYPE TAGS RUN_GROUP
    """.split()  # noqa: SIM905
)
_UNDERSTOOD_SETTINGS = frozenset("base_url entity project mode".split())  # noqa: SIM905


def needs_sdk(environ: Mapping[str, str], directory: Path) -> str | None:
    """Return which of the user's own settings only W&B's SDK can obey, None if there is none.

    environ: before trial_environment. directory: the working directory.
    """
    for name in environ:
        if name.startswith("WANDB_") and name.removeprefix("WANDB_") not in _UNDERSTOOD:
            return name
    home = Path(environ.get("WANDB_CONFIG_DIR") or Path(environ.get("HOME") or Path.home()) / ".config" / "wandb")
    for path in (home / "settings", directory / "wandb" / "settings", directory / ".wandb" / "settings"):
        if not os.path.exists(path):  # unlike Path.exists, without an error where nobody may look
            continue

        import configparser  # a millisecond that few need

        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (OSError, UnicodeDecodeError, configparser.Error):
            return str(path)
        for section in parser.sections():
            for name in parser.options(section):
                if name not in _UNDERSTOOD_SETTINGS:
                    return f"{name} in {path}"
    return None


@dataclass(frozen=True, eq=False, repr=False)
class Order:
    """What is to be recorded. env: from trial_environment, in force already. config: the task's, resolved.

    sdk_after_s: from when on W&B's SDK records the run too.
    """

    trial: Trial
    env: Mapping[str, str]
    config: Mapping[str, Any]
    output_dir: Path
    sdk_after_s: float


class DirectRun:
    """One attempt's hold on its trial's run.

    packages: gives what list_packages does; asked at the end. find_run: see record_and_finish. Errors of
    `wait_until_ready` and `finish`: those of Transport.
    """

    def __init__(
        self,
        order: Order,
        client: RunClient,
        facts: RunFacts,
        packages: Callable[[], str],
        find_run: Callable[[], RunInfo | None],
    ) -> None:
        self._order = order
        self._run_id = order.trial.run_id
        self._find_run = find_run
        self._facts = facts
        self._packages = packages
        self._client = client
        self._writer = Writer(str(uuid.uuid4()), datetime.now(timezone.utc), str(order.output_dir), disks())
        swept = dict(order.trial.args)
        self._config = {
            **swept,
            **beside_swept(order.config, swept),
            "_wandb": own_config(self._facts, self._writer),
        }
        self._tail = Tail()
        self._has_begun = False
        self._started_s = time.monotonic()
        self._spool = order.output_dir / "wandb" / f"output-{self._run_id}.log"
        self._earlier_directories = run_directories(order.env)
        self._later = SdkLater(
            order.sdk_after_s,
            create=self._create,
            open_run=self._open_with_sdk,
            has_run=self._is_tasks_own,
            beat=self._beat,
        )
        self._recorder = Recorder(ConsoleLog(), self._later.hurry)
        self._forget_import: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Have the run created on the server, and begin to copy what is printed."""
        self._spool.unlink(missing_ok=True)  # of an attempt that was killed
        self._recorder.start()
        if "wandb" in sys.modules:  # by an earlier trial of this process
            self._prepare()
        else:
            self._forget_import = after_import("wandb", self._on_import)
        self._later.start()

    def wait_until_ready(self) -> None:
        """Return once the run is known to the server: before that there is no use in running the task."""
        self._later.wait_until_created()

    def _create(self) -> None:
        order, facts = self._order, self._facts
        if order.trial.resumes:
            self._tail = self._client.tail(self._run_id)
            self._recorder.log.start_at(self._tail.log_lines)
        run = NewRun(
            run_id=self._run_id,
            config=self._config,
            display_name=order.env["WANDB_NAME"],
            group=os.environ.get("WANDB_RUN_GROUP"),
            host=facts.host,
            program=facts.program,
            job_type=os.environ.get("WANDB_JOB_TYPE"),
            notes=os.environ.get("WANDB_NOTES"),
            tags=[tag for tag in order.env.get("WANDB_TAGS", "").split(",") if tag],
            remote=facts.remote,
            commit=facts.commit,
        )
        self._client.begin(run)
        self._has_begun = True

    def finish(self, metrics: Mapping[str, float], error: str | None, exit_code: int) -> dict[str, Any]:
        """Record the end of the task, and return the run's summary. Arguments: as of record_and_finish."""
        has_sdk = self._later.end()
        self._recorder.stop()
        self._forget_import()
        if not self._has_begun:
            self._create()
        if "wandb" in sys.modules:
            metrics = {**end_unsent_run(), **metrics}
        if has_sdk:
            self._post({"run_files": self._upload_large({})})
            return self._finish_with_sdk(metrics, error, exit_code)
        if self._is_tasks_own():
            return self._finish_with_sdk(metrics, error, exit_code)
        return self._end(Ending(metrics, error, time.time(), self._runtime_s()), exit_code)

    def _finish_with_sdk(self, metrics: Mapping[str, float], error: str | None, exit_code: int) -> dict[str, Any]:
        is_first = not self._order.trial.attempt
        return record_and_finish(metrics, error, exit_code, self._find_run, is_first=is_first)

    def _end(self, ending: Ending, exit_code: int) -> dict[str, Any]:
        line = history_line(ending, self._tail.summary, self._tail.step)
        summary = last_summary(ending, self._tail.summary, line)
        run_files = self._upload_large(contents(self._facts, self._packages(), self._writer, self._config, summary))
        files = {SUMMARY: _whole(summary)}
        if line is not None:
            files["wandb-history.jsonl"] = {"offset": self._tail.history_lines, "content": [json.dumps(line)]}
        if metrics := sample():
            row = {**metrics, "_timestamp": ending.timestamp, "_runtime": ending.runtime_s, "_wandb": True}
            files["wandb-events.jsonl"] = {"offset": self._tail.events_lines, "content": [json.dumps(row)]}
        self._post({"run_files": run_files, "complete": True, "exitcode": exit_code}, files)
        return own_values(summary)

    def _runtime_s(self) -> float:
        own = self._tail.summary.get("_wandb")
        before = own.get("runtime") if isinstance(own, dict) else None
        return time.monotonic() - self._started_s + (before if isinstance(before, int | float) else 0)

    # --- what is printed ---

    def _post(
        self, body: Mapping[str, Any], files: Mapping[str, Any] | None = None, patience_s: float | None = None
    ) -> None:
        """Post to the run's stream, with what has been printed since the last time. files: more of the streams."""
        with self._recorder.lock:
            part = self._recorder.log.take_changed()
        lines = {} if part is None else {OUTPUT: {"offset": part.first, "content": part.lines}}
        streams = {**(files or {}), **lines}
        try:
            self._client.stream(self._run_id, {**body, "files": streams} if streams else body, patience_s)
        except Exception:
            if part is not None:
                with self._recorder.lock:
                    self._recorder.log.repeat(part)
            raise

    def _beat(self) -> None:
        self._post({}, patience_s=0.0)
        with self._recorder.lock:
            settled = self._recorder.log.drop_settled()
        if settled:
            self._spool.parent.mkdir(parents=True, exist_ok=True)
            with self._spool.open("a", encoding="utf-8") as file:
                file.write(settled)

    def _upload_large(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Upload what is too large to be sent with the run's last words; returns the rest, and output.log with it."""
        with self._recorder.lock:
            rest = self._recorder.log.text()
        small = dict(texts)
        if self._spool.exists():
            with self._spool.open("ab+") as file:
                file.write(rest.encode())
                self._client.upload(self._run_id, OUTPUT, file)
            self._spool.unlink()
        else:
            small[OUTPUT] = rest
        for name in [name for name, text in small.items() if len(text.encode()) > _SMALL_BYTES]:
            self._client.upload(self._run_id, name, io.BytesIO(small.pop(name).encode()))
        return small

    # --- W&B's SDK, if it is needed after all ---

    def _on_import(self) -> None:
        """Whoever imports W&B may open the run: it is to be the trial's, with the trial's config."""
        self._later.note_import()
        self._prepare()

    def _prepare(self) -> None:
        prepare_run(self._order.env, self._order.trial.args, self._order.config)

    def _is_tasks_own(self) -> bool:
        """True if the task has opened the run itself, in a way that nobody could know beforehand."""
        if "wandb" not in sys.modules or self._later.is_open:
            return False
        import wandb

        has_run = wandb.run is not None and not is_unsent(wandb.run)
        return has_run or run_directories(self._order.env) != self._earlier_directories

    def _open_with_sdk(self) -> None:
        self._recorder.ignore_this_thread()
        runtime = int(self._runtime_s())
        # From there on the SDK counts.
        summary = {**self._tail.summary, "_runtime": runtime, "_wandb": {"runtime": runtime}}
        self._post({}, {SUMMARY: _whole(summary)}, patience_s=0.0)
        open_later()


def _whole(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {"offset": 0, "content": [json.dumps(summary)]}
