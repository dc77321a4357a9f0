"""Projects that know nothing of this one are swept as they are: Hydra's own examples, and a template for Lightning.

The small projects in `projects/` have the shapes of Hydra's documentation. Hydra's BasicSweeper says what is right.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from wandb_sweep_server.launch import read_address

PROJECTS = Path(__file__).parent / "projects"


@dataclass
class OtherProject:
    """A copy of a project. program: what Python is told to run."""

    directory: Path
    program: tuple[str, ...]
    env: dict[str, str]

    def multirun(self, *arguments: str, check: bool = True) -> str:
        """`python PROGRAM -m ARGUMENTS`; returns what it printed."""
        done = subprocess.run(
            [sys.executable, *self.program, "-m", *arguments],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def sweep(self, name: str, *arguments: str) -> tuple[dict[str, Any], str]:
        """A multirun with this sweeper; returns optimization_results.yaml and what was printed."""
        directory = self.directory / name
        printed = self.multirun("hydra/sweeper=wandb", f"hydra.sweep.dir={directory}", *arguments)
        return yaml.safe_load((directory / "optimization_results.yaml").read_text()), printed

    def jobs(self, name: str) -> list[tuple[str, Any]]:
        """What Hydra noted of each job of a multirun: its overrides and its config, in a fixed order."""
        noted = (self.directory / name).glob("**/.hydra/config.yaml")
        found = [(path.with_name("overrides.yaml").read_text(), yaml.safe_load(path.read_text())) for path in noted]
        return sorted(found, key=lambda job: job[0])


@pytest.fixture
def other_project(tmp_path: Path) -> Iterator[Callable[..., OtherProject]]:
    """Makes copies of projects; the servers that they start are ended at the end."""

    def make(name: str, *program: str) -> OtherProject:
        directory = tmp_path / name
        shutil.copytree(PROJECTS / name, directory, ignore=shutil.ignore_patterns("__pycache__"))
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        env |= {"HOME": str(home), "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
        return OtherProject(directory, program, env)

    yield make
    for place in tmp_path.glob("*/.wandb_sweep_server"):
        address = read_address(place)
        if address is not None:
            os.kill(address.pid, signal.SIGTERM)


APPS = [
    ("groups", ("app.py",), ("db=mysql,postgresql", "db@backup=glob(*)", "pool=2,8", "+extra={a:1},{b:[2]}")),
    ("groups", ("app.py",), ("server/apache@web=v1,v2", "~pool", "summary='a,b',\"${db.user}\"")),
    ("structured", ("app.py",), ("db=mysql,postgresql", "mode=FAST,EXACT", "layers=[1],[2,3]", "limit=null,0.5")),
    ("packaged", ("-m", "shop.main"), ("basket=small,large", "rebate=range(0,0.3,0.1)")),
    ("settings", ("app.py",), ("base=1,2,3", "name=cnn_large")),
    ("experiments", ("my_app.py",), ("+experiment=aplite,nglite", "server.port=range(8000,8003)")),
    ("experiments", ("my_app.py",), ("+experiment=glob(*)", "db.cost=1,2.5")),
    ("searched", ("app.py",), ("storage.copies=1,2,3",)),
]


@pytest.mark.parametrize(
    ("name", "program", "arguments"), APPS, ids=[f"{name} {arguments[0]}" for name, _, arguments in APPS]
)
def test_an_app_of_hydra_s_documentation_is_swept_as_hydra_s_own_sweeper_does(
    other_project: Callable[..., OtherProject], name: str, program: tuple[str, ...], arguments: Sequence[str]
) -> None:
    project = other_project(name, *program)
    project.multirun("hydra.sweep.dir=own", *arguments)
    results, printed = project.sweep("swept", *arguments)
    assert project.jobs("swept") == project.jobs("own")
    assert results["trials"]["finished"] == len(project.jobs("own")), printed


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_directories_by_overrides_working_directories_and_callbacks_are_hydra_s(
    other_project: Callable[..., OtherProject], launcher: str
) -> None:
    project = other_project("settings", "app.py")
    # Relative, as Hydra's default is.
    project.multirun("hydra.sweep.dir=own", "base=1,2")
    project.multirun("hydra.sweep.dir=swept", "base=1,2", "hydra/sweeper=wandb", f"hydra/launcher={launcher}")
    for name in ("own", "swept"):
        texts = {p.parent.name: p.read_text() for p in (project.directory / name).glob("*/here.txt")}
        assert {job: text.split()[1] for job, text in texts.items()} == {"base=1": "10", "base=2": "20"}
        # Of two agents side by side, either may be the first to begin.
        assert sorted(text.split()[0] for text in texts.values()) == ["0", "1"]
        notes = (project.directory / name / "notes.txt").read_text().splitlines()
        assert sorted(notes) == ["1 end 10.0", "1 start", "2 end 20.0", "2 multirun", "2 start"]


@pytest.mark.parametrize("launcher", ["submitit_local", "joblib"])
def test_resolvers_of_the_script_itself_are_known_in_other_processes(
    other_project: Callable[..., OtherProject], launcher: str
) -> None:
    project = other_project("settings", "app.py")
    results, _ = project.sweep("swept", f"hydra/launcher={launcher}", "hydra.sweeper.agents=2", "base=1,2,3")
    assert (results["trials"]["finished"], results["best_value"]) == (3, 10.0)


def test_a_search_in_the_config_is_that_of_hydra_s_own_sweeper_whatever_the_task_returns(
    other_project: Callable[..., OtherProject],
) -> None:
    project = other_project("searched", "app.py")
    project.multirun("hydra.sweep.dir=own")
    results, printed = project.sweep("swept")
    assert project.jobs("swept") == project.jobs("own")
    assert results["trials"]["finished"] == 4
    assert "There is no best trial: none has a metric 'objective'" in printed


def test_an_experiment_may_hold_the_search_itself(other_project: Callable[..., OtherProject]) -> None:
    project = other_project("experiments", "my_app.py")
    search = "# @package _global_\ndefaults:\n  - override /hydra/sweeper: wandb\n  - override /db: sqlite\n"
    search += "hydra:\n  sweeper:\n    metric: {name: cost, goal: maximize}\n    params: {server.port: '80,81'}\n"
    (project.directory / "conf" / "experiment" / "search.yaml").write_text(search)
    project.multirun("+experiment=search", "hydra.sweep.dir=swept", "server=apache,nginx")
    results = yaml.safe_load((project.directory / "swept" / "optimization_results.yaml").read_text())
    assert results["best_value"] == 40.5
    assert results["trials"]["finished"] == 4


# --- a template for Lightning ---


@pytest.fixture
def template(other_project: Callable[..., OtherProject]) -> OtherProject:
    """The project in the layout of templates for Lightning."""
    return other_project("lightning_style", "src/train.py")


def results_of(project: OtherProject) -> tuple[Path, dict[str, Any]]:
    """The one sweep directory, where the app's own config has put it, and its results."""
    (path,) = project.directory.glob("logs/train/multiruns/*/optimization_results.yaml")
    return path.parent, yaml.safe_load(path.read_text())


