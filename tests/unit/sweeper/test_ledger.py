"""The ledger: numbers, attempts and offers belong to exactly one agent, whoever races for them."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._client import SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import SweepError
from hydra_plugins.hydra_wandb_sweeper._events import EventReader, in_batches
from hydra_plugins.hydra_wandb_sweeper._history import History
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, SweepRecord, Trial, outline
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from hydra_plugins.hydra_wandb_sweeper._template import Form, Slot, Template

RECORD = SweepRecord(
    sweep=SweepRef("me", "proj", "ab12"),
    server=ServerRef("local", "somewhere"),
    url="http://127.0.0.1/me/proj/sweeps/ab12",
    name="app",
    method="grid",
    metric_name="loss",
    metric_goal="minimize",
    template=Template(("fixed=1", Slot("lr", "lr", Form.FLOAT, {"0": "0.0"}))),
    parameters={
        "lr": {"values": [0.0, 0.1]},
        "batch": {"value": 3},
        "opt": {"parameters": {"m": {"values": [1, 2]}}},
    },
    expected_trials=2,
    tags=("a", "b"),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path, RECORD, "supervisor")


def history_of(directory: Path) -> History:
    history = History()
    history.add(EventReader(directory).new_events())
    return history


def test_the_record_of_a_sweep_survives_the_disk(ledger: Ledger) -> None:
    assert ledger.parameters() == RECORD.parameters
    assert ledger.sweep() == replace(RECORD, parameters=outline(RECORD.parameters))
    assert ledger.sweep().swept == ("lr", "opt.m")


def test_of_many_values_processes_know_one() -> None:
    parameters = {
        "lr": {"values": list(range(1000)), "distribution": "categorical"},
        "batch": {"value": [3, 4]},
        "dropout": {"min": 0.0, "max": 0.5},
        "opt": {"parameters": {"m": {"values": ["a", "b"]}}},
    }
    assert outline(parameters) == {
        "lr": {"values": [0], "distribution": "categorical"},
        "batch": {"value": [3, 4]},
        "dropout": {"min": 0.0, "max": 0.5},
        "opt": {"parameters": {"m": {"values": ["a"]}}},
    }


def test_a_directory_takes_one_sweep_only(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"already holds a sweep\. Choose another .*hydra-sweep attach"):
        Ledger.create(tmp_path, RECORD, "supervisor")


def test_trials_are_numbered_from_zero_without_gaps(ledger: Ledger) -> None:
    assert [ledger.number_trial(f"run{i}", {}).number for i in range(20)] == list(range(20))
    assert ledger.claimed_count() == 20


def test_a_run_that_is_handed_out_again_keeps_its_number(ledger: Ledger) -> None:
    first = ledger.number_trial("run", {"lr": 0.1})
    assert ledger.begin(first)
    again = ledger.number_trial("run", {"lr": 0.1})
    assert (again.number, again.attempt, again.resumes) == (first.number, 1, True)


@given(st.lists(st.booleans(), max_size=30))
def test_the_next_number_is_found_from_any_knowledge(
    tmp_path_factory: pytest.TempPathFactory, mine: list[bool]
) -> None:
    directory = tmp_path_factory.mktemp("sweep")
    Ledger.create(directory, RECORD, "supervisor")
    agents = {True: Ledger(directory, "a"), False: Ledger(directory, "b")}
    numbers = [agents[who].number_trial(f"run{i}", {}).number for i, who in enumerate(mine)]
    assert numbers == list(range(len(mine)))
    assert Ledger(directory, "c").claimed_count() == len(mine)


def race(directory: Path, work: Callable[[Ledger], list[Any]], agents: int = 4) -> list[Any]:
    """Do the same work in several processes at once and return everything they got."""
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    barrier = fork.Barrier(agents)

    def agent(name: str) -> None:
        own = Ledger(directory, name)
        barrier.wait()
        queue.put(work(own))

    processes = [fork.Process(target=agent, args=(f"agent-{i}",)) for i in range(agents)]
    for process in processes:
        process.start()
    got = [item for _ in processes for item in queue.get(timeout=60)]
    for process in processes:
        process.join()
    return got


def test_agents_that_race_for_numbers_get_each_once(ledger: Ledger, tmp_path: Path) -> None:
    def work(own: Ledger) -> list[int]:
        return [own.number_trial(f"{own.writer}-{i}", {}).number for i in range(25)]

    assert sorted(race(tmp_path, work)) == list(range(100))


def test_agents_that_race_for_offers_get_each_once(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(40):
        ledger.offer(Trial(number, 1, f"run{number}"), "test")

    def work(own: Ledger) -> list[str]:
        taken = []
        while (trial := own.take_offer()) is not None:
            taken.append(trial.label)
        return taken

    assert sorted(race(tmp_path, work)) == [f"{number:06d}.1" for number in range(40)]
    assert not ledger.has_offers()


def test_an_attempt_is_begun_once(ledger: Ledger, tmp_path: Path) -> None:
    trial = ledger.number_trial("run", {})
    assert sorted(race(tmp_path, lambda own: [own.begin(trial)])) == [False, False, False, True]
    assert list(history_of(tmp_path).trials) == [0]


def test_offers_come_back_with_everything_they_had(ledger: Ledger) -> None:
    trial = Trial(3, 2, "run", {"lr": 0.1, "opt": {"m": [1, None]}}, failures=1, resumes=True)
    ledger.offer(trial, "test")
    assert ledger.take_offer() == trial
    assert ledger.take_offer() is None


def test_offering_again_takes_the_attempt_after_the_last_claimed_one(ledger: Ledger) -> None:
    trial = ledger.number_trial("run", {})
    ledger.begin(trial)
    ledger.offer_again(trial, "one")
    ledger.offer_again(trial, "two")
    taken = ledger.take_offer()
    assert taken is not None
    assert (taken.number, taken.attempt, taken.resumes) == (0, 1, True)
    assert ledger.take_offer() is None


def test_a_trial_whose_agent_died_around_its_claim_is_found(ledger: Ledger, tmp_path: Path) -> None:
    numbered = ledger.number_trial("numbered", {"lr": 0.1})
    told = ledger.number_trial("told", {})
    ledger.begin(told)
    claimed = ledger.number_trial("claimed", {})
    (tmp_path / ".sweep" / "attempts" / claimed.label).write_text("{}")
    silent = ledger.silent_trials(history_of(tmp_path).last_attempt)
    assert silent == [numbered, claimed]
    for trial in silent:
        ledger.offer_again(trial, "test")
    taken = [ledger.take_offer(), ledger.take_offer()]
    assert [(t.number, t.attempt, t.resumes) for t in taken if t] == [(0, 0, False), (2, 1, True)]


def test_events_are_read_once_and_never_in_half(ledger: Ledger, tmp_path: Path) -> None:
    reader = EventReader(tmp_path)
    ledger.record("one")
    assert [e["event"] for e in reader.new_events()] == ["one"]
    path = tmp_path / ".sweep" / "events" / "agent.jsonl"
    whole = '{"event": "two", "time": 1.0, "by": "agent"}\n'
    path.write_text(whole[:20])
    assert list(reader.new_events()) == []
    path.write_text(whole)
    assert [e["event"] for e in reader.new_events()] == ["two"]
    assert list(reader.new_events()) == []


def test_events_come_in_order_of_time_and_each_writers_in_its_own_order(tmp_path: Path) -> None:
    """A clock that is set back must not bring a trial's end before its claim."""
    Ledger.create(tmp_path, RECORD, "supervisor")
    for name, times in {"agent-0": [1.0, 4.0, 3.0], "agent-1": [2.0, 5.0, 6.0]}.items():
        agent = Ledger(tmp_path, name, partial(next, iter(times)))
        for event in ("first", "second", "third"):
            agent.record(event)
    found = [(e["by"][-1], e["event"]) for e in EventReader(tmp_path).new_events()]
    assert found == [
        ("0", "first"), ("1", "first"), ("0", "second"), ("0", "third"), ("1", "second"), ("1", "third"),
    ]  # fmt: skip


