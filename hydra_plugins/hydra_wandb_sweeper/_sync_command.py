"""`hydra-sweep sync`: which sweeps, from where, to where; then one after the other."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from ._client import SweepClient, SweepRef
from ._errors import ServerError, ServerUnreachableError, SettingError, SweepError
from ._ledger import DIRECTORY, Ledger
from ._plan import START_PATIENCE_S
from ._server import LOCAL_DIRECTORY, ServerRef, find_login, start_if_local, wandb_base_url
from ._settings import SweepPath, parse_sweep_path
from ._sync import Parties, Upload, find_sweep, make_plan
from ._sync_journal import Journal, journal_path
from ._sync_plan import Counts, SourceSweep
from ._sync_source import Source
from ._sync_target import Target
from ._throttle import Throttle, throttled_session
from ._transport import Transport

log = logging.getLogger(__name__)

# Servers that are overloaded, or limit the rate, say so for minutes.
_TARGET_PATIENCE_S = 600.0
_DATABASE = "sweeps.sqlite3"


@dataclass(frozen=True)
class SyncOptions:
    """to: 'wandb' or the target's URL; entity, project: there, None is the login's and the source's.

    sweeps: which of a server's, none for all. parallel: runs at a time. requests_per_s: to the target, at most.
    """

    to: str = "wandb"
    entity: str | None = None
    project: str | None = None
    sweeps: tuple[str, ...] = ()
    parallel: int = 4
    requests_per_s: float = 10.0
    dry_run: bool = False


@dataclass(frozen=True)
class Synced:
    """What became of one sweep. target_url: its page, None if it has none yet. to_upload: runs that aren't there.

    stopped: why the upload ended before its time, None if it didn't.
    """

    source: SweepRef
    target_url: str | None
    counts: Counts
    to_upload: int = 0
    stopped: str | None = None

    @property
    def is_complete(self) -> bool:
        """True if nothing failed."""
        return self.stopped is None and not self.counts.failed

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "source": self.source.path,
            "target": self.target_url,
            "to_upload": self.to_upload,
            "uploaded": self.counts.uploaded,
            "already_there": self.counts.already_there,
            "open": self.counts.open,
            "failed": [{"run": run_id, "reason": reason} for run_id, reason in self.counts.failed],
            "stopped": self.stopped,
        }


def sync(
    directory: Path,
    options: SyncOptions,
    make_session: Callable[[Throttle], requests.Session] = throttled_session,
) -> list[Synced]:
    """Upload the sweeps of a directory: a sweep's, an embedded server's, or its project's.

    make_session: for the target, one per thread. Errors: SweepError where nothing could begin.
    """
    target = _target_server(options.to)
    server, refs = _find_source(directory, options.sweeps)
    start_if_local(server, "127.0.0.1")
    if server.open().url == target.place:
        raise SweepError(
            f"{target.place} is the server that holds the sweeps already: WANDB_BASE_URL leads to it. Unset it and "
            "WANDB_API_KEY, or name the target with --to."
        )
    throttle = Throttle(options.requests_per_s)
    parties = Parties(
        lambda stop: Source(_transport(server, START_PATIENCE_S, requests.Session(), stop)),
        lambda stop: _make_target(target, make_session(throttle), stop),
    )
    syncing = _Syncing(Path(server.place), target.place, target.open().app_url, options, parties)
    source = parties.source(threading.Event())
    sweeps = [source.sweep(ref) for ref in refs] if refs is not None else _chosen(source, options.sweeps)
    return [syncing.one(sweep) for sweep in sweeps]


class _Syncing:
    """Syncs sweeps of a server. directory: the source server's; url, app_url: the target's API and pages."""

    def __init__(self, directory: Path, url: str, app_url: str, options: SyncOptions, parties: Parties) -> None:
        self._directory = directory
        self._url = url
        self._app_url = app_url
        self._options = options
        self._parties = parties
        never = threading.Event()
        self._source, self._target = parties.source(never), parties.target(never)
        self._entity = options.entity or self._target.default_entity()

    def one(self, sweep: SourceSweep) -> Synced:
        """Sync one sweep. Errors: SweepError if it can't begin."""
        project = self._options.project or sweep.ref.project
        path = journal_path(self._directory, sweep.ref, self._url)
        journal = Journal(path, f"{self._entity}/{project}", read_only=self._options.dry_run)
        try:
            return self._with(journal, sweep, project)
        finally:
            journal.close()

    def _with(self, journal: Journal, sweep: SourceSweep, project: str) -> Synced:
        plan = make_plan(self._source.runs(sweep.ref), journal)
        makes = bool(plan.run_ids) and not self._options.dry_run
        ref = find_sweep(self._target, journal, self._entity, project, sweep, make=makes)
        url = f"{self._app_url}/{ref.entity}/{ref.project}/sweeps/{ref.sweep_id}" if ref is not None else None
        if ref is None or self._options.dry_run:
            return Synced(sweep.ref, url, plan.counts, len(plan.run_ids))
        upload = Upload(sweep.ref, ref, plan, journal, self._parties, _report)
        stopped = None
        try:
            upload.run(self._options.parallel)
            if sweep.has_ended:
                # Its runs are no trials that the target handed out: an agent there would begin the search anew.
                self._target.end_sweep(ref)
        except (ServerUnreachableError, ServerError) as error:
            stopped = str(error)
        return Synced(sweep.ref, url, upload.counts, len(plan.run_ids), stopped)


