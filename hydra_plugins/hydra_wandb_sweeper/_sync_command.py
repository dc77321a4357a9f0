"""`hydra-sweep sync`: which sweeps, from where, to where; then one after the other."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from ._client import SweepClient, SweepRef
from ._errors import ServerError, ServerUnreachableError, SettingError, SweepError
from ._events import DIRECTORY
from ._ledger import Ledger
from ._plan import START_PATIENCE_S
from ._server import LOCAL_DIRECTORY, ServerRef, find_login, start_if_local, wandb_base_url
from ._settings import SweepPath, parse_sweep_path
from ._sync import Parties, Upload, find_sweep, make_plan
from ._sync_journal import Journal, journal_path
from ._sync_plan import Counts, SourceSweep
from ._sync_source import Source
from ._sync_target import Target
from ._throttle import Throttle, throttled_session
from ._transport import ServerAccess, Transport

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

    stopped: why the upload ended before its time, or didn't begin; None if neither. concerns_all: other sweeps can't
    be uploaded either.
    """

    source: SweepRef
    target_url: str | None = None
    counts: Counts = field(default_factory=Counts)
    to_upload: int = 0
    stopped: str | None = None
    concerns_all: bool = False

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
    make_session: Callable[[Throttle, Callable[[], bool]], requests.Session] = throttled_session,
) -> list[Synced]:
    """Upload the sweeps of a directory: a sweep's, an embedded server's, or its project's.

    make_session: for the target, one per thread, see throttled_session. Errors: SweepError if no sweep could begin.
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
        lambda stop: _make_target(target, make_session(throttle, stop.is_set), stop),
    )
    never = threading.Event()
    with closing(parties.source(never)) as reader, closing(parties.target(never)) as writer:
        # A server that has never answered is more likely misnamed than overloaded.
        login_entity = writer.default_entity(START_PATIENCE_S)
        entity = options.entity or login_entity
        syncing = _Syncing(Path(server.place), target.open(), entity, options, parties, reader, writer)
        sweeps = [reader.sweep(ref) for ref in refs] if refs is not None else _chosen(reader, options.sweeps)
        return list(_until_one_concerns_all(map(syncing.one, sweeps)))


def _until_one_concerns_all(synced: Iterable[Synced]) -> Iterator[Synced]:
    for one in synced:
        yield one
        if one.concerns_all:
            return


@dataclass(frozen=True)
class _Syncing:
    """Syncs sweeps of a server. directory: the source server's; access, entity: the target's."""

    directory: Path
    access: ServerAccess
    entity: str
    options: SyncOptions
    parties: Parties
    reader: Source
    writer: Target

    def one(self, sweep: SourceSweep) -> Synced:
        """Sync one sweep."""
        project = self.options.project or sweep.ref.project
        path = journal_path(self.directory, sweep.ref, self.access.url)
        try:
            journal = Journal(path, f"{self.entity}/{project}", read_only=self.options.dry_run)
            with closing(journal):
                return self._with(journal, sweep, project)
        except SweepError as error:
            return Synced(sweep.ref, stopped=str(error), concerns_all=_concerns_all(error))

    def _with(self, journal: Journal, sweep: SourceSweep, project: str) -> Synced:
        plan = make_plan(self.reader.runs(sweep.ref), journal)
        makes = bool(plan.run_ids) and not self.options.dry_run
        ref = find_sweep(self.writer, journal, self.entity, project, sweep, make=makes)
        url = f"{self.access.app_url}/{ref.entity}/{ref.project}/sweeps/{ref.sweep_id}" if ref is not None else None
        synced = Synced(sweep.ref, url, plan.counts, len(plan.run_ids))
        if ref is None or self.options.dry_run:
            return synced
        upload = Upload(sweep.ref, ref, plan, journal, self.parties, _report)
        try:
            upload.run(self.options.parallel)
            if sweep.has_ended:
                # Its runs are no trials that the target handed out: an agent there would begin the search anew.
                self.writer.end_sweep(ref)
        except SweepError as error:
            synced = replace(synced, stopped=str(error), concerns_all=_concerns_all(error))
        return replace(synced, counts=upload.counts)


def _concerns_all(error: SweepError) -> bool:
    """True for a server that can't be reached or doesn't let the user in."""
    return isinstance(error, ServerUnreachableError) or (isinstance(error, ServerError) and error.is_login)


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
