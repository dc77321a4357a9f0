"""Deleting runs: nothing of them is left, nothing of them comes back, and their sweeps go on rightly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.server.asgi import App
from tests.unit.server.support import GRID_OF_FOUR, Server
from wandb_sweep_server.durable import write_whole
from wandb_sweep_server.errors import ClientError, GoneError, NotFoundError
from wandb_sweep_server.records import Sweep, global_id


def delete(server: Server, name: str) -> None:
    server.do(lambda: server.store.runs.delete(server.run(name)))


def upload(server: Server, name: str, file: str, content: bytes = b"x") -> Path:
    (announced,) = server.do(lambda: server.store.files.announce(server.run(name), [file]))
    _, path = server.store.files.place(announced.token)
    write_whole(path, content)
    assert server.do(lambda: server.store.file_arrived(announced, len(content)))
    return path


def remove_files(server: Server) -> None:
    asyncio.run(server.store.remove_deleted_files())


def counts(server: Server, sweep: Sweep) -> tuple[int, int]:
    """Runs that the cap counts, and runs that there are."""
    run_count = server.sweep_now(sweep).run_count
    return run_count, run_count - server.store.runs.deleted.count_of_sweep(sweep.id)


def test_a_deleted_run_leaves_no_rows_and_no_files(server: Server) -> None:
    server.start("one")
    server.start("two")
    server.post("one", {"files": {"wandb-history.jsonl": {"offset": 0, "content": ["{}"]}}})
    paths = [upload(server, name, "media/a.png") for name in ("one", "two")]
    delete(server, "one")
    assert [run.name for run in server.runs()] == ["two"]
    for table in ("stream_lines", "files"):
        rows = server.store.database.rows(f"SELECT run_id FROM {table}")
        assert {row["run_id"] for row in rows} <= {server.run("two").id}
    remove_files(server)
    assert [path.exists() for path in paths] == [False, True]
    assert not paths[0].parents[1].exists()
    assert server.store.runs.deleted.with_files() == []


def test_files_of_a_run_deleted_before_a_kill_are_removed_after_the_restart(server: Server) -> None:
    server.start("one")
    path = upload(server, "one", "a")
    delete(server, "one")
    server.reopen()
    assert path.exists()
    remove_files(server)
    assert not path.exists()


def test_a_run_without_files_is_deleted_too(server: Server) -> None:
    server.start("one")
    delete(server, "one")
    remove_files(server)
    assert server.store.runs.deleted.with_files() == []


def test_a_file_that_arrives_after_the_deletion_is_removed_as_well(server: Server) -> None:
    server.start("one")
    (file,) = server.do(lambda: server.store.files.announce(server.run("one"), ["late"]))
    _, path = server.store.files.place(file.token)
    delete(server, "one")
    (seen,) = server.store.runs.deleted.with_files()
    write_whole(path, b"x")
    assert not server.do(lambda: server.store.file_arrived(file, 1))
    server.do(lambda: server.store.runs.deleted.files_removed(seen))  # by a removal that began before
    remove_files(server)
    assert not path.exists()
    write_whole(path, b"x")
    assert not server.do(lambda: server.store.file_arrived(file, 1))  # even later
    remove_files(server)
    assert not path.exists()


@pytest.mark.parametrize(
    ("begin", "status", "message"),
    [(b"x", 404, "no file has this upload address"), (bytes(2 * 2**20), 410, "the run of this file was deleted")],
    ids=["small", "large"],
)
def test_a_file_whose_run_is_deleted_while_it_comes_is_refused_and_not_kept(
    server: Server, begin: bytes, status: int, message: str
) -> None:
    server.start("one")
    (file,) = server.do(lambda: server.store.files.announce(server.run("one"), ["late"]))
    _, path = server.store.files.place(file.token)

    def content() -> Iterator[bytes | None]:
        yield begin
        delete(server, "one")
        yield None

    app = App(server)
    answer = app.ask("PUT", f"/upload/{file.token}", content())
    assert (answer.status, answer.message) == (status, message)
    app.close()
    remove_files(server)
    assert not path.exists()
    assert server.store.database.value("SELECT COUNT(*) FROM small_files") == 0


def test_the_id_of_a_deleted_run_is_not_used_again(server: Server) -> None:
    server.start("one")
    storage_id = global_id("Run", server.run("one").id)
    delete(server, "one")
    server.reopen()
    with pytest.raises(GoneError, match="run 'one' was deleted, and its id can't be used again"):
        server.start("one")
    with pytest.raises(NotFoundError):
        server.store.runs.require(storage_id)
    assert server.start("two").id != 1
    other = server.do(lambda: server.store.projects.require(None, "another"))
    assert not server.store.runs.deleted.contains(other.id, "one")


def test_a_deleted_trial_of_a_grid_is_not_handed_out_again(server: Server) -> None:
    sweep = server.sweep(GRID_OF_FOUR)
    agent = server.agent(sweep)
    for number in range(4):
        name = server.claim(agent)
        server.start(name, sweep)
        server.exit(name)
        if number < 2:
            delete(server, name)
    assert server.heartbeat(agent) == [{"type": "exit"}]
    assert server.sweep_now(sweep).state == "FINISHED"
    assert counts(server, sweep) == (4, 2)


def test_a_cap_counts_deleted_runs(server: Server) -> None:
    sweep = server.sweep({"x": {"min": 0.0, "max": 1.0}}, method="random", run_cap=2)
    agent = server.agent(sweep)
    for _ in range(2):
        name = server.claim(agent)
        server.start(name, sweep)
        server.exit(name)
        delete(server, name)
    assert server.heartbeat(agent) == [{"type": "exit"}]
    assert counts(server, sweep) == (2, 0)


def test_the_agent_of_a_deleted_run_is_told_to_stop_it_and_goes_on(server: Server) -> None:
    sweep = server.sweep(GRID_OF_FOUR)
    agent = server.agent(sweep)
    first = server.claim(agent)
    server.start(first, sweep)
    assert server.heartbeat(agent, first) == []
    delete(server, first)
    stop = {"type": "stop", "run_id": first, "reason": "its run was deleted"}
    assert server.heartbeat(agent, first) == [stop]
    assert server.heartbeat(agent, first) == [stop]  # until it doesn't list it any more
    assert server.claim(agent) != first


def test_deleting_the_last_run_under_way_ends_the_sweep(server: Server) -> None:
    sweep = server.sweep({"x": {"values": [1]}})
    name = server.claim(server.agent(sweep))
    server.start(name, sweep)
    assert server.sweep_now(sweep).state == "RUNNING"
    delete(server, name)
    assert server.sweep_now(sweep).state == "FINISHED"


def test_a_queued_run_that_is_deleted_is_not_offered(server: Server) -> None:
    sweep = server.sweep({"x": {"values": [1, 2]}})
    agent, other = server.agent(sweep), server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.post(name, {"preempting": True})
    server.exit(name, 1)
    delete(server, name)
    assert server.claim(other) != name


def test_what_a_deleted_run_still_streams_is_refused_for_good(server: Server) -> None:
    server.start("one")
    project = server.project()
    delete(server, "one")
    with pytest.raises(ClientError) as refused:
        server.store.runs.check_deleted(project.id, "one")
    assert refused.value.status == 410  # on which the SDK doesn't try again
    server.store.runs.check_deleted(project.id, "two")
