"""server.json, the API key and the lock: who serves a directory, and who may know how to talk to it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from wandb_sweep_server.address import (
    ServerAddress,
    api_key,
    keep_out_of_git,
    keep_port,
    last_port,
    read_address,
    remove_address,
    write_address,
)
from wandb_sweep_server.lock import BEAT_S, DirectoryLock, DirectoryOwnedError, LockError


@pytest.fixture
def address(tmp_path: Path) -> ServerAddress:
    return ServerAddress("http://127.0.0.1:1", "local-0", tmp_path, 4711, "127.0.0.1", "i1")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Nothing may depend on the user's umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_git_takes_no_notice_of_a_server_s_directory(tmp_path: Path) -> None:
    directory = tmp_path / ".wandb_sweep_server"
    directory.mkdir()
    api_key(directory)
    keep_out_of_git(directory)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert listed.stdout == ""


def test_a_directory_that_the_user_has_named_and_a_gitignore_of_the_user_s_own_stay_as_they_are(
    tmp_path: Path,
) -> None:
    keep_out_of_git(tmp_path)
    assert list(tmp_path.iterdir()) == []
    directory = tmp_path / ".wandb_sweep_server"
    directory.mkdir()
    (directory / ".gitignore").write_text("api_key\n")
    keep_out_of_git(directory)
    assert (directory / ".gitignore").read_text() == "api_key\n"


def test_an_address_survives_the_disk(address: ServerAddress) -> None:
    write_address(address)
    assert read_address(address.directory) == address


@pytest.mark.usefixtures("open_umask")
def test_secrets_are_for_the_eyes_of_their_user_only(address: ServerAddress) -> None:
    write_address(address)
    api_key(address.directory)
    DirectoryLock(address.directory)
    modes = {path.name: mode(path) for path in address.directory.iterdir()}
    assert modes == {"server.json": 0o600, "api_key": 0o600, "server.lock": 0o600}


def test_the_key_is_not_shown_where_an_address_is(address: ServerAddress) -> None:
    assert address.api_key not in repr(address)


def test_the_key_has_the_form_that_the_sdk_wants_and_stays(tmp_path: Path) -> None:
    key = api_key(tmp_path)
    assert re.fullmatch(r"local-[0-9a-f]{40}", key)
    assert api_key(tmp_path) == key


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"url": "u"}', "\ufffd", "[" * 10])
def test_what_is_no_address_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    assert read_address(tmp_path) is None


def test_no_server_ever_is_no_address(tmp_path: Path) -> None:
    assert read_address(tmp_path) is None
    assert read_address(tmp_path / "missing") is None


def test_an_address_is_removed_by_the_server_that_wrote_it_only(address: ServerAddress) -> None:
    successor = replace(address, instance="i2", url="http://127.0.0.1:2")
    write_address(address)
    write_address(successor)
    remove_address(address)
    assert read_address(address.directory) == successor
    remove_address(successor)
    remove_address(successor)
    assert list(address.directory.iterdir()) == []


def test_an_address_is_replaced_as_a_whole(address: ServerAddress) -> None:
    write_address(address)
    with open(address.directory / "server.json") as reader:
        write_address(replace(address, url="http://[::1]:2"))
        assert json.load(reader)["url"] == address.url
    assert [path.name for path in address.directory.iterdir()] == ["server.json"]


def test_the_port_is_kept_for_the_next_server(tmp_path: Path) -> None:
    assert last_port(tmp_path) == 0
    keep_port(tmp_path, 4711)
    assert last_port(tmp_path) == 4711
    (tmp_path / "port").write_text("x")
    assert last_port(tmp_path) == 0


def test_a_second_lock_on_a_directory_is_refused_and_names_the_owner(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(DirectoryOwnedError) as refusal:
        DirectoryLock(tmp_path)
    for word in (str(tmp_path), f"process {os.getpid()} on {socket.gethostname()}, since 20"):
        assert word in str(refusal.value)
    del lock


def test_other_directories_are_free(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        DirectoryLock(tmp_path / name)


def test_a_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom wandb_sweep_server.lock import DirectoryLock\n"
        "lock = DirectoryLock(Path(sys.argv[1]))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # A long text of a former owner must not shine through that of the next.
    (tmp_path / "server.lock").write_text("x" * 500)
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert set(json.loads((tmp_path / "server.lock").read_text())) == {"pid", "host", "since"}
    DirectoryLock(tmp_path)


def of_another_machine(directory: Path, **more: object) -> Path:
    """A directory that a process of another machine owns or owned."""
    owner = {"pid": 4711, "host": "node7", "since": "2026-01-02 03:04:05+00:00", **more}
    (directory / "server.lock").write_text(json.dumps(owner))
    return directory


def test_an_owner_on_another_machine_is_believed_to_live_while_it_beats_though_the_lock_does_not_hold(
    tmp_path: Path,
) -> None:
    path = of_another_machine(tmp_path) / "server.lock"
    with pytest.raises(DirectoryOwnedError, match="process 4711 on node7, since 2026-01-02") as refusal:
        DirectoryLock(tmp_path, host="node1", sleep=lambda _: os.utime(path))
    assert "locks don't hold" in str(refusal.value)
    assert "node7" in path.read_text()


def test_a_directory_of_a_silent_owner_on_another_machine_is_taken_over_after_more_than_two_beats(
    tmp_path: Path,
) -> None:
    slept_s: list[float] = []
    lock = DirectoryLock(of_another_machine(tmp_path), host="node1", sleep=slept_s.append)
    assert sum(slept_s) > 2 * BEAT_S
    assert '"node1"' in (tmp_path / "server.lock").read_text()
    del lock


@pytest.mark.parametrize("text", ["", "x", "[]", json.dumps({"pid": 1, "host": "node1", "since": "then"})])
def test_nobody_waits_for_an_owner_that_ended_cleanly_or_was_of_this_machine(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.lock").write_text(text)
    slept_s: list[float] = []
    with DirectoryLock(tmp_path, host="node1", sleep=slept_s.append):
        assert slept_s == []
    assert (tmp_path / "server.lock").read_text() == ""
    DirectoryLock(tmp_path, host="node2", sleep=slept_s.append)
    assert slept_s == []


def test_a_beat_is_seen_by_who_opens_the_file_anew(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path, host="node7")
    os.utime(tmp_path / "server.lock", (0, 0))
    lock.beat()
    assert (tmp_path / "server.lock").stat().st_mtime > 0


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(LockError, match=f"{tmp_path} can't be locked: No locks available"):
        DirectoryLock(tmp_path)


def serve(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The server's own program, for where it ends at once."""
    command = [sys.executable, "-m", "wandb_sweep_server", "--dir", str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_server_does_not_start_where_another_one_serves(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    ended = serve(tmp_path)
    assert ended.returncode > 0
    assert ended.stderr.startswith(f"{tmp_path} belongs to a server that runs: ")
    assert "Use that one, or end it." in ended.stderr
    assert f"process {os.getpid()} on" in ended.stderr
    del lock


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_a_directory_that_cannot_be_served_is_named(tmp_path: Path, content: bytes) -> None:
    if content:
        (tmp_path / "sweeps.sqlite3").write_bytes(content)
    else:
        (tmp_path / "sweeps.sqlite3").mkdir()
    ended = serve(tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{tmp_path} can't be served: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("open_umask")
def test_a_directory_is_made_for_its_user_only(tmp_path: Path) -> None:
    assert serve(tmp_path / "new", "--host", "256.0.0.1").returncode != 0
    assert mode(tmp_path / "new") == 0o700
    assert read_address(tmp_path / "new") is None
