"""A sweep of the embedded server, uploaded to another one: what is missing there, by several threads at a time."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass

from ._client import SweepRef
from ._errors import ServerError, ServerUnreachableError, SweepError
from ._sync_journal import Journal
from ._sync_plan import Chunk, Counts, Ending, Parcel, SourceRun, SourceSweep, chunks_of, ending_of, parcels_of
from ._sync_source import Source
from ._sync_target import Last, Target

_REPORT_S = 5.0
_FILES_AT_ONCE = 100


@dataclass(frozen=True)
class Parties:
    """Makes, for one thread each, what reads the source and what writes the target.

    Both get the event that is set when all threads shall end.
    """

    source: Callable[[threading.Event], Source]
    target: Callable[[threading.Event], Target]


@dataclass(frozen=True)
class Plan:
    """run_ids: to be uploaded, oldest first. counts: of the others."""

    run_ids: tuple[str, ...]
    counts: Counts


def make_plan(runs: Iterator[SourceRun], journal: Journal) -> Plan:
    """Return which runs have ended and haven't arrived as they are now."""
    run_ids: list[str] = []
    already_there = still_open = 0
    for run in runs:
        if ending_of(run) is None:
            still_open += 1
        elif journal.has_run(run.run_id, run.fingerprint()):
            already_there += 1
        else:
            run_ids.append(run.run_id)
    return Plan(tuple(run_ids), Counts(already_there=already_there, open=still_open))


def find_sweep(
    target: Target, journal: Journal, entity: str, project: str, sweep: SourceSweep, *, make: bool
) -> SweepRef | None:
    """Return the target's sweep; with `make` it is made if there is none. Errors: SweepError if it was deleted."""
    if journal.sweep_id is not None:
        ref = SweepRef(entity, project, journal.sweep_id)
        if not target.has_sweep(ref):
            raise SweepError(
                f"Sweep {ref.path}, to which {sweep.ref.path} was uploaded, doesn't exist any more. W&B doesn't take "
                "the ids of deleted runs again in their project: choose another --project, or, if only the sweep was "
                f"deleted, remove {journal.path} to begin anew."
            )
        return ref
    if not make:
        return target.find_sweep(entity, project, sweep.mark)
    ref = target.require_sweep(entity, project, sweep)
    journal.note_sweep(ref.sweep_id)
    return ref


