"""Trials of an agent share one service of W&B's, whatever becomes of one of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._child import begin_child
from hydra_plugins.hydra_wandb_sweeper._sdk_modules import place_of_modules, read_modules, write_modules
from hydra_plugins.hydra_wandb_sweeper._wandb_service import SERVICE_VARIABLE, SharedService
from tests.integration.server.sdk import Sdk
from tests.integration.sweeper.conftest import Project
from tests.unit.sweeper.test_isolation import is_alive
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]

# Notes the service and the pid of each attempt, and the retries' too.
APP = """
import os
import signal
from pathlib import Path

import hydra
import wandb

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    with wandb.init() as run, open("services", "a") as file:
        run.log({"seen": cfg.x})
        file.write(os.environ.get("WANDB_SERVICE", "its own") + "\\n")
        file.flush()
        once = Path(f"died-{cfg.x}")
        if cfg.x == 2 and "DIES" in os.environ and not once.exists():
            once.touch()
            os._exit(0) if os.environ["DIES"] == "quietly" else os.kill(os.getpid(), signal.SIGKILL)
    return cfg.x + 0.5

if __name__ == "__main__":
    main()
"""

FORKED_TRIALS = """
import os, sys, threading
from hydra_plugins.hydra_wandb_sweeper._wandb_service import SharedService

import wandb
service = SharedService(lambda: None)
service.start()

def trial(number):
    while not (environment := service.environment()):
        pass
    pid = os.fork()
    if pid == 0:
        os.environ.update(environment)
        before = set(sys.modules)
        with wandb.init(project="p", mode="offline", dir=sys.argv[1]) as run:
            run.log({"loss": number})
        # Set by the very first process that used the SDK on its own: it has started no service.
        assert os.environ["WANDB_SERVICE"] == environment["WANDB_SERVICE"]
        os.write(1, f"imports {len(set(sys.modules) - before)}\\n".encode())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    return environment["WANDB_SERVICE"]

tokens = {trial(number) for number in range(2)}
while not service.warm_up():
    pass
tokens |= {trial(number) for number in range(2, 4)}
assert len(tokens) == 1, tokens
assert threading.active_count() == 1, threading.enumerate()
assert wandb.run is None and "WANDB_SERVICE" not in os.environ
service.stop()
print("done")
"""


def services(project: Project) -> list[str]:
    return (project.directory / "services").read_text().split("\n")[:-1]


@pytest.fixture
def noting(project: Project) -> Project:
    (project.directory / "app.py").write_text(APP)
    return project


def test_every_version_of_the_sdk_shares_a_service_and_imports_nothing_more(sdk: Sdk, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    env |= {"HOME": str(tmp_path), "WANDB_SILENT": "true", "PYTHONPATH": str(ROOT), "WANDB_ERROR_REPORTING": "false"}
    command = [str(sdk.python), "-c", FORKED_TRIALS, str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    imported = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("imports")]
    assert len(imported) == 4
    assert imported[2:] == [0, 0]


def test_the_trials_of_an_agent_share_a_service_that_ends_with_it(noting: Project) -> None:
    sweep = noting.sweep("x=1,2,3,4")
    assert len(services(noting)) == 4
    assert len(set(services(noting)) - {"its own"}) == 1, sweep.output
    assert {run["state"] for run in noting.runs()} == {"finished"}
    pid = int(services(noting)[0].split("-")[1])  # of its keeper: 3-PID-unix-SOCKET
    assert not is_alive(pid)


def processes_in(directory: Path) -> list[int]:
    """Of this machine, those that were started there."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if cwd.readlink() == directory:
                found.append(int(cwd.parent.name))
    return found


def test_where_the_server_runs_a_sweep_starts_its_service_early_and_ends_it_however_it_ends(noting: Project) -> None:
    noting.sweep("x=1,2")
    noting.sweep("x=3,4")
    first, second = services(noting)[:2], services(noting)[2:]
    assert (len(set(first)), len(set(second)), len(set(first + second))) == (1, 1, 2)
    refused = noting.sweep("nosuch=1,2", check=False)
    assert "Could not override 'nosuch'" in refused.output
    assert processes_in(noting.directory) == []


@pytest.mark.parametrize("how", ["quietly", "by a signal"])
def test_a_trial_that_dies_takes_its_service_along_and_is_retried_with_another(noting: Project, how: str) -> None:
    sweep = noting.sweep("x=1,2,3", DIES=how)
    first, second, *later = services(noting)
    assert first == second
    assert len({second, *later}) == 2, sweep.output
    assert len(later) == 2
    assert {run["state"] for run in noting.runs()} == {"finished"}
    assert {run["summary"]["seen"] for run in noting.runs()} == {1, 2, 3}