@given(st.lists(st.integers(min_value=0, max_value=3 * 2**16), min_size=1, max_size=6), st.data())
def test_however_long_lines_are_and_wherever_a_writer_stops_each_event_is_read_once(
    lengths: list[int], data: st.DataObject
) -> None:
    lines = [
        json.dumps({"event": "x", "time": n, "by": "agent", "text": "." * length}) + "\n"
        for n, length in enumerate(lengths)
    ]
    whole = "".join(lines).encode()
    stops = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".sweep" / "events" / "agent.jsonl"
        path.parent.mkdir(parents=True)
        reader, found = EventReader(Path(folder)), []
        for stop in [*stops, len(whole)]:
            path.write_bytes(whole[:stop])
            found += [event["time"] for event in reader.new_events()]
            assert len(found) == whole[:stop].count(b"\n")
    assert found == list(range(len(lengths)))


def test_events_come_in_batches_of_a_bounded_size_and_none_is_empty() -> None:
    assert list(in_batches([], 2)) == []
    assert list(in_batches([{"n": 0}, {"n": 1}, {"n": 2}], 2)) == [[{"n": 0}, {"n": 1}], [{"n": 2}]]


def test_the_history_follows_the_latest_attempt(ledger: Ledger, tmp_path: Path) -> None:
    trial = ledger.number_trial("run", {"lr": 0.1})
    ledger.begin(trial)
    ended = {"metrics": {}, "error": "boom", "error_line": "boom", "output_dir": "d", "duration_s": 1.0}
    ledger.record("ended", trial, state="failed", final=False, **ended)
    assert history_of(tmp_path).trials[0].state == "queued"
    ledger.offer_again(trial, "retry")
    retry = ledger.take_offer()
    assert retry is not None
    assert history_of(tmp_path).trials[0].state == "running"
    ledger.record("ended", retry, **{**ended, "state": "finished", "metrics": {"loss": 0.5}, "final": True})
    history = history_of(tmp_path).trials[0]
    assert (history.state, history.trial.attempt, history.metrics) == ("finished", 1, {"loss": 0.5})


def test_nothing_of_the_ledger_is_left_half_written(ledger: Ledger, tmp_path: Path) -> None:
    ledger.begin(ledger.number_trial("run", {}))
    assert not list((tmp_path / ".sweep").rglob(".*"))
