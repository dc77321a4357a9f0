"""What is built and installed is whole: the wheel alone, in an environment without this checkout, runs a sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.acceptance.conftest import ROOT
from tests.docs.blocks import Block, blocks_of
from tests.docs.conftest import PAGES
from wandb_sweep_server.launch import read_address

INSTALLATIONS = [block for page in PAGES for block in blocks_of(page) if block.part_of == "an installation"]
APP = """
import hydra

@hydra.main(version_base="1.3", config_path=None, config_name=None)
def main(cfg):
    return (cfg.lr - 0.01) ** 2 + cfg.dropout

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an sdist of the checkout and a wheel made from it, built without the internet."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def tracked(*folders: str) -> set[str]:
    """Files of the packages in the checkout, without what Python and editors leave there."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in (".py", ".typed", ".sql", ".graphql", ".html", ".css", ".js")
    }


def test_wheel_and_sdist_hold_every_file_of_both_packages(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    files = tracked("hydra_plugins", "wandb_sweep_server")
    assert {"wandb_sweep_server/schema.sql", "wandb_sweep_server/schema.graphql"} < files
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    assert {name for name in in_wheel if ".dist-info/" not in name} == files
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert files <= in_sdist
    assert {"README.md", "LICENSE", "pyproject.toml"} <= in_sdist


def test_the_wheel_alone_runs_the_readme_s_minimal_app(built: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True, symlinks=True)
    python = environment / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, timeout=120
    )
    purelib = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    # The dependencies are those of this environment; a path file doesn't bring along this checkout, which is
    # installed there by a path file itself.
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(APP)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "PYTHON"))} | {"HOME": str(tmp_path)}
    where = "import wandb_sweep_server as s, hydra_plugins.hydra_wandb_sweeper as p; print(s.__file__, p.__file__)"
    found = subprocess.run(
        [python, "-c", where], cwd=project, env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.count(str(environment)) == 2
    command = [
        python,
        "train.py",
        "-m",
        "hydra/sweeper=wandb",
        "+lr=0.1,0.01",
        "+dropout=0.1,0.5",
        "hydra.sweep.dir=out",
    ]
    try:
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        results = yaml.safe_load((project / "out" / "optimization_results.yaml").read_text())
        assert results["best_overrides"] == ["+lr=0.01", "+dropout=0.1"]
        assert results["trials"]["finished"] == 4
        tool = [python.with_name("hydra-sweep"), "status", "out"]
        shown = subprocess.run(tool, cwd=project, env=env, capture_output=True, text=True, timeout=60)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert "Trials of 4: 4 finished" in shown.stdout
    finally:
        address = read_address(project / ".wandb_sweep_server")
        if address is not None:
            os.kill(address.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip alone."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(environment, with_pip=True, symlinks=True)
    return environment


@pytest.mark.parametrize("block", INSTALLATIONS, ids=str)
def test_a_page_s_commands_install_the_package(
    built: Path, empty_environment: Path, tmp_path: Path, block: Block
) -> None:
    # The wheel's directory stands for the package index; there are no dependencies in it.
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_FIND_LINKS": str(built)}
    path = f"{empty_environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, **pip, "PATH": path, "HOME": str(tmp_path)}
    script = f"{block.text}pip list --format=freeze\npip uninstall --yes hydra-wandb-sweeper\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nhydra-wandb-sweeper==" in done.stdout
    assert "does not provide the extra" not in done.stdout + done.stderr