class Upload:
    """The upload of a plan's runs.

    counts: what has become of the sweep's runs so far. report: is told the counts every few seconds, and how many
    runs there are.
    """

    def __init__(
        self,
        source: SweepRef,
        target: SweepRef,
        plan: Plan,
        journal: Journal,
        parties: Parties,
        report: Callable[[Counts, int], None],
    ) -> None:
        self._source = source
        self._target = target
        self._journal = journal
        self._parties = parties
        self._report = report
        self.counts = plan.counts
        self._total = len(plan.run_ids) + plan.counts.done
        self._run_ids = plan.run_ids
        self._left = iter(plan.run_ids)
        self._lock = threading.Lock()
        self._announcing = threading.Lock()
        self._stop = threading.Event()

    def run(self, parallel: int) -> None:
        """Upload with so many threads. Errors: those that concern all runs; others are among the counts."""
        self._left = iter(self._without_foreign(self._run_ids))
        with ThreadPoolExecutor(parallel, thread_name_prefix="sync") as threads:
            futures = [threads.submit(self._work) for _ in range(min(parallel, len(self._run_ids)))]
            try:
                self._watch(futures)
            finally:
                # Also after Ctrl-C: what is under way ends at its next step.
                self._stop.set()

    def _watch(self, futures: Sequence[Future[None]]) -> None:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, _REPORT_S, FIRST_EXCEPTION)
            for future in done:
                future.result()
            if pending:
                self._report(self.counts, self._total)

    def _without_foreign(self, run_ids: Sequence[str]) -> list[str]:
        """Leave out runs whose ids other runs have at the target; those would be overwritten."""
        if not run_ids:
            return []
        unknown = [run_id for run_id in run_ids if not self._journal.knows_run(run_id)]
        with closing(self._parties.target(self._stop)) as target:
            owners = target.sweeps_of_runs(self._target, unknown)
        foreign = {run_id for run_id, sweep_id in owners.items() if sweep_id != self._target.sweep_id}
        for run_id in sorted(foreign):
            owner = f"sweep {owners[run_id]}" if owners[run_id] else "no sweep"
            reason = f"{self._target.entity}/{self._target.project} has another run of that id, which is of {owner}"
            self.counts = self.counts.plus_failed(run_id, f"{reason}: choose another --project")
        return [run_id for run_id in run_ids if run_id not in foreign]

    # --- in the threads ---

    def _work(self) -> None:
        try:
            with (
                closing(self._parties.source(self._stop)) as source,
                closing(self._parties.target(self._stop)) as target,
            ):
                while not self._stop.is_set() and self._next(source, target):
                    pass
        except _StoppedError:
            return
        except BaseException as error:
            is_consequence = self._stop.is_set() and isinstance(error, ServerUnreachableError)
            self._stop.set()
            if not is_consequence:
                raise

    def _next(self, source: Source, target: Target) -> bool:
        """Upload one run; False if there is none left."""
        run_id = None
        try:
            # One after the other, so that the target lists the runs in the order in which they began.
            with self._announcing:
                run_id = next(self._left, None)
                if run_id is None or self._stop.is_set():
                    return False
                run = source.run(self._source, run_id)
                ending = ending_of(run)
                if ending is None:
                    self._count(open=1)  # it was begun again meanwhile
                    return True
                node_id = target.announce(self._target, run)
            self._finish(source, target, run, ending, node_id)
        except ServerUnreachableError:
            raise
        except SweepError as error:
            if isinstance(error, ServerError) and error.is_login:
                raise
            self._count_failed(str(run_id), str(error))
        return True

    def _finish(self, source: Source, target: Target, run: SourceRun, ending: Ending, node_id: str) -> None:
        fingerprint = run.fingerprint()
        last: Parcel = ()
        for parcel in parcels_of(self._chunks(source, run, fingerprint)):
            self._send(target, run, fingerprint, last)
            last = parcel
        names, refused = self._send_files(source, target, run) if run.file_count else ([], [])
        # Most runs fit into this one request.
        target.end(self._target, run, node_id, ending, Last(last, names))
        if refused:
            raise SweepError(f"all but {len(refused)} file(s) arrived: {'; '.join(refused)}")
        self._journal.note_run(run.run_id, fingerprint)
        self._count(uploaded=1)

    def _chunks(self, source: Source, run: SourceRun, fingerprint: str) -> Iterator[Chunk]:
        """Read what hasn't arrived of a run's streams, as it is taken."""
        for stream, end in run.lines.items():
            start = self._journal.lines_of(run.run_id, fingerprint, stream)
            yield from chunks_of(stream, source.lines(self._source, run.run_id, stream, start, end))

    def _send(self, target: Target, run: SourceRun, fingerprint: str, parcel: Parcel) -> None:
        if not parcel:
            return
        self._refuse_stopped()
        target.send_lines(self._target, run.run_id, parcel)
        for chunk in parcel:
            self._journal.note_lines(run.run_id, fingerprint, chunk.stream, chunk.end)

    def _send_files(self, source: Source, target: Target, run: SourceRun) -> tuple[list[str], list[str]]:
        """Return the names of uploaded files, and why others weren't."""
        sent: list[str] = []
        refused: list[str] = []
        files = {file.name: file for file in source.files(self._source, run.run_id)}
        names = list(files)
        with tempfile.TemporaryFile() as content:
            for start in range(0, len(names), _FILES_AT_ONCE):
                batch = names[start : start + _FILES_AT_ONCE]
                for place in target.create_files(self._target, run.run_id, batch):
                    self._refuse_stopped()
                    try:
                        source.read_file(files[place.name], content)
                        target.put_file(place, content)
                        sent.append(place.name)
                    except ServerError as error:
                        refused.append(f"{place.name}: {error}")
        return sent, refused

    def _refuse_stopped(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _count(self, **more: int) -> None:
        with self._lock:
            self.counts = self.counts.plus(**more)

    def _count_failed(self, run_id: str, reason: str) -> None:
        with self._lock:
            self.counts = self.counts.plus_failed(run_id, reason)


class _StoppedError(Exception):
    """Ends a thread because another one failed, or the user interrupted."""