def test_a_search_of_a_lightning_template_runs_by_its_own_command(template: OtherProject) -> None:
    printed = template.multirun("hparams_search=mnist_wandb", "experiment=example", "logger=csv")
    directory, results = results_of(template)
    assert results["trials"]["finished"] == 6, printed
    assert results["best_params"] == {"model.optimizer.lr": 0.5, "data.batch_size": 128}
    best = Path(results["best_dir"])
    assert best.parent == directory
    names = {str(path.relative_to(best)) for path in best.rglob("*") if path.is_file()}
    assert {"train.log", "checkpoints/last.ckpt", "csv/metrics.csv", ".hydra/config.yaml"} <= names
    assert yaml.safe_load((best / ".hydra" / "config.yaml").read_text())["trainer"]["max_epochs"] == 2


def test_the_configs_of_a_lightning_template_are_those_of_hydra_s_own_sweeper(template: OtherProject) -> None:
    arguments = ("experiment=example", "model.net.width=32,64", "trainer=default,short", "+optimized_metric=val/acc")
    template.multirun("hydra.sweep.dir=own", *arguments)
    results, _ = template.sweep("swept", *arguments)
    assert template.jobs("swept") == template.jobs("own")
    assert results["trials"]["finished"] == 4


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_wandb_logger_in_a_template_writes_into_the_trial_s_run(template: OtherProject, launcher: str) -> None:
    arguments = ("hparams_search=mnist_wandb", "logger=many_loggers", "data.batch_size=64")
    template.multirun(f"hydra/launcher={launcher}", "hydra.sweeper.agents=1", *arguments)
    _, results = results_of(template)
    assert results["trials"]["finished"] == 2
    runs = runs_of(template, results["sweep_path"])
    assert {run["config"]["model.optimizer.lr"] for run in runs} == {0.1, 0.5}
    for run in runs:
        assert (run["state"], run["tags"]) == ("finished", ["dev"])
        assert run["steps"] == 5
        assert run["summary"]["val/acc"] == run["summary"]["val/acc_best"]
        assert run["config"]["data.batch_size"] == run["config"]["data"]["batch_size"] == 64
    assert max(run["summary"]["val/acc_best"] for run in runs) == results["best_value"]


def runs_of(project: OtherProject, sweep_path: str) -> list[dict[str, Any]]:
    """A sweep's runs, as W&B's public API shows them."""
    address = read_address(project.directory / ".wandb_sweep_server")
    assert address is not None
    code = (
        "import json, wandb\n"
        f"runs = wandb.Api().sweep({sweep_path!r}).runs\n"
        "print('RESULT', json.dumps([dict(state=r.state, tags=r.tags, config=dict(r.config),"
        " steps=len([row for row in r.scan_history() if 'val/acc' in row]),"
        " summary={k: v for k, v in r.summary.items() if not k.startswith('_')}) for r in runs]))"
    )
    env = {**project.env, "WANDB_BASE_URL": address.url, "WANDB_API_KEY": address.api_key}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    loaded: list[dict[str, Any]] = json.loads(line.removeprefix("RESULT "))
    return loaded
