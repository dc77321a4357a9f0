"""Small files that come with what a process streams about its run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.server.support import Server
from wandb_sweep_server.durable import write_whole
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.filestream import StreamPost, parse_post
from wandb_sweep_server.records import Run


@pytest.fixture
def run(server: Server) -> Run:
    return server.start("run1")


def post_of(**message: Any) -> StreamPost:
    return parse_post(json.dumps(message).encode())


def send(server: Server, run: Run, **message: Any) -> Run:
    return server.do(lambda: server.store.take_post(server.store.runs.by_id(run.id), post_of(**message)))


def upload(server: Server, run: Run, name: str, content: bytes) -> None:
    """As PUT /upload/TOKEN does."""
    (file,) = server.do(lambda: server.store.files.announce(run, [name]))
    _, path = server.store.files.place(file.token)
    write_whole(path, content)
    assert server.do(lambda: server.store.file_arrived(file, len(content)))


def test_files_are_listed_and_read_as_any_other(server: Server, run: Run) -> None:
    send(server, run, run_files={"config.yaml": "a: ä\n", "empty": ""}, complete=True, exitcode=0)
    found = server.store.files.of_run(run, None)
    assert [(file.name, file.size_bytes) for file in found] == [("config.yaml", 6), ("empty", 0)]
    assert server.store.files.kept(run, "config.yaml") == "a: ä\n".encode()
    assert server.store.files.kept(run, "empty") == b""
    assert server.store.files.kept(run, "absent") is None


def test_the_last_content_counts_however_it_came(server: Server, run: Run) -> None:
    upload(server, run, "output.log", b"uploaded")
    send(server, run, run_files={"output.log": "sent"})
    assert server.store.files.kept(run, "output.log") == b"sent"
    send(server, run, run_files={"output.log": "again"})
    assert server.store.files.kept(run, "output.log") == b"again"
    upload(server, run, "output.log", b"uploaded again")
    assert server.store.files.kept(run, "output.log") is None
    (file,) = server.store.files.of_run(run, None)
    assert file.size_bytes == len(b"uploaded again")


def test_they_are_gone_with_their_run(server: Server, run: Run) -> None:
    send(server, run, run_files={"config.yaml": "a: 1"})
    server.do(lambda: server.store.runs.delete(run))
    assert server.store.database.value("SELECT COUNT(*) FROM small_files") == 0


def test_what_a_preempted_process_says_twice_changes_nothing_for_its_successor(server: Server, run: Run) -> None:
    last = {
        "files": {"wandb-summary.json": {"offset": 0, "content": ["{}"]}},
        "run_files": {"output.log": "first"},
        "complete": True,
        "exitcode": 75,
    }
    send(server, run, preempting=True)
    send(server, run, **last)
    send(server, run, run_files={"output.log": "second"})
    send(server, run, **last)
    assert server.store.files.kept(run, "output.log") == b"second"


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        (["a"], "must be a JSON object of texts"),
        ({"a": 1}, "must be a JSON object of texts"),
        ({"a": "x" * 65537}, "'a' has 65537 bytes; more than 65536 are uploaded"),
        ({"../a": "x"}, "a name is a relative path"),
    ],
    ids=["list", "number", "large", "outside"],
)
def test_what_is_no_small_file_is_refused_and_nothing_of_the_post_is_stored(
    server: Server, run: Run, files: Any, rule: str
) -> None:
    with pytest.raises(ClientError, match=rule):
        send(server, run, run_files=files, complete=True, exitcode=0)
    assert server.store.files.of_run(run, None) == []
    assert server.store.runs.by_id(run.id).state == "running"
