"""Anything at all is sent to the app: the answer is never the server's fault, and what it keeps stays legal."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.server import client as operations
from tests.unit.server.asgi import KEY, Answer, App
from tests.unit.server.support import GRID_OF_FOUR, Server
from wandb_sweep_server.files import SMALL_BYTES
from wandb_sweep_server.records import global_id
from wandb_sweep_server.run_states import LIVE, STATES
from wandb_sweep_server.scheduling import STATES as SWEEP_STATES

MUCH = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
STREAM = "/files/local/p/{run}/file_stream"

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400])
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


class World:
    """A sweep of four trials in work, with an agent, and a run to stream to."""

    def __init__(self, directory: Path) -> None:
        self.server = Server(directory)
        self.app = App(self.server)
        self.sweep = self.server.sweep(GRID_OF_FOUR)
        self.agent = self.server.agent(self.sweep)
        self.run = self.server.claim(self.agent)
        self.server.start(self.run, self.sweep)
        self.known = {path.name for path in directory.iterdir()} | {"files", "incoming"}

    def valid_requests(self) -> list[tuple[str, Any]]:
        """What the SDK sends, as path and JSON body."""
        queries = {
            operations.HEARTBEAT: {
                "id": global_id("Agent", self.agent.id),
                "metrics": "{}",
                "runState": json.dumps({self.run: True}),
            },
            operations.UPSERT_RUN: {
                "name": self.run,
                "project": "p",
                "sweep": self.sweep.name,
                "config": '{"lr": {"value": 0.1}}',
            },
            operations.UPSERT_SWEEP: {"id": global_id("Sweep", self.sweep.id), "state": "RUNNING"},
            operations.CREATE_AGENT: {"host": "h", "projectName": "p", "sweep": self.sweep.name},
            operations.RUNS: {"project": "p", "filters": '{"state": {"$in": ["running"]}}', "order": "+created_at"},
            operations.CREATE_FILES: {"project": "p", "run": self.run, "files": ["a/b.txt", "c"]},
        }
        history = {"offset": 3, "content": ['{"_step": 3, "loss": NaN}']}
        summary = {"offset": 0, "content": ['{"loss": 1}']}
        return [
            *(("/graphql", {"query": query, "variables": variables}) for query, variables in queries.items()),
            (STREAM.format(run=self.run), {"files": {"wandb-history.jsonl": history, "wandb-summary.json": summary}}),
            (STREAM.format(run=self.run), {"complete": True, "exitcode": 1, "preempting": True}),
        ]

    def check(self, answer: Answer) -> None:
        assert answer.status < 500, answer.body
        assert answer.status == 200 or answer.message
        runs, sweep = self.server.runs(), self.server.sweep_now(self.sweep)
        assert sweep.state in SWEEP_STATES
        for run in runs:
            assert run.state in STATES
            assert run.queued_at is None or run.state in ("pending", "crashed", "preempted")
            assert run.state not in LIVE or run.exit_code is None
            for text in (run.config, run.summary, run.tags):
                json.loads(text)
        handed_out = [run.args for run in runs if run.args and run.sweep_id == sweep.id]
        assert len(handed_out) == len(set(handed_out)) == sweep.next_trial
        assert {path.name for path in self.server.directory.iterdir()} <= self.known


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.app.close()
    world.server.store.close()


@MUCH
@given(st.data())
def test_a_request_with_a_part_replaced_or_missing_is_no_fault_of_the_server(
    world: World, data: st.DataObject
) -> None:
    path, body = data.draw(st.sampled_from(world.valid_requests()))
    body = json.loads(json.dumps(body))
    places = list(places_of(body))
    holder, key = data.draw(st.sampled_from(places))
    if isinstance(holder, dict) and data.draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = data.draw(JSON_VALUES | JSON_VALUES.map(json.dumps))
    world.check(world.app.ask("POST", path, json.dumps(body).encode()))


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value where another value could be."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places_of(item)


@MUCH
@given(st.data(), st.lists(st.tuples(st.floats(0, 1), st.sampled_from("fdi"), st.integers(0, 255)), max_size=6))
def test_a_request_with_bytes_changed_on_its_way_is_no_fault_of_the_server(
    world: World, data: st.DataObject, changes: list[tuple[float, str, int]]
) -> None:
    path, body = data.draw(st.sampled_from(world.valid_requests()))
    is_packed = data.draw(st.booleans())
    content = bytearray(gzip.compress(json.dumps(body).encode()) if is_packed else json.dumps(body).encode())
    for share, kind, byte in changes:
        at = int(share * (len(content) - 1))
        content[at : at + (kind != "i")] = b"" if kind == "d" else bytes([byte])
    headers = {"content_encoding": "gzip"} if is_packed else {}
    world.check(world.app.ask("POST", path, bytes(content), **headers))


@MUCH
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "X"]),
    st.sampled_from(["/", "/files/local/p/r/", "/upload/", "/graphql", "/healthz", "/sdk/otel/v1/"]),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.binary(max_size=50),
    st.sampled_from([KEY, None, "wrong"]),
)
def test_whatever_is_asked_for_is_answered(
    world: World, method: str, start: str, rest: str, body: bytes, key: str | None
) -> None:
    answer = world.app.ask(method, start + rest, body, key=key)
    assert answer.status < 500
    if key != KEY and not start.startswith(("/upload", "/healthz", "/sdk")):
        assert answer.status in (401, 429)
    assert world.server.run(world.run).state == "running"


NAMES = st.lists(
    st.text(st.characters(exclude_categories=()), max_size=8)
    | st.sampled_from(["..", ".", "", "a", "x" * 239, "\0"]),
    min_size=1,
    max_size=5,
).map("/".join)


@MUCH
@given(NAMES, st.binary(max_size=100) | st.binary(max_size=100).map(lambda content: content.ljust(SMALL_BYTES + 1)))
def test_a_file_of_any_name_is_kept_within_its_run_or_refused(world: World, name: str, content: bytes) -> None:
    answer = world.app.graphql(operations.CREATE_FILES, project="p", run=world.run, files=[name])
    world.check(answer)
    if answer.status != 200:
        return
    (file,) = answer.json()["data"]["createRunFiles"]["files"]
    stored = world.app.ask("PUT", file["uploadUrl"].partition("//h")[2], content, key=None)
    world.check(stored)
    if stored.status == 200:
        stored_file, place = world.server.store.files.place(file["uploadUrl"].rpartition("/")[2])
        kept = world.server.store.files.kept(world.server.run(world.run), stored_file.name)
        assert (place.read_bytes() if kept is None else kept) == content
        assert (kept is None) == (len(content) > SMALL_BYTES)
        assert (world.server.directory / "files" / "local" / "p" / world.run) in place.resolve().parents


@MUCH
@given(st.lists(st.sampled_from(['{"', "a", '":', "[", "]", "{", "}", "1", ",", "NaN", "\\ud800", '"']), max_size=40))
def test_pieces_of_json_in_any_order_are_no_fault_of_the_server(world: World, pieces: list[str]) -> None:
    for path in ("/graphql", STREAM.format(run=world.run)):
        world.check(world.app.ask("POST", path, "".join(pieces).encode()))


WORDS = [
    "query",
    "mutation",
    "{",
    "}",
    "(",
    ")",
    ":",
    "$",
    "x",
    "...",
    "on",
    "Run",
    "fragment",
    "viewer",
    "id",
    "!",
    '"',
]


@MUCH
@given(st.lists(st.sampled_from([*WORDS, "[", "]", "@skip", "@include", "if", "true", "null", "project", "runs"])))
def test_pieces_of_graphql_in_any_order_are_no_fault_of_the_server(world: World, words: list[str]) -> None:
    for query in (" ".join(words), "{ viewer { id } } " + " ".join(words)):
        world.check(world.app.graphql(query))


def test_the_valid_requests_are_answered(world: World) -> None:
    for path, body in itertools.islice(world.valid_requests(), 7):
        assert world.app.ask("POST", path, json.dumps(body).encode()).status == 200, body
