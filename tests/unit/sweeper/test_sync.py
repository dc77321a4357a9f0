"""What is to be synced, in which pieces; what was noted of it; and what is said when it can't be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper import _cli
from hydra_plugins.hydra_wandb_sweeper._client import SweepClient, SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import ServerError, SweepError
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, SweepRecord
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from hydra_plugins.hydra_wandb_sweeper._sync import make_plan
from hydra_plugins.hydra_wandb_sweeper._sync_journal import Journal, journal_path
from hydra_plugins.hydra_wandb_sweeper._sync_plan import (
    CHUNK_BYTES,
    CHUNK_LINES,
    STREAMS,
    Chunk,
    Ending,
    Manner,
    SourceRun,
    SourceSweep,
    chunks_of,
    ending_of,
    parcels_of,
)
from hydra_plugins.hydra_wandb_sweeper._sync_target import Target
from hydra_plugins.hydra_wandb_sweeper._template import Template
from hydra_plugins.hydra_wandb_sweeper._transport import ServerAccess, Transport
from tests.unit.sweeper.test_client import KEY, Answer, FakeTime, ScriptedServer, data

RUN = SourceRun(
    run_id="r1",
    state="finished",
    exit_code=0,
    display_name="run one",
    description=None,
    notes=None,
    tags=("a",),
    group=None,
    job_type=None,
    host="node1",
    program="train.py",
    repo=None,
    commit=None,
    config='{"lr":{"value":0.1}}',
    summary='{"loss":1}',
    lines={"history": 3, "events": 0, "log": 1},
    file_count=0,
    heartbeat_at="2026-01-01T00:00:00.000Z",
)
SWEEP = SourceSweep(SweepRef("local", "app", "ab12"), "FINISHED", "method: grid", "mine", "2026-01-01T00:00:00.000Z")

# --- the plan ---


@pytest.mark.parametrize(
    ("state", "exit_code", "ending"),
    [
        ("finished", 0, Ending(Manner.EXIT, 0)),
        ("finished", None, Ending(Manner.EXIT, 0)),
        ("failed", 1, Ending(Manner.EXIT, 1)),
        ("failed", 137, Ending(Manner.EXIT, 137)),
        ("failed", None, Ending(Manner.EXIT, 1)),
        ("killed", 255, Ending(Manner.STOP, 255)),
        ("killed", 0, Ending(Manner.STOP, 255)),
        ("killed", None, Ending(Manner.STOP, 255)),
        ("preempted", 3, Ending(Manner.PREEMPT, 3)),
        ("preempted", None, Ending(Manner.PREEMPT, 255)),
        ("crashed", None, Ending(Manner.SILENCE, 255)),
        ("running", None, None),
        ("pending", None, None),
        ("preempting", None, None),
    ],
)
def test_every_state_is_told_in_its_manner(state: str, exit_code: int | None, ending: Ending | None) -> None:
    assert ending_of(replace(RUN, state=state, exit_code=exit_code)) == ending


@pytest.mark.parametrize("name", [field.name for field in fields(SourceRun)])
def test_whatever_changes_of_a_run_changes_its_fingerprint(name: str) -> None:
    changed: Any = {"tags": ("a", "b"), "lines": {**RUN.lines, "log": 2}}.get(name, "other")
    assert replace(RUN, **{name: changed}).fingerprint() != RUN.fingerprint()
    assert replace(RUN).fingerprint() == RUN.fingerprint()


numbered_lines = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, CHUNK_BYTES // 2)), max_size=12
)  # (step from the line before, length)


@given(numbered_lines)
def test_chunks_hold_all_lines_under_their_numbers_and_are_small(steps: list[tuple[int, int]]) -> None:
    numbered, number = [], -1
    for step, length in steps:
        number += step
        numbered.append((number, "x" * length))
    chunks = list(chunks_of("history", numbered))
    assert [(c.offset + i, line) for c in chunks for i, line in enumerate(c.lines)] == numbered
    assert all(sum(map(len, chunk.lines)) <= CHUNK_BYTES for chunk in chunks)


def test_a_long_stream_is_cut_and_never_held_as_a_whole() -> None:
    taken = 0

    def lines() -> Any:
        nonlocal taken
        for taken in range(1, 10 * CHUNK_LINES + 1):
            yield taken - 1, "x"

    chunks = chunks_of("log", lines())
    assert next(chunks).end == CHUNK_LINES
    assert taken == CHUNK_LINES + 1
    assert [chunk.offset for chunk in chunks] == [CHUNK_LINES * i for i in range(1, 10)]


def test_a_line_beyond_the_limit_is_sent_by_itself() -> None:
    chunks = list(chunks_of("log", [(0, "a"), (1, "é" * CHUNK_BYTES), (2, "b")]))
    assert [(chunk.offset, len(chunk.lines)) for chunk in chunks] == [(0, 1), (1, 1), (2, 1)]


@given(st.lists(st.tuples(st.sampled_from(["history", "events", "log"]), st.integers(1, CHUNK_LINES)), max_size=12))
def test_parcels_hold_all_chunks_in_order_and_what_one_request_can_carry(parts: list[tuple[str, int]]) -> None:
    chunks = [Chunk(stream, i * CHUNK_LINES, ("x",) * count) for i, (stream, count) in enumerate(parts)]
    parcels = list(parcels_of(chunks))
    assert [chunk for parcel in parcels for chunk in parcel] == chunks
    for parcel in parcels:
        assert len({chunk.stream for chunk in parcel}) == len(parcel)
        assert sum(len(chunk.lines) for chunk in parcel) <= CHUNK_LINES


def test_a_small_run_is_one_parcel() -> None:
    assert len(list(parcels_of(Chunk(stream, 0, ("x",) * 9) for stream in STREAMS))) == 1


def test_large_chunks_are_not_put_together() -> None:
    large = "x" * (CHUNK_BYTES // 2 + 1)
    assert len(list(parcels_of(Chunk(stream, 0, (large,)) for stream in STREAMS))) == 3


def test_only_runs_that_have_ended_and_are_not_there_as_they_are_now_are_planned(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "me/app")
    runs = [replace(RUN, run_id=name) for name in ("there", "changed", "new")]
    for run in runs[:2]:
        journal.note_run(run.run_id, run.fingerprint())
    runs[1] = replace(runs[1], state="failed")
    plan = make_plan(iter([*runs, replace(RUN, run_id="alive", state="running")]), journal)
    journal.close()
    assert plan.run_ids == ("changed", "new")
    assert (plan.counts.already_there, plan.counts.open, plan.counts.done) == (1, 1, 2)


# --- the journal ---


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.wandb.ai", "sync-api.wandb.ai-ab12.jsonl"),
        ("http://127.0.0.1:8080/", "sync-127.0.0.1-8080-ab12.jsonl"),
        ("https://user:secret@wandb.example/base", "sync-wandb.example-ab12.jsonl"),
    ],
)
def test_a_journal_is_named_after_the_target_s_host_and_the_sweep(url: str, name: str) -> None:
    assert journal_path(Path("/server"), SWEEP.ref, url) == Path("/server", name)


def test_what_was_noted_is_known_to_the_next_process(tmp_path: Path) -> None:
    path = journal_path(tmp_path, SWEEP.ref, "https://api.wandb.ai")
    journal = Journal(path, "me/app")
    journal.note_sweep("xy34")
    journal.note_lines("r1", "f1", "history", 1000)
    journal.note_run("r2", "f2")
    journal.close()
    again = Journal(path, "me/app", read_only=True)
    assert again.sweep_id == "xy34"
    assert again.lines_of("r1", "f1", "history") == 1000
    assert (again.lines_of("r1", "f2", "history"), again.lines_of("r1", "f1", "log")) == (0, 0)
    assert (again.has_run("r2", "f2"), again.has_run("r2", "f1"), again.has_run("r1", "f1")) == (True, False, False)
    assert (again.knows_run("r1"), again.knows_run("r2"), again.knows_run("r3")) == (True, True, False)


def test_half_a_line_of_a_killed_process_is_forgotten_and_harms_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, "me/app")
    journal.note_run("r1", "f1")
    journal.close()
    path.write_bytes(path.read_bytes() + b'{"target": "me/app", "event": "ru')
    journal = Journal(path, "me/app")
    journal.note_run("r2", "f2")
    journal.close()
    again = Journal(path, "me/app", read_only=True)
    assert again.has_run("r1", "f1")
    assert again.has_run("r2", "f2")


def test_another_target_project_knows_nothing_of_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "me/app")
    journal.note_sweep("xy34")
    journal.close()
    assert Journal(tmp_path / "j", "me/other", read_only=True).sweep_id is None


def test_two_processes_do_not_sync_the_same_sweep_at_the_same_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "me/app")
    with pytest.raises(SweepError, match="Another process syncs this sweep now"):
        Journal(tmp_path / "j", "me/app")
    journal.close()
    Journal(tmp_path / "j", "me/app").close()


# --- the target ---


def with_target(answers: list[Answer], call: Callable[[Target], Any]) -> tuple[Any, list[Any]]:
    """Return what a call on a target returns whose server answers so, and the bodies of its requests."""
    server, time = ScriptedServer(), FakeTime()
    server.answers = answers
    access = ServerAccess(server.url, server.url, KEY)
    options: Any = {"patience_s": 100, "sleep": time.sleep, "clock": lambda: time.now}
    try:
        result = call(Target(Transport(lambda: access, **options), SweepClient(lambda: access, **options)))
    finally:
        server.close()
    return result, [body for _, body, _ in server.requests]


def sweeps(*descriptions: str | None) -> Answer:
    edges = [{"node": {"name": f"s{i}", "description": text}} for i, text in enumerate(descriptions)]
    return data(project={"sweeps": {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}}})


MADE = data(upsertSweep={"sweep": {"name": "new", "project": {"name": "app", "entity": {"name": "me"}}}})


@pytest.mark.parametrize("before", [data(project=None), sweeps(), sweeps(None, "another one")])
def test_a_sweep_is_made_where_there_is_none_of_it(before: Answer) -> None:
    made, bodies = with_target([before, MADE], lambda t: t.require_sweep("me", "app", SWEEP))
    assert made == SweepRef("me", "app", "new")
    sent = bodies[1]["variables"]
    assert sent["config"] == SWEEP.config
    assert sent["description"].startswith("mine\n")
    assert SWEEP.mark in sent["description"]


def test_a_sweep_whose_making_was_not_answered_is_found_and_not_made_twice() -> None:
    lost = Answer(502, "bad gateway")
    answers = [sweeps("x"), lost, sweeps("x", SWEEP.marked_description), MADE]
    found, bodies = with_target(answers, lambda t: t.require_sweep("me", "app", SWEEP))
    assert found == SweepRef("me", "app", "s1")
    assert len(bodies) == 3


def test_the_id_of_a_deleted_run_is_explained() -> None:
    refusal = Answer(409, {"errors": [{"message": "run r1 was previously created and deleted"}]})
    with pytest.raises(ServerError, match=r"previously created and deleted.*choose another --project"):
        with_target([refusal], lambda t: t.announce(SWEEP.ref, RUN))


def test_headers_and_files_that_the_server_does_not_want_are_heeded() -> None:
    files = [{"name": "a", "uploadUrl": "http://x/1"}, {"name": "b", "uploadUrl": None}]
    answer = data(createRunFiles={"uploadHeaders": ["X-Kind: a:b"], "files": files})
    places, _ = with_target([answer], lambda t: list(t.create_files(SWEEP.ref, "r1", ["a", "b"])))
    assert [(place.name, place.url, place.headers) for place in places] == [("a", "http://x/1", {"X-Kind": "a:b"})]
    assert "http://x/1" not in repr(places)


# --- the command ---


def sweep_directory(directory: Path, server: ServerRef) -> Path:
    """The directory of a sweep on some server."""
    directory.mkdir()
    record = SweepRecord(
        sweep=SWEEP.ref, server=server, url="https://wandb.ai/me/app/sweeps/ab12", name="app", method="grid",
        metric_name="loss", metric_goal="minimize", template=Template(), parameters={}, expected_trials=1,
    )  # fmt: skip
    Ledger.create(directory, record, "test")
    return directory


def said(*arguments: str) -> str:
    """What `hydra-sweep sync` says, which fails."""
    result = CliRunner().invoke(_cli.main, ["sync", *arguments])
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_without_a_login_it_says_how_to_log_in(tmp_path: Path) -> None:
    assert "There is no login for https://api.wandb.ai: neither" in said(str(tmp_path))
    assert "`wandb login --host https://wandb.example`" in said(str(tmp_path), "--to", "https://wandb.example/")


@pytest.mark.usefixtures("login")
def test_a_target_that_is_no_server_is_refused(tmp_path: Path) -> None:
    assert "--to elsewhere: must be 'wandb' or the URL" in said(str(tmp_path), "--to", "elsewhere")


@pytest.mark.usefixtures("login")
def test_a_directory_without_a_sweep_is_refused(tmp_path: Path) -> None:
    assert "neither a sweep's directory" in said(str(tmp_path))


@pytest.mark.usefixtures("login")
def test_a_sweep_that_is_on_wandb_already_is_refused(tmp_path: Path) -> None:
    directory = sweep_directory(tmp_path / "sweep", ServerRef("wandb", "https://api.wandb.ai"))
    assert "is on W&B already: https://wandb.ai/me/app/sweeps/ab12" in said(str(directory))


@pytest.mark.usefixtures("login")
def test_data_that_was_moved_is_missed_and_no_empty_server_started(tmp_path: Path) -> None:
    directory = sweep_directory(tmp_path / "sweep", ServerRef("local", str(tmp_path / "gone")))
    assert f"isn't in {tmp_path / 'gone'} any more" in said(str(directory))
    assert not (tmp_path / "gone").exists()


@pytest.mark.usefixtures("login")
def test_a_choice_among_one_sweep_is_refused(tmp_path: Path) -> None:
    directory = sweep_directory(tmp_path / "sweep", ServerRef("local", str(tmp_path)))
    assert "--sweep is for a server's directory" in said(str(directory), "--sweep", "ab12")


def test_the_journal_is_readable_lines_without_a_credential(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "me/app")
    journal.note_run("r1", "f1")
    journal.close()
    (line,) = (tmp_path / "j").read_text().splitlines()
    assert json.loads(line) == {"target": "me/app", "event": "run", "run_id": "r1", "fingerprint": "f1"}
