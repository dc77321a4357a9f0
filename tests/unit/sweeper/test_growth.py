"""What a sweep asks all the time costs the same however many trials it has: steps are counted, nobody times."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._files import create_first
from hydra_plugins.hydra_wandb_sweeper._history import History
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger
from hydra_plugins.hydra_wandb_sweeper._outcome import FAILED, FINISHED
from hydra_plugins.hydra_wandb_sweeper._slurm import Queue
from hydra_plugins.hydra_wandb_sweeper._trial_table import RUNNING
from tests.unit.sweeper.test_ledger import RECORD
from tests.unit.sweeper.test_supervisor import Bench

FEW, MANY = 30, 900
AGENTS = 10


def steps_of(work: Callable[[], object]) -> int:
    """How many of Python's instructions it takes."""
    steps = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.disable()  # a collection runs what hypothesis and destructors have for it
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return steps


def system_calls_of(work: Callable[[], object]) -> Counter[str]:
    """What is asked of the file system, by name."""
    calls: Counter[str] = Counter()

    def note(_: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and getattr(called, "__module__", None) in ("posix", "io", "_io"):
            calls[called.__name__] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def event(name: str, by: str, trial: int | None = None, **details: Any) -> dict[str, Any]:
    about = {} if trial is None else {"trial": trial, "attempt": 0, "run_id": f"run{trial}"}
    return {"event": name, "by": by, "time": 0.0, **about, **details}


def started(agent: int) -> dict[str, Any]:
    process = {"host": "h", "pid": 1, "process_start": None, "restarts": 0}
    return event("agent_started", f"agent-{agent}", job_number=agent, node=f"n{agent}", **process)


def ended(trial: int, by: str, state: str = FINISHED, *, final: bool = True) -> dict[str, Any]:
    what = {"metrics": {}, "error_line": None, "output_dir": None, "duration_s": 1.0}
    return event("ended", by, trial, state=state, final=final, **what)


def claimed(trial: int, by: str, attempt: int = 0) -> dict[str, Any]:
    what = {"args": {}, "failures": 0, "resumes": attempt > 0}
    return {**event("claimed", by, trial, **what), "attempt": attempt}


def history_of(trials: int) -> History:
    """Of so many trials that have finished, and one that runs in each agent."""
    history = History()
    history.add(started(agent) for agent in range(AGENTS))
    for trial in range(trials):
        by = f"agent-{trial % AGENTS}"
        history.add([claimed(trial, by), ended(trial, by)])
    history.add(claimed(trials + agent, f"agent-{agent}") for agent in range(AGENTS))
    history.add([event("agent_ended", "agent-0", reason="", gave_up=True, found_no_more=False)])
    return history


QUESTIONS: dict[str, Callable[[History], object]] = {
    "how many trials there are": lambda history: history.counts(),
    "how far the sweep is": lambda history: history.progress,
    "which nodes are bad": lambda history: history.bad_nodes(),
    "what an agent left": lambda history: history.open_trials_of("agent-3"),
    "what agents a job had": lambda history: history.agents_of_job(3),
    "the end of a trial": lambda history: history.add([ended(len(history.trials) - 1, "agent-9")]),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_to_the_history_takes_no_more_steps_with_thirty_times_the_trials(question: str) -> None:
    few, many = (history_of(count) for count in (FEW, MANY))
    assert steps_of(lambda: QUESTIONS[question](many)) == steps_of(lambda: QUESTIONS[question](few))


EVENTS = st.one_of(
    st.builds(claimed, st.integers(0, 3), st.sampled_from(["agent-0", "agent-1"]), st.integers(0, 2)),
    st.builds(
        lambda trial, attempt, state, final: {**ended(trial, "any", state, final=final), "attempt": attempt},
        st.integers(0, 3),
        st.integers(0, 2),
        st.sampled_from([FINISHED, FAILED]),
        st.booleans(),
    ),
    st.builds(
        lambda trial, attempt: {**event("offered", "any", trial), "attempt": attempt},
        st.integers(0, 3),
        st.integers(0, 3),
    ),
)


@given(st.lists(EVENTS, max_size=40))
def test_what_the_history_counts_is_what_its_trials_say(events: list[dict[str, Any]]) -> None:
    history, known = History(), set()
    history.add(started(agent) for agent in range(2))
    for happened in events:
        # No trial ends that nobody has claimed.
        if happened["event"] == "claimed" or happened["trial"] in known:
            known.add(happened["trial"])
            history.add([happened])
    trials = history.trials.values()
    assert history.counts() == Counter(t.state for t in trials)
    for agent in history.agents:
        mine = [t for t in trials if t.agent == agent and t.state == RUNNING]
        assert sorted(history.open_trials_of(agent), key=lambda t: t.trial.number) == sorted(
            mine, key=lambda t: t.trial.number
        )
    history.add(event("agent_ended", a, reason="", gave_up=True, found_no_more=False) for a in list(history.agents))
    good = {int(t.agent[-1]) for t in trials if t.state == FINISHED}
    assert history.bad_nodes() == ([f"n{agent}" for agent in range(2) if agent not in good] if good else [])


def test_a_free_name_is_found_with_one_file_however_many_are_taken(tmp_path: Path) -> None:
    """Agents that claim at the same moment all want the same number."""
    for number in range(50):
        (tmp_path / str(number)).touch()
    names = [tmp_path / str(number) for number in range(60)]
    calls = system_calls_of(lambda: create_first(names, {"a": 1}))
    assert (tmp_path / "50").read_text() == '{"a": 1}'
    assert (calls["open"], calls["unlink"], calls["link"]) == (1, 1, 51)
    assert not list(tmp_path.glob(".*"))


def test_no_name_is_free(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("before")
    assert create_first([tmp_path / "taken"], 1) is None
    assert (tmp_path / "taken").read_text() == "before"
    assert not list(tmp_path.glob(".*"))


def claim_and_settle(ledger: Ledger, run_id: str) -> None:
    """What an agent asks of the ledger from one trial to the next."""
    assert ledger.take_offer() is None
    ledger.claimed_count()
    trial = ledger.number_trial(run_id, {})
    assert ledger.begin(trial)
    ledger.record("ended", trial)


def test_a_trial_asks_no_more_of_the_file_system_after_thirty_times_the_trials(tmp_path: Path) -> None:
    ledger, calls = Ledger.create(tmp_path, RECORD, "agent-0"), []
    for number in range(MANY + 1):
        work = partial(claim_and_settle, ledger, f"run{number}")
        if number in (FEW, MANY):
            calls.append(system_calls_of(work))
        else:
            work()
    few, many = calls
    assert few == many


def test_a_failure_asks_no_more_of_the_file_system_after_thirty_times_the_failures(tmp_path: Path) -> None:
    ledger, calls = Ledger.create(tmp_path, RECORD, "agent-0"), []
    for number in range(MANY + 1):
        work = partial(ledger.failures.mark, number)
        if number in (FEW, MANY):
            calls.append(system_calls_of(work))
        else:
            assert work() == number + 1
    few, many = calls
    assert few == many


def test_the_events_of_agents_that_have_ended_are_not_opened_again(tmp_path: Path) -> None:
    """Each time a job is put back into the queue it has other agents, and so other files."""
    supervisor, agent = Ledger.create(tmp_path, RECORD, "supervisor"), Ledger(tmp_path, "agent-0")
    reader = EventReader(tmp_path)
    supervisor.record("jobs_added", jobs=1)
    for number in range(20):
        Ledger(tmp_path, f"agent-{number}").record("agent_ended")
    assert len(list(reader.new_events())) == 21
    assert system_calls_of(lambda: list(reader.new_events()))["open"] == 1
    agent.record("agent_started")
    supervisor.record("jobs_added", jobs=1)
    assert [e["by"] for e in reader.new_events()] == ["agent-0", "supervisor"]
    assert list(reader.new_events()) == []


def test_the_job_queue_looks_at_no_job_until_it_is_to_be_asked_again() -> None:
    """Each job asks in each of the supervisor's rounds: it must not be a look at all jobs for each of them."""
    queue, looks = Queue(lambda _: "7 RUNNING\n8 RUNNING\n", (3.0, 30.0), lambda: 0.0), []

    def job_ids() -> Iterator[str]:
        looks.append("")
        yield from ("7", "8")

    for _ in range(20):
        assert set(queue.states(job_ids())) == {"7", "8"}
    assert len(looks) == 1


def test_a_supervisor_of_long_trials_looks_for_events_less_often(tmp_path: Path) -> None:
    """In an hour and more in which nothing happens; the round after a job's end reads them at once."""
    Ledger.create(tmp_path, RECORD, "supervisor")
    bench = Bench(tmp_path, 1)
    bench.cluster.work = lambda number: bench.agent(number, [0], dies_in=0) and False

    def end_after_all() -> None:
        if bench.naps == 4_000:
            bench.cluster.work = lambda number: bench.agent(number, [])
            bench.cluster.jobs[0].ended = True

    bench.on_nap = end_after_all
    calls = system_calls_of(lambda: bench.supervise(1))
    assert bench.naps < 4_100
    assert calls["scandir"] < bench.naps / 4
