"""`hydra-sweep sync`, from one real embedded server to another: all arrives, once, however often it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from hydra_plugins.hydra_wandb_sweeper._cli import main
from hydra_plugins.hydra_wandb_sweeper._errors import ServerError, SweepError
from hydra_plugins.hydra_wandb_sweeper._sync_command import Synced, SyncOptions, sync
from hydra_plugins.hydra_wandb_sweeper._throttle import Throttle, ThrottledAdapter
from tests.integration.server import client as operations
from tests.integration.server.client import Client
from tests.integration.server.conftest import new_project
from tests.integration.server.sdk import Sdk, User
from tests.integration.sweeper.conftest import Project, heed_terminal
from tests.integration.sweeper.test_command import command
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress, ensure_running, find_running, read_address

CONFIG = {
    "method": "grid",
    "name": "a sweep",
    "program": "train.py",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"lr": {"values": [0.1, 0.01, 0.001]}, "model": {"parameters": {"width": {"values": [8, 64]}}}},
}
SWEEPS = "query S($p: String!) { project(name: $p) { sweeps { edges { node { name description state } } } } }"
FAST = 1000.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """The server whose sweeps are uploaded."""
    address = ensure_running(tmp_path_factory.mktemp("source") / "server", idle_timeout_s=7200)
    yield address
    os.kill(address.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """The server that they are uploaded to."""
    address = ensure_running(tmp_path_factory.mktemp("target") / "server", idle_timeout_s=7200)
    yield address
    os.kill(address.pid, signal.SIGTERM)


@pytest.fixture
def here(source: ServerAddress) -> Client:
    return Client(source)


@pytest.fixture
def there(target: ServerAddress) -> Client:
    return Client(target)


@pytest.fixture
def login(target: ServerAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has a login for the target."""
    monkeypatch.setenv("WANDB_BASE_URL", target.url)
    monkeypatch.setenv("WANDB_API_KEY", target.api_key)


@pytest.fixture
def space() -> str:
    """The name of a project that nobody else uses."""
    return new_project()


def small_sweep(here: Client, project: str, *runs: str) -> str:
    """An ended sweep of runs with a history, console output and a file each."""
    sweep = here.sweep(project, CONFIG)
    for number, run in enumerate(runs):
        start(here, project, run, sweep, number)
        here.finish(project, run, summary={"loss": 1.0 / (number + 1)})
    end(here, project, sweep)
    return sweep


def start(client: Client, project: str, run: str, sweep: str, number: int = 0) -> None:
    client.start(project, run, sweep, {"lr": 0.1, "model": {"width": 8}, "number": number})
    lines = [json.dumps({"loss": step, "_step": step, "_timestamp": 1.7e9 + step}) for step in range(5)]
    output = {"offset": 0, "content": [f"line {i} of {run}\n" for i in range(3)]}
    files = {"wandb-history.jsonl": {"offset": 0, "content": lines}, "output.log": output}
    assert client.stream(project, run, files=files).status_code == 200
    put_file(client, project, run, "a/file.txt", run.encode())


def put_file(client: Client, project: str, run: str, name: str, content: bytes) -> None:
    created = client.graphql(operations.CREATE_FILES, project=project, run=run, files=[name])["createRunFiles"]
    requests.put(created["files"][0]["uploadUrl"], data=content, timeout=60)


def end(client: Client, project: str, sweep: str) -> None:
    node = client.sweep_of(project, sweep)
    client.graphql(operations.UPSERT_SWEEP, id=node["id"], state="FINISHED", projectName=project)


def stop(client: Client, project: str, run: str) -> None:
    client.graphql(operations.STOP_RUN, id=client.run(project, run)["id"])


def sweeps_of(client: Client, project: str) -> list[dict[str, Any]]:
    return [edge["node"] for edge in client.graphql(SWEEPS, p=project)["project"]["sweeps"]["edges"]]


def upload(source: ServerAddress, *sweeps: str, **options: Any) -> Synced:
    """Sync one sweep in this process."""
    (synced,) = sync(source.directory, SyncOptions(sweeps=sweeps, requests_per_s=FAST, **options))
    return synced