def test_trials_that_set_what_a_service_reads_start_their_own(noting: Project) -> None:
    noting.sweep("x=1,2", "+hydra.job.env_set.HTTPS_PROXY=http://127.0.0.1:9")
    assert len(set(services(noting))) == 2
    assert {run["state"] for run in noting.runs()} == {"finished"}


def found(service: SharedService) -> str:
    """The service's address, once it is there."""
    return wait_for(service.environment, "the service runs")[SERVICE_VARIABLE]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SharedService:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    agent = os.getpid()
    return SharedService(lambda: begin_child(agent), tmp_path / "modules.json")


def test_what_the_sdk_imports_is_found_out_once_and_known_to_later_agents(
    service: SharedService, tmp_path: Path
) -> None:
    assert not service.knows_modules
    assert found(service)
    assert service.warm_up()
    service.stop()
    agent = os.getpid()
    later = SharedService(lambda: begin_child(agent), tmp_path / "modules.json")
    assert later.knows_modules
    assert later.warm_up()  # before it is started
    assert found(later)
    later.stop()


def test_a_rehearsal_that_does_not_end_is_waited_for_once(tmp_path: Path) -> None:
    agent = os.getpid()
    is_slow = [True]

    def prepare() -> None:
        begin_child(agent)
        if is_slow:
            signal.pause()

    service = SharedService(prepare, tmp_path / "modules.json", rehearsal_s=0.1)
    service.start()
    assert service.environment() == {}
    is_slow.clear()
    assert found(service)
    assert not (tmp_path / "modules.json").exists()
    service.stop()


@pytest.mark.parametrize("content", [None, "", "{", '{"a": 1}', "[1]", '"wandb"'])
def test_notes_that_are_none_are_not_taken_for_modules(tmp_path: Path, content: str | None) -> None:
    place = tmp_path / "modules.json"
    if content is not None:
        place.write_text(content)
    assert read_modules(place) is None


def test_where_nothing_can_be_noted_the_next_agent_finds_out_again(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "modules.json"
    write_modules(place, ["wandb.sdk"])
    assert read_modules(place) is None
    write_modules(tmp_path / "new" / "modules.json", ["wandb.sdk"])
    assert read_modules(tmp_path / "new" / "modules.json") == ["wandb.sdk"]


def test_each_version_and_environment_has_its_own_notes() -> None:
    assert f"wandb-{version('wandb')}-" in place_of_modules().name
    here = place_of_modules()
    code = "from hydra_plugins.hydra_wandb_sweeper._sdk_modules import place_of_modules as p; print(p())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert Path(done.stdout.strip()) == here


def test_a_service_that_has_ended_is_replaced(service: SharedService) -> None:
    before = found(service)
    keeper = int(before.split("-")[1])
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: service.environment() == {}, "its end is noticed")  # a trial that starts now has its own
    assert found(service) != before
    service.stop()


def test_a_service_whose_process_dies_is_replaced(service: SharedService) -> None:
    before = found(service)
    keeper = int(before.split("-")[1])
    (core,) = (Path(f"/proc/{keeper}/task/{keeper}/children").read_text()).split()
    wait_for(service.warm_up, "it is ready")
    os.kill(int(core), signal.SIGKILL)
    wait_for(lambda: service.environment() == {}, "its end is noticed")
    assert found(service) != before
    service.stop()


def test_a_service_serves_so_many_trials_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    agent = os.getpid()
    service = SharedService(lambda: begin_child(agent), most_trials=2)
    tokens = [found(service) for _ in range(5)]
    assert [tokens.index(token) for token in tokens] == [0, 0, 2, 2, 4]
    service.stop()


def test_a_keeper_leaves_signals_that_end_a_job_to_the_agent(service: SharedService) -> None:
    keeper = int(found(service).split("-")[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        os.kill(keeper, number)
    assert service.environment()
    assert is_alive(keeper)
    service.stop()
    assert not is_alive(keeper)


def test_without_a_service_trials_start_their_own_and_the_reason_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("no more processes")

    service = SharedService(fail)
    service.start()
    wait_for(lambda: service.environment() == {}, "its end is noticed")
    assert "Trials start W&B's service themselves: OSError: no more processes" in caplog.text
    service.stop()


def test_the_sdk_is_not_imported_for_the_sake_of_this_module() -> None:
    code = "import hydra_plugins.hydra_wandb_sweeper._wandb_service, sys; assert 'wandb' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