def _report(counts: Counts, total: int) -> None:
    failed = f", {len(counts.failed)} failed" if counts.failed else ""
    log.info("Synced %d of %d runs%s.", counts.done, total, failed)


def _transport(server: ServerRef, patience_s: float, session: requests.Session, stop: threading.Event) -> Transport:
    return Transport(
        server.open, patience_s=patience_s, session=session, sleep=_sleep_until(stop), is_given_up=stop.is_set
    )


def _make_target(server: ServerRef, session: requests.Session, stop: threading.Event) -> Target:
    client = SweepClient(
        server.open,
        patience_s=_TARGET_PATIENCE_S,
        session=session,
        sleep=_sleep_until(stop),
        is_given_up=stop.is_set,
    )
    return Target(_transport(server, _TARGET_PATIENCE_S, session, stop), client)


def _sleep_until(stop: threading.Event) -> Callable[[float], None]:
    """Return a sleep that ends early when the event is set."""

    def sleep(seconds: float) -> None:
        stop.wait(seconds)

    return sleep


def _target_server(to: str) -> ServerRef:
    if to != "wandb" and not to.startswith(("http://", "https://")):
        raise SweepError(f"--to {to}: must be 'wandb' or the URL of a W&B server (https://…).")
    url = wandb_base_url(os.environ) if to == "wandb" else to.rstrip("/")
    if find_login(url, os.environ) is None:
        raise SweepError(
            f"There is no login for {url}: neither WANDB_API_KEY nor a netrc entry. Run `wandb login"
            f"{'' if to == 'wandb' else f' --host {url}'}`, or set WANDB_API_KEY."
        )
    return ServerRef("wandb", url)


def _find_source(directory: Path, sweeps: Sequence[str]) -> tuple[ServerRef, list[SweepRef] | None]:
    """Return the server that holds the sweeps, and the sweep of a sweep's directory (None for a server's)."""
    if (directory / DIRECTORY / "sweep.json").exists():
        record = Ledger.open(directory, "").sweep()
        if not record.server.is_local:
            raise SweepError(f"The sweep of {directory} is on W&B already: {record.url}")
        if sweeps:
            raise SweepError(
                f"--sweep is for a server's directory; {directory} is that of sweep {record.sweep.path}."
            )
        return _with_data(Path(record.server.place)), [record.sweep]
    for place in (directory, directory / LOCAL_DIRECTORY):
        if (place / _DATABASE).exists():
            return _with_data(place.absolute()), None
    raise SweepError(
        f"{directory} is neither a sweep's directory (with {DIRECTORY}/sweep.json) nor an embedded server's (usually "
        f"{LOCAL_DIRECTORY}, with {_DATABASE}), nor is there one of these names in it."
    )


def _with_data(place: Path) -> ServerRef:
    # Starting a server makes a directory that doesn't exist, with nothing in it.
    if not (place / _DATABASE).exists():
        raise SweepError(
            f"The embedded server's data of this sweep isn't in {place} any more. If it was moved, name the "
            "directory where it is now, with --sweep ID."
        )
    return ServerRef("local", str(place))


def _chosen(source: Source, names: Sequence[str]) -> list[SourceSweep]:
    """Return the named sweeps, all of them if none is named. Errors: SweepError for an unknown one."""
    sweeps = source.all_sweeps()
    if not names:
        return sweeps
    chosen = []
    for name in names:
        matching = [sweep for sweep in sweeps if _matches(sweep.ref, _parsed(name))]
        if not matching:
            known = ", ".join(sweep.ref.path for sweep in sweeps) or "none"
            raise SweepError(f"--sweep {name}: the server has no such sweep. It has: {known}")
        chosen += matching
    return chosen


def _parsed(name: str) -> SweepPath:
    try:
        return parse_sweep_path(name)
    except SettingError as error:
        raise SweepError(f"--sweep {name}: {error.rule}") from None


def _matches(ref: SweepRef, path: SweepPath) -> bool:
    return ref.sweep_id == path.sweep_id and path.project in (None, ref.project) and path.entity in (None, ref.entity)