ALL_OF_RUNS = """
query Runs($project: String!) { project(name: $project) { runs(order: "+created_at", first: 100) { edges { node {
  name state exitcode displayName notes tags group config summaryMetrics historyLineCount logLineCount
  history(minStep: 0) logLines(first: 1000) { edges { node { number line } } }
  files { edges { node { name sizeBytes } } }
} } } } }"""


def everything(client: Client, project: str) -> list[dict[str, Any]]:
    """All that the server has of a project's runs, oldest first."""
    edges = client.graphql(ALL_OF_RUNS, project=project)["project"]["runs"]["edges"]
    return [edge["node"] for edge in edges]


# --- what arrives ---

TRAIN = """
import math, os
import wandb
nested = {"width": 8, "layers": [1, {"deep": None}]}
for i in range(3):
    run = wandb.init(
        name=f"run {i}", group="g", notes="some notes", tags=["x", f"t{i}"], job_type="train",
        config={"lr": 0.1**i, "model": nested, "text": "ü=1"},
    )
    for step in range(30):
        values = {"loss": 1 / (step + 1 + i), "a": {"b": step}}
        if step % 7 == 3:
            values["odd"] = [math.nan, math.inf, -math.inf][step % 3]
        run.log(values, step=step * 2)
    print("console of", i)
    with open("notes.txt", "w") as file:
        file.write("note" * 100)
    run.save("notes.txt", policy="now")
    run.finish(exit_code=1 if i == 2 else 0)
"""
READ = """
api = wandb.Api()
sweep = api.sweep(f"local/{os.environ['WANDB_PROJECT']}/{os.environ['SWEEP']}")
def files(run):
    names = [file.name for file in run.files()]
    return {name: open(run.file(name).download(root=f"f-{os.environ['SWEEP']}", replace=True).name).read()
            for name in sorted(names)}
result({
    "state": sweep.state, "config": sweep.config, "best": sweep.best_run().id, "order": sweep.order,
    "runs": [dict(
        id=run.id, name=run.name, state=run.state, tags=run.tags, notes=run.notes, group=run.group,
        job_type=run.job_type, config=dict(run.config), summary=dict(run.summary._json_dict),
        history=list(run.scan_history()), events=len(run.history(stream="system", pandas=False)), files=files(run),
    ) for run in sorted(sweep.runs, key=lambda run: run.id)],
})
"""


def pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)


@pytest.fixture
def users(source: ServerAddress, target: ServerAddress, tmp_path: Path, space: str) -> Iterator[list[User]]:
    """The newest SDK, at the source and at the target."""
    sdk = Sdk((0, 31), Path(sys.executable))
    both = [User(sdk, address, tmp_path / name, space) for name, address in (("s", source), ("t", target))]
    yield both
    for user in both:
        user.end()


@pytest.mark.usefixtures("login")
def test_what_wandb_s_own_api_shows_is_the_same_at_both_servers(
    source: ServerAddress, here: Client, there: Client, space: str, users: list[User]
) -> None:
    sweep = here.sweep(space, CONFIG)
    users[0].python(TRAIN, WANDB_SWEEP_ID=sweep)
    for run, code in (("failed-7", 7), ("killed-0", 255), ("preempt-", 3)):
        start(here, space, run, sweep)
        if run == "killed-0":
            stop(here, space, run)
        if run == "preempt-":
            here.stream(space, run, preempting=True)
        here.finish(space, run, exit_code=code, summary={"loss": 9.0, "odd": float("nan")})
    end(here, space, sweep)

    synced = upload(source, sweep)
    assert (synced.counts.uploaded, synced.counts.failed, synced.stopped) == (6, (), None)
    (made,) = sweeps_of(there, space)
    assert synced.target_url is not None
    assert synced.target_url.endswith(f"/local/{space}/sweeps/{made['name']}")
    seen = [user.result("import os" + READ, SWEEP=id) for user, id in zip(users, (sweep, made["name"]), strict=True)]
    # As text, in which NaN equals itself.
    before, after = ([pretty(run) for run in one.pop("runs")] for one in seen)
    assert before == after
    assert sum('"notes.txt": "notenote' in text and "NaN" in text for text in after) == 3
    assert seen[0] == seen[1]
    states = {run["displayName"]: run["state"] for run in everything(there, space)}
    assert states == {
        "run 0": "finished", "run 1": "finished", "run 2": "failed",
        "failed-7": "failed", "killed-0": "killed", "preempt-": "preempted",
    }  # fmt: skip
    assert everything(here, space) == everything(there, space)
    assert f"local/{space}/{sweep}" in made["description"]


