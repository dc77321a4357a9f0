"""Files of runs stay below their run's directory, whatever they are called."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.support import Server
from wandb_sweep_server.durable import write_whole
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.records import Run


@pytest.fixture
def run(server: Server) -> Run:
    return server.start("run1")


def run_directory(server: Server) -> Path:
    return server.directory / "files" / "local" / "p" / "run1"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "./",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "/etc/passwd",
        "//x",
        "a\x00b",
        "a\\..\\b",
        "..\\x",
        "x" * 1025,
        "a/" + "x" * 241,
        "ä" * 121,
    ],
)
def test_a_name_that_leaves_the_directory_of_the_run_is_refused(server: Server, run: Run, name: str) -> None:
    rule = "a name is a relative path without '..', of at most 1024 characters and at most 240 bytes between"
    rule = f"^file {re.escape(repr(name))}: {rule}"
    with pytest.raises(ClientError, match=rule):
        server.do(lambda: server.store.files.announce(run, ["fine.txt", name]))
    with pytest.raises(ClientError, match=rule):
        server.store.files.path(server.project(), run, name)
    assert server.store.files.of_run(run, None) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.sampled_from(["..", ".", "/", "a", "\\", "ä", "", " ", "~", "%2e"]) | st.text(max_size=3)).map(
        "".join
    )
)
def test_every_name_stays_below_the_run_or_is_refused(server: Server, run: Run, name: str) -> None:
    try:
        path = server.store.files.path(server.project(), run, name)
    except ClientError:
        return
    below = Path(os.path.normpath(path)).relative_to(run_directory(server))
    assert below.parts


def test_files_are_announced_uploaded_and_found(server: Server, run: Run) -> None:
    files = server.store.files
    text, deep = server.do(lambda: files.announce(run, ["output.log", "media/./images//a b.png"]))
    assert text.token != deep.token
    assert files.of_run(run, None) == []
    for announced, content in ((text, b"one"), (text, b"three"), (deep, b"")):
        found, path = files.place(announced.token)
        write_whole(path, content)
        server.do(lambda found=found, content=content: files.stored(found, len(content)))
    assert [(file.name, file.size_bytes) for file in files.of_run(run, None)] == [
        ("media/images/a b.png", 0),
        ("output.log", 5),
    ]
    assert files.path(server.project(), run, "output.log").read_bytes() == b"three"
    assert [file.name for file in files.of_run(run, ["output.log", "other"])] == ["output.log"]
    assert sorted(p.name for p in run_directory(server).iterdir()) == ["media", "output.log"]


def test_a_file_that_is_announced_again_keeps_its_token(server: Server, run: Run) -> None:
    first, second = (server.do(lambda: server.store.files.announce(run, ["a"]))[0] for _ in range(2))
    assert first == second


def test_the_same_name_in_two_runs_is_two_files(server: Server, run: Run) -> None:
    other = server.start("run2")
    tokens = {server.do(lambda r=r: server.store.files.announce(r, ["a"]))[0].token for r in (run, other)}
    assert len({server.store.files.place(token)[1] for token in tokens}) == 2


@pytest.mark.parametrize("token", ["", "x", "' OR 1=1 --"])
def test_an_unknown_upload_address_is_refused(server: Server, token: str) -> None:
    with pytest.raises(NotFoundError, match="no file has this upload address"):
        server.store.files.place(token)


def test_too_many_files_at_once_are_refused(server: Server, run: Run) -> None:
    with pytest.raises(ClientError, match="at most 10000 files at once, not 10001"):
        server.store.files.announce(run, ["a"] * 10_001)


def test_a_reader_sees_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_whole(path, b"old")
    with open(path, "rb") as reader:
        write_whole(path, b"new content")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new content"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_the_longest_names_can_be_written(server: Server, run: Run) -> None:
    path = server.store.files.path(server.project(), run, "ä" * 120)
    write_whole(path, b"x")
    assert path.read_bytes() == b"x"
