"""Several threads upload a plan's runs: what fails for one run, and what ends it for all."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from hydra_plugins.hydra_wandb_sweeper._client import SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import ServerError, ServerUnreachableError
from hydra_plugins.hydra_wandb_sweeper._sync import Parties, Plan, Upload
from hydra_plugins.hydra_wandb_sweeper._sync_journal import Journal
from hydra_plugins.hydra_wandb_sweeper._sync_plan import CHUNK_LINES, Counts, SourceRun
from hydra_plugins.hydra_wandb_sweeper._sync_source import Source, SourceFile
from hydra_plugins.hydra_wandb_sweeper._sync_target import Place, Target
from tests.unit.sweeper.test_sync import RUN

HERE, THERE = SweepRef("local", "app", "ab12"), SweepRef("me", "app", "xy34")
RUNS = tuple(f"r{i}" for i in range(10))


@dataclass
class Servers:
    """Both servers in memory. errors: run id -> what announcing it raises; states: run id -> its state."""

    errors: dict[str, Exception] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str | None] = field(default_factory=dict)
    line_count: int = 3
    announced: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    sent: list[tuple[int, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    refused_file: str | None = None

    def close(self) -> None:
        """There are no connections."""

    def run(self, ref: SweepRef, run_id: str) -> SourceRun:
        lines = {"history": self.line_count, "events": 0, "log": 0}
        files = 2 if self.refused_file else 0
        return replace(RUN, run_id=run_id, state=self.states.get(run_id, "finished"), lines=lines, file_count=files)

    def files(self, ref: SweepRef, run_id: str) -> Iterator[SourceFile]:
        return (SourceFile(name, "") for name in ("a.txt", "b.txt"))

    def create_files(self, ref: SweepRef, run_id: str, names: Sequence[str]) -> list[Place]:
        return [Place(name, "", {}) for name in names]

    def read_file(self, file: SourceFile, into: Any) -> None:
        """It is empty."""

    def put_file(self, place: Place, content: Any) -> None:
        if place.name == self.refused_file:
            raise ServerError("too large", 413)

    def lines(self, ref: SweepRef, run_id: str, stream: str, start: int, end: int) -> Iterator[tuple[int, str]]:
        return ((number, "x") for number in range(start, end))

    def sweeps_of_runs(self, ref: SweepRef, run_ids: Any) -> dict[str, str | None]:
        return {run_id: owner for run_id, owner in self.owners.items() if run_id in run_ids}

    def announce(self, ref: SweepRef, run: SourceRun) -> str:
        with self.lock:
            self.announced.append(run.run_id)
        if run.run_id in self.errors:
            raise self.errors[run.run_id]
        return "node"

    def send_lines(self, ref: SweepRef, run_id: str, parcel: Any) -> None:
        self.sent += [(chunk.offset, chunk.end) for chunk in parcel]

    def end(self, ref: SweepRef, run: SourceRun, node_id: str, ending: Any, last: Any) -> None:
        self.sent += [(chunk.offset, chunk.end) for chunk in last.parcel]
        with self.lock:
            self.ended.append(run.run_id)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal", "me/app")
    yield journal
    journal.close()


def upload(servers: Servers, journal: Journal, runs: tuple[str, ...] = RUNS) -> Upload:
    parties = Parties(lambda _: cast(Source, servers), lambda _: cast(Target, servers))
    return Upload(HERE, THERE, Plan(runs, Counts()), journal, parties, lambda *_: None)


@pytest.mark.parametrize("parallel", [1, 4, 20])
def test_every_run_is_uploaded_once_and_announced_in_its_turn(journal: Journal, parallel: int) -> None:
    servers = Servers()
    doing = upload(servers, journal)
    doing.run(parallel)
    assert servers.announced == list(RUNS)
    assert sorted(servers.ended) == sorted(RUNS)
    assert doing.counts == Counts(uploaded=10)
    assert all(journal.has_run(run_id, servers.run(HERE, run_id).fingerprint()) for run_id in RUNS)


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_run_that_is_refused_fails_alone_and_with_the_server_s_words(journal: Journal, parallel: int) -> None:
    servers = Servers(errors={"r3": ServerError("config is too large", 400)})
    doing = upload(servers, journal)
    doing.run(parallel)
    assert doing.counts == Counts(uploaded=9, failed=(("r3", "config is too large"),))
    assert not journal.knows_run("r3")


def test_a_file_that_is_refused_is_named_and_the_others_arrive(journal: Journal) -> None:
    doing = upload(Servers(refused_file="b.txt"), journal, ("r0",))
    doing.run(1)
    assert doing.counts.failed == (("r0", "all but 1 file(s) arrived: b.txt: too large"),)


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("error", [ServerUnreachableError("it is down"), ServerError("no permission", 403)])
def test_what_concerns_all_runs_ends_it_for_all(journal: Journal, error: Exception, parallel: int) -> None:
    servers = Servers(errors={"r3": error})
    doing = upload(servers, journal)
    with pytest.raises(type(error), match=str(error)):
        doing.run(parallel)
    if parallel == 1:
        assert servers.announced == ["r0", "r1", "r2", "r3"]
    assert doing.counts.failed == ()


def test_a_run_that_was_begun_again_meanwhile_is_left_for_later(journal: Journal) -> None:
    servers = Servers(states={"r1": "running"})
    doing = upload(servers, journal)
    doing.run(2)
    assert doing.counts == Counts(uploaded=9, open=1)
    assert "r1" not in servers.announced


def test_ids_of_other_runs_are_not_touched_but_those_this_sweep_brought_are(journal: Journal) -> None:
    servers = Servers(owners={"r0": THERE.sweep_id, "r1": "other", "r2": None, "r3": "other"})
    journal.note_run("r3", "an older state")  # that we brought it was noted, so nobody is asked
    doing = upload(servers, journal)
    doing.run(1)
    assert doing.counts.uploaded == 8
    assert [run_id for run_id, _ in doing.counts.failed] == ["r1", "r2"]
    assert "of sweep other: choose another --project" in doing.counts.failed[0][1]
    assert "of no sweep: choose another --project" in doing.counts.failed[1][1]
    assert {"r1", "r2"}.isdisjoint(servers.announced)


def test_a_long_history_goes_on_after_the_last_line_that_was_noted(journal: Journal) -> None:
    servers = Servers(line_count=3 * CHUNK_LINES)
    journal.note_lines("r0", servers.run(HERE, "r0").fingerprint(), "history", CHUNK_LINES)
    upload(servers, journal, ("r0",)).run(1)
    assert servers.sent == [(CHUNK_LINES, 2 * CHUNK_LINES), (2 * CHUNK_LINES, 3 * CHUNK_LINES)]


def test_a_run_that_changed_is_sent_from_its_first_line_on(journal: Journal) -> None:
    servers = Servers(line_count=2 * CHUNK_LINES)
    journal.note_lines("r0", "an older state", "history", CHUNK_LINES)
    upload(servers, journal, ("r0",)).run(1)
    assert servers.sent[0] == (0, CHUNK_LINES)