def test_a_run_that_crashed_is_shown_as_such_once_it_was_silent(
    source: ServerAddress, here: Client, space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = here.sweep(space, CONFIG)
    agent = here.agent(space, sweep)
    run = here.heartbeat(agent)[0]["run_id"]
    start(here, space, run, sweep)
    here.heartbeat(agent, [run])
    end(here, space, sweep)
    here.heartbeat(agent)  # its agent doesn't list it any more
    assert here.run(space, run)["state"] == "crashed"

    command = [sys.executable, "-m", "wandb_sweep_server", "--dir", str(tmp_path), "--crash-timeout-s", "0.5"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        impatient = wait_for(lambda: find_running(tmp_path), "the server", 30)
        monkeypatch.setenv("WANDB_API_KEY", impatient.api_key)
        assert upload(source, sweep, to=impatient.url).counts.uploaded == 1
        there = Client(impatient)
        wait_for(lambda: there.run(space, run)["state"] == "crashed", "silence is noticed", 30)
        assert everything(here, space) == everything(there, space)
    finally:
        process.terminate()
        process.wait()


def test_sweeps_that_hydra_ran_are_uploaded_from_their_directory_or_all_of_a_project(
    project: Project, target: ServerAddress, there: Client, space: str
) -> None:
    one = project.sweep("x=1,2", "behave=raise", "only=2", "hydra.sweeper.max_retries=0", check=False)
    project.sweep("x=3", "model=small,wide")
    address = project.server()
    os.kill(address.pid, signal.SIGTERM)  # one that was idle has ended: it is started again
    wait_for(lambda: read_address(address.directory) is None, "its end", 30)
    project.env |= {"WANDB_BASE_URL": target.url, "WANDB_API_KEY": target.api_key}

    def say(*arguments: str) -> str:
        return " ".join(command(project, "sync", *arguments, "--project", space).stdout.split())

    assert "would be uploaded 2" in say(str(one.directory), "--dry-run")
    assert there.runs(space) == []
    assert "uploaded 2" in say(str(one.directory))
    assert [run["state"] for run in everything(there, space)] == ["finished", "failed"]
    both = say(str(project.directory))
    assert "already there 2" in both
    assert "uploaded 2" in both
    own = Client(project.server())
    assert sorted(map(pretty, everything(own, "app"))) == sorted(map(pretty, everything(there, space)))
    assert {made["state"] for made in sweeps_of(there, space)} == {"FINISHED"}
    assert len(sweeps_of(there, space)) == 2


# --- what can't be uploaded ---


@pytest.mark.usefixtures("login")
def test_a_run_whose_id_is_taken_by_another_one_is_left_alone_and_told(
    source: ServerAddress, here: Client, there: Client, space: str
) -> None:
    there.start(space, "taken", config={"mine": 1})
    sweep = small_sweep(here, space, "taken", "free")
    synced = upload(source, sweep)
    ((run, reason),) = synced.counts.failed
    assert (run, synced.counts.uploaded, synced.is_complete) == ("taken", 1, False)
    assert "has another run of that id, which is of no sweep: choose another --project" in reason
    assert there.run(space, "taken")["config"] == {"mine": 1}
    assert upload(source, sweep).counts.already_there == 1
    again = CliRunner().invoke(main, ["sync", str(source.directory), "--sweep", sweep])
    assert again.exit_code == 1
    assert "Not everything was uploaded; the same command goes on where it was." in again.output


@pytest.mark.usefixtures("login")
def test_a_sweep_that_was_deleted_at_the_target_is_told(source: ServerAddress, here: Client, space: str) -> None:
    sweep = small_sweep(here, space, "one")
    journal = source.directory / f"sync-{os.environ['WANDB_BASE_URL'][7:].replace(':', '-')}-{sweep}.jsonl"
    journal.write_text(json.dumps({"target": f"local/{space}", "event": "sweep", "sweep_id": "gone1234"}))
    synced = upload(source, sweep)
    assert "Sweep local/" in str(synced.stopped)
    assert "doesn't exist any more. W&B doesn't take the ids of deleted runs again" in str(synced.stopped)


@pytest.mark.usefixtures("login")
def test_a_run_that_was_deleted_at_the_target_stays_so_and_that_is_told_once_it_changes(
    source: ServerAddress, here: Client, there: Client, space: str
) -> None:
    sweep = small_sweep(here, space, "one", "two")
    upload(source, sweep)
    delete = "mutation D($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
    there.graphql(delete, id=there.run(space, "one")["id"])
    assert upload(source, sweep).counts.already_there == 2
    here.start(space, "one", sweep)
    here.finish(space, "one", 1)
    ((run, reason),) = upload(source, sweep).counts.failed
    assert run == "one"
    assert "choose another --project" in reason
    assert finished(there, space) == ["two"]


@pytest.mark.usefixtures("login")
def test_a_file_that_is_refused_keeps_nothing_else_back_and_is_tried_again(
    source: ServerAddress, here: Client, there: Client, space: str
) -> None:
    class Refusing(ThrottledAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            response = super().send(request, *args, **options)
            if request.method == "PUT":
                response.status_code = 403
            return response

    def session(throttle: Throttle, _: Callable[[], bool]) -> requests.Session:
        made = requests.Session()
        made.mount("http://", Refusing(throttle))
        return made

    sweep = small_sweep(here, space, "one")
    (synced,) = sync(source.directory, SyncOptions(sweeps=(sweep,), requests_per_s=FAST), session)
    ((run, reason),) = synced.counts.failed
    assert (run, synced.stopped) == ("one", None)
    assert "all but 1 file(s) arrived: a/file.txt: " in reason
    assert there.run(space, "one")["state"] == "finished"
    assert upload(source, sweep).counts.uploaded == 1


def test_a_wrong_key_ends_it_at_once(
    source: ServerAddress, target: ServerAddress, here: Client, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = small_sweep(here, space, "one", "two")
    monkeypatch.setenv("WANDB_API_KEY", "local-" + "0" * 40)
    for entity in (None, "local"):
        with pytest.raises(ServerError, match="needs its API key"):
            upload(source, sweep, to=target.url, entity=entity)


def test_the_source_is_no_target(source: ServerAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", source.api_key)
    with pytest.raises(SweepError, match="is the server that holds the sweeps already"):
        upload(source, to=source.url)


@pytest.mark.usefixtures("login")
def test_a_sweep_that_the_server_does_not_have_is_told_with_those_it_has(
    source: ServerAddress, here: Client, space: str
) -> None:
    sweep = small_sweep(here, space, "one")
    with pytest.raises(SweepError, match=f"--sweep nosuchid: the server has no such sweep. It has: .*{sweep}"):
        upload(source, "nosuchid")


# --- again, and after being killed ---


@pytest.mark.usefixtures("login")
def test_repeated_it_uploads_what_is_new_or_has_changed(
    source: ServerAddress, here: Client, there: Client, space: str
) -> None:
    sweep = here.sweep(space, CONFIG)
    for run, code in (("good", 0), ("bad", 1), ("open", None)):
        start(here, space, run, sweep)
        if code is not None:
            here.finish(space, run, code, {"loss": 1.0})
    first = upload(source, sweep).counts
    assert (first.uploaded, first.already_there, first.open) == (2, 0, 1)
    assert sweeps_of(there, space)[0]["state"] == "PENDING"
    again = upload(source, sweep).counts
    assert (again.uploaded, again.already_there, again.open) == (0, 2, 1)

    here.start(space, "bad", sweep)  # it is retried: more history, and a better end
    here.log(space, "bad", [{"loss": 0.5, "_step": 6}], offset=5)
    here.finish(space, "bad", 0, {"loss": 0.5})
    here.finish(space, "open", 0, {"loss": 2.0})
    end(here, space, sweep)
    last = upload(source, sweep).counts
    assert (last.uploaded, last.already_there, last.open) == (2, 1, 0)
    assert sorted(map(pretty, everything(here, space))) == sorted(map(pretty, everything(there, space)))
    (made,) = sweeps_of(there, space)
    assert made["state"] == "FINISHED"
    assert there.sweep_of(space, made["name"])["runCount"] == 3

    here.start(space, "good", sweep)  # a sweep that has ended takes it too
    here.finish(space, "good", 3, {"loss": 4.0})
    assert upload(source, sweep).counts.uploaded == 1
    assert sorted(map(pretty, everything(here, space))) == sorted(map(pretty, everything(there, space)))
    assert [one["state"] for one in sweeps_of(there, space)] == ["FINISHED"]


class Killed(BaseException):
    """What SIGKILL is to a request: nothing that follows happens."""


@dataclass
class Deadly:
    """Kills the process that syncs at its request number `at`: before it was sent, or when the answer has come."""

    at: int
    when: str
    count: int = 0

    def session(self, throttle: Throttle, _: Callable[[], bool]) -> requests.Session:
        deadly = self

        class Adapter(ThrottledAdapter):
            def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
                deadly.count += 1
                if deadly.count >= deadly.at and deadly.when == "before":
                    raise Killed
                response = super().send(request, *args, **options)
                if deadly.count >= deadly.at:
                    raise Killed
                return response

        session = requests.Session()
        session.mount("http://", Adapter(throttle))
        return session


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_request_and_repeated_it_gives_what_it_gives_undisturbed(
    source: ServerAddress, here: Client, there: Client, space: str, when: str
) -> None:
    sweep = small_sweep(here, space, "one")
    start(here, space, "two", sweep)
    here.log(space, "two", [{"loss": i, "_step": i} for i in range(1001)])  # takes two requests
    stop(here, space, "two")
    here.finish(space, "two", 255, {"loss": 0.1})
    expected = everything(here, space)
    for at in range(1, 100):
        deadly = Deadly(at, when)
        elsewhere = f"{space}-{at}"
        options = SyncOptions(sweeps=(sweep,), project=elsewhere, requests_per_s=FAST, parallel=1)
        try:
            sync(source.directory, options, deadly.session)
            break
        except Killed:
            pass
        assert upload(source, sweep, project=elsewhere).is_complete
        assert everything(there, elsewhere) == expected, at
        (made,) = sweeps_of(there, elsewhere)
        assert made["state"] == "FINISHED"
        assert there.sweep_of(elsewhere, made["name"])["runCount"] == 2
    assert 10 < deadly.count < at  # the last one was not killed


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_process_that_was_really_killed_or_interrupted_is_followed_by_one_that_goes_on(
    source: ServerAddress, here: Client, there: Client, space: str, signal_number: int, status: int
) -> None:
    sweep = small_sweep(here, space, *(f"run-{i:02}" for i in range(12)))
    command = [str(Path(sys.executable).with_name("hydra-sweep")), "sync", str(source.directory), "--sweep", sweep]
    slowly = [*command, "--requests-per-s", "25"]
    process = subprocess.Popen(slowly, stderr=subprocess.PIPE, text=True, preexec_fn=heed_terminal)
    wait_for(lambda: len(finished(there, space)) >= 3, "some runs have arrived", 60)
    process.send_signal(signal_number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == status, said
    assert ("the same command goes on where it was" in said) == (signal_number == signal.SIGINT)
    arrived = finished(there, space)
    assert len(arrived) < 12
    command += ["--json", "--requests-per-s", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (synced,) = json.loads(done.stdout)
    assert synced["uploaded"] + synced["already_there"] == 12
    # Those that were noted as done aren't sent again: all but at most the ones that were under way.
    assert synced["already_there"] >= len(arrived) - 4
    assert everything(here, space) == everything(there, space)
    assert len(sweeps_of(there, space)) == 1


def finished(client: Client, project: str) -> list[str]:
    return [run["name"] for run in client.runs(project) if run["state"] == "finished"]
