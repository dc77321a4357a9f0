"""What processes stream: read from the request body, stored by line number."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.support import Server
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.filestream import Chunk, StreamPost, parse_post

HISTORY = "wandb-history.jsonl"


def parse(message: Any) -> StreamPost:
    return parse_post(json.dumps(message).encode())


@pytest.mark.parametrize(
    ("message", "post"),
    [
        ({}, StreamPost()),
        ({"files": {}}, StreamPost()),
        ({"files": None}, StreamPost()),
        ({"uploaded": ["a.txt"], "dropped": 0, "failed": False}, StreamPost()),
        ({"files": {"other.txt": {"offset": 0, "content": ["x"]}}}, StreamPost()),
        (
            {"files": {HISTORY: {"offset": 3, "content": ["{}", "{}"]}}},
            StreamPost((Chunk("history", 3, ("{}", "{}")),)),
        ),
        ({"files": {HISTORY: {"content": ["{}"]}}}, StreamPost((Chunk("history", 0, ("{}",)),))),
        ({"files": {HISTORY: {"offset": 0, "content": []}}}, StreamPost((Chunk("history", 0, ()),))),
        (
            {
                "files": {
                    "output.log": {"offset": 1, "content": ["l"]},
                    "wandb-events.jsonl": {"offset": 2, "content": ["e"]},
                }
            },
            StreamPost((Chunk("events", 2, ("e",)), Chunk("log", 1, ("l",)))),
        ),
        ({"files": {"wandb-summary.json": {"content": ['{"a":1}', '{"a":2}']}}}, StreamPost(summary={"a": 2})),
        ({"files": {"wandb-summary.json": {"content": []}}}, StreamPost()),
        ({"files": {"wandb-summary.json": {"content": ["[1]"]}}}, StreamPost()),
        ({"files": {"wandb-summary.json": None}}, StreamPost()),
        ({"preempting": True}, StreamPost(preempting=True)),
        ({"preempting": "yes"}, StreamPost()),
        ({"complete": True, "exitcode": 0}, StreamPost(exit_code=0)),
        ({"complete": True, "exitcode": 255}, StreamPost(exit_code=255)),
        ({"complete": True, "exitcode": -9}, StreamPost(exit_code=-9)),
        ({"complete": True}, StreamPost(exit_code=0)),
        ({"complete": True, "exitcode": "1"}, StreamPost(exit_code=0)),
        ({"complete": True, "exitcode": 10**30}, StreamPost(exit_code=0)),
        # The old uploader says with every post that it isn't done.
        ({"complete": False, "exitcode": 1}, StreamPost()),
        ({"exitcode": 1}, StreamPost()),
    ],
)
def test_a_post_is_read(message: dict[str, Any], post: StreamPost) -> None:
    assert parse(message) == post


def test_an_empty_body_is_a_sign_of_life() -> None:
    assert parse_post(b"") == StreamPost()


def test_bare_nan_and_infinity_are_read_wherever_the_sdk_writes_them() -> None:
    body = b'{"files": {"wandb-summary.json": {"content": ["{\\"a\\": NaN, \\"b\\": -Infinity}"]}}, "x": NaN}'
    summary = parse_post(body).summary
    assert summary is not None
    assert math.isnan(summary["a"])
    assert summary["b"] == -math.inf


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not valid JSON"),
        (b"\xff", "the body is not valid JSON"),
        (b"[" * 100_000, "the body is not valid JSON: nested too deeply"),
        (b"[]", "the body must be a JSON object, not list"),
        (b'{"files": [1]}', "files must be a JSON object"),
        (b'{"files": {"output.log": 3}}', "output.log: offset None"),
        (b'{"files": {"output.log": {"offset": -1, "content": []}}}', "output.log: offset -1 must be an integer"),
        (b'{"files": {"output.log": {"offset": 1.0, "content": []}}}', "output.log: offset 1.0 must be"),
        (b'{"files": {"output.log": {"offset": true, "content": []}}}', "output.log: offset True must be"),
        (b'{"files": {"output.log": {"offset": 9223372036854775807, "content": ["a"]}}}', "output.log: offset 9223"),
        (
            b'{"files": {"output.log": {"offset": 0, "content": "a"}}}',
            "output.log: content must be a list of strings",
        ),
        (b'{"files": {"output.log": {"offset": 0, "content": ["a", 1]}}}', "output.log: content must be a list"),
        (b'{"files": {"output.log": {"offset": 0}}}', "output.log: content must be a list"),
        (b'{"files": {"wandb-summary.json": {"content": ["{"]}}}', "wandb-summary.json is not valid JSON"),
        (b'{"files": {"wandb-summary.json": {"content": [7]}}}', "wandb-summary.json is not valid JSON"),
    ],
    ids=lambda part: repr(part)[:60],
)
def test_a_malformed_post_is_refused_by_part_and_rule(body: bytes, message: str) -> None:
    with pytest.raises(ClientError, match=f"file_stream: .*{message}"):
        parse_post(body)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 5)), max_size=5),
    st.randoms(use_true_random=False),
)
def test_chunks_sent_again_and_in_any_order_give_the_same_lines(
    server: Server, lines: list[str], repeats: list[tuple[int, int]], rng: random.Random
) -> None:
    texts = [f"{number} {line}" for number, line in enumerate(lines)]
    chunks = [(number, [text]) for number, text in enumerate(texts)]
    chunks += [(first, texts[first : first + count]) for first, count in repeats if first < len(texts)]
    rng.shuffle(chunks)
    name = server.start(None).name
    for offset, content in chunks:
        server.post(name, {"files": {HISTORY: {"offset": offset, "content": content}}})
    assert server.lines(name) == texts
    assert server.run(name).history_lines == len(texts)


def test_lines_sent_again_overwrite_and_those_after_them_stay(server: Server) -> None:
    # wandb 0.19 begins a requeued run at line 0; the console rewrites its last lines.
    name = server.start(None).name
    server.post(name, {"files": {"output.log": {"offset": 0, "content": ["1", "2", "3"]}}})
    server.post(name, {"files": {"output.log": {"offset": 1, "content": ["two"]}}})
    assert server.lines(name, "log") == ["1", "two", "3"]
    assert server.run(name).log_lines == 3


def test_lines_with_half_a_surrogate_pair_are_stored(server: Server) -> None:
    # A console's bytes that are no UTF-8 arrive like this; an error would be repeated for days.
    name = server.start(None).name
    server.post(name, {"files": {"output.log": {"offset": 0, "content": ["caf\udce9"]}}})
    assert server.lines(name, "log") == ["caf\ufffd"]


def test_the_last_summary_is_the_whole_summary(server: Server) -> None:
    name = server.start(None).name
    for text in ('{"a": 1, "b": 2}', '{"a": NaN}'):
        server.post(name, {"files": {"wandb-summary.json": {"offset": 0, "content": [text]}}})
    assert json.loads(server.run(name).summary) == {"a": "NaN"}


def test_everything_in_one_post_counts(server: Server) -> None:
    name = server.start(None).name
    run = server.post(
        name,
        {
            "files": {
                HISTORY: {"offset": 0, "content": ["{}"]},
                "wandb-summary.json": {"offset": 0, "content": ['{"loss": 1}']},
            },
            "complete": True,
            "exitcode": 3,
        },
    )
    assert (run.state, run.exit_code, run.summary, run.history_lines) == ("failed", 3, '{"loss":1}', 1)
