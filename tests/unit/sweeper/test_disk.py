"""Files on a disk that is full: whole or not there, and errors that say which they are of and what to do."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._client import Command
from hydra_plugins.hydra_wandb_sweeper._disk import before_the_sweep, check_usable, while_it_runs
from hydra_plugins.hydra_wandb_sweeper._errors import SweepDirectoryError
from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._files import append_durably, create_once, write_whole
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from hydra_plugins.hydra_wandb_sweeper._results import SweepResults, write
from hydra_plugins.hydra_wandb_sweeper._run_sweep import make_ledger
from hydra_plugins.hydra_wandb_sweeper._takeover import offer_forgotten
from tests.unit.sweeper.test_agent import Bench, FakeIsolation, FakeServer, finishes
from tests.unit.sweeper.test_ledger import RECORD, history_of

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path, RECORD, "supervisor")


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file of this process may become larger: it is written as far as there is room, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_event_for_which_there_is_no_room_leaves_nothing_behind_and_the_next_one_is_read(ledger: Ledger) -> None:
    ledger.record("first", text="a" * 100)
    path = ledger.root / "events" / "supervisor.jsonl"
    before = path.read_bytes()
    with largest_file(len(before) + 50), pytest.raises(OSError, match=r"supervisor\.jsonl"):
        ledger.record("lost", text="b" * 1000)
    assert path.read_bytes() == before
    ledger.record("second")
    assert [event["event"] for event in EventReader(ledger.directory).new_events()] == ["first", "second"]


def write_results(path: Path) -> None:
    write(SweepResults({"long": "a" * 5000}, ()), path.parent)


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "append_durably": ("events", lambda path: append_durably(path, b"a" * 5000)),
    "create_once": ("attempt", lambda path: create_once(path, "a" * 5000)),
    "write_whole": ("sign", lambda path: write_whole(path, "a" * 5000)),
    "results": ("optimization_results.yaml", write_results),
}


@pytest.mark.parametrize(("name", "write_to"), WRITERS.values(), ids=list(WRITERS))
def test_what_there_is_no_room_for_isn_t_there_by_half_and_the_error_says_what_it_was(
    tmp_path: Path, name: str, write_to: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    with largest_file(100), pytest.raises(OSError, match=name) as caught:
        write_to(path)
    assert caught.value.filename == str(path)
    assert [file.name for file in tmp_path.iterdir() if file.stat().st_size] == []
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_directory_is_looked_at_by_doing_what_will_be_done_there(tmp_path: Path) -> None:
    check_usable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with largest_file(100), pytest.raises(OSError, match=str(tmp_path)):
        check_usable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, r"No space left on device\. .*Make room there"),
        (OSError(errno.EDQUOT, "over quota", "/s/d/x"), r"over quota \(/s/d/x\)\. .*Make room there"),
        (OSError(errno.ENOSPC, "full", "/mine", None, "/s/d/copy"), r"full \(/s/d/copy\)\. .*Make room there"),
        (OSError(errno.EROFS, "read-only", "/s/d"), r"read-only \(/s/d\)\. .*See to it that you may write there"),
    ],
    ids=["no name", "below it", "copied to it", "itself"],
)
def test_errors_of_a_sweep_directory_become_a_sentence_with_the_next_step(error: OSError, words: str) -> None:
    with pytest.raises(SweepDirectoryError, match=words + "; then .*: hydra-sweep attach /s/d$"):  # noqa: SIM117
        with while_it_runs(Path("/s/d")):
            raise error
    with pytest.raises(SweepDirectoryError, match=r"hydra\.sweep\.dir=/s/d can't be used: " + words):  # noqa: SIM117
        with before_the_sweep(Path("/s/d")):
            raise error


def test_above_it_is_of_it_too_while_it_is_made() -> None:
    with pytest.raises(SweepDirectoryError, match=r"/s/d can't be used: no \(/s\)"):  # noqa: SIM117
        with before_the_sweep(Path("/s/d")):
            raise PermissionError(errno.EACCES, "no", "/s")


@pytest.mark.parametrize(
    "error",
    [PermissionError(errno.EACCES, "no", "/home/conf.yaml"), BlockingIOError(errno.EAGAIN, "no processes")],
    ids=["another file", "no file"],
)
def test_other_errors_stay_what_they_are(error: OSError) -> None:
    for translated in (before_the_sweep, while_it_runs):
        with pytest.raises(OSError) as caught, translated(Path("/s/d")):
            raise error
        assert caught.value is error


def test_a_sweep_that_was_made_before_its_directory_was_full_can_be_run_in_another_one(tmp_path: Path) -> None:
    with largest_file(10), pytest.raises(SweepDirectoryError) as caught:
        make_ledger(tmp_path, RECORD)
    assert str(caught.value).startswith(f"The sweep me/proj/ab12 was made, but hydra.sweep.dir={tmp_path} can't be")
    assert str(caught.value).endswith("hydra.sweeper.sweep_id=me/proj/ab12")
    assert json.dumps(caught.value.args)


def test_a_trial_whose_offer_could_not_be_written_is_offered_once(ledger: Ledger) -> None:
    trial = ledger.number_trial("run0", {"lr": 0.1})
    ledger.begin(trial)
    ledger.record("ended", trial, state="failed", metrics={}, error="e", error_line="e", output_dir=None,
                  duration_s=1.0, final=False)  # fmt: skip
    for _ in range(2):
        offer_forgotten(ledger, history_of(ledger.directory))
    assert ledger.take_offer() == replace(trial, attempt=1, failures=1, resumes=True)
    # What was claimed since is nobody's to offer, whatever is known of it yet.
    history = history_of(ledger.directory)
    history.trials[0].state = "queued"
    offer_forgotten(ledger, history)
    assert ledger.take_offer() is None or ledger.begin(Trial(0, 1, "run0")) is False


class FullDiskServer(FakeServer):
    """From its first trial on there is no room."""

    def heartbeat(self, agent_id: str, live_runs: tuple[str, ...], *, patient: bool = True) -> list[Command]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return super().heartbeat(agent_id, live_runs, patient=patient)


def test_an_agent_s_first_error_is_not_masked_by_that_of_recording_its_end(ledger: Ledger) -> None:
    bench = Bench(ledger.directory, FullDiskServer(1), FakeIsolation(finishes))
    with largest_file(10_000), pytest.raises(OSError, match=r"trials/000000\.json"):
        bench.run()
