"""What was submitted is what runs, whatever is edited meanwhile."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.sweeper.conftest import Project
from tests.unit.sweeper.test_snapshot import WHO
from tests.waiting import wait_for

# The first trial waits until the files were edited.
APP = """
import json, time
from pathlib import Path
import hydra
import helper
from omegaconf import OmegaConf


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    extra = OmegaConf.to_container(cfg).get("extra")
    with open("seen.jsonl", "a") as file:
        file.write(json.dumps({"x": cfg.x, "helper": helper.WORD, "extra": extra}) + "\\n")
    deadline = time.monotonic() + 60
    while not Path("edited").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return 0.0


if __name__ == "__main__":
    main()
"""
# Spawned trials import the code anew.
ONE_AGENT = ("hydra/launcher=submitit_local", "hydra.sweeper.agents=1", "hydra.sweeper.isolation=spawn")


def git(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=project.directory, env={**project.env, **WHO}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(project: Project) -> list[dict[str, object]]:
    path = project.directory / "seen.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_and_edit(project: Project, edits: dict[Path, str], *arguments: str) -> Path:
    """Run two trials; write the files when the first has begun."""
    process, directory = project.start("x=1,2", *ONE_AGENT, *arguments)
    wait_for(lambda: seen(project), "the first trial runs")
    for path, text in edits.items():
        path.write_text(text)
    (project.directory / "edited").touch()
    assert process.wait(timeout=120) == 0, (directory / "supervisor.log").read_text()
    return directory


@pytest.mark.parametrize(("snapshot", "second"), [("true", "as submitted"), ("false", "edited")])
def test_a_snapshot_of_the_code_is_what_runs(project: Project, snapshot: str, second: str) -> None:
    helper = project.directory / "helper.py"
    (project.directory / "app.py").write_text(APP)
    helper.write_text("WORD = 'committed'\n")
    git(project, "init", "-q")
    git(project, "add", "app.py", "helper.py", "conf")
    git(project, "commit", "-qm", "one")
    helper.write_text("WORD = 'as submitted'\n")
    directory = run_and_edit(project, {helper: "WORD = 'edited'\n"}, f"hydra.sweeper.snapshot_code={snapshot}")
    assert [trial["helper"] for trial in seen(project)] == ["as submitted", second]
    assert (directory / ".sweep" / "git_commit.txt").read_text() == git(project, "rev-parse", "HEAD")
    assert "+WORD = 'as submitted'" in (directory / ".sweep" / "git_diff.patch").read_text()


def test_a_snapshot_of_code_without_git_is_refused_before_a_sweep_exists(project: Project) -> None:
    sweep = project.sweep("x=1", *ONE_AGENT, "hydra.sweeper.snapshot_code=true", check=False)
    assert sweep.process.returncode == 1
    assert "hydra.sweeper.snapshot_code=True: needs a git repository" in sweep.output
    assert not (project.directory / ".wandb_sweep_server").exists()


@pytest.mark.parametrize("by", ["primary config", "command line"])
def test_configs_on_every_search_path_are_as_submitted(project: Project, by: str) -> None:
    (project.directory / "app.py").write_text(APP)
    (project.directory / "helper.py").write_text("WORD = ''\n")
    groups = [project.directory / name for name in ("relative", "with a space, and more")]
    for number, group in enumerate(groups):
        (group / f"extra{number}").mkdir(parents=True)
        (group / f"extra{number}" / "one.yaml").write_text("word: as submitted\n")
    searchpath = f"[relative, 'file://{groups[1]}', pkg://hydra.conf]"
    arguments = ["+extra0@extra.a=one", "+extra1@extra.b=one"]
    if by == "primary config":
        with open(project.directory / "conf" / "config.yaml", "a") as file:
            file.write(f"hydra:\n  searchpath: {searchpath}\n")
    else:
        arguments.append(f"hydra.searchpath={searchpath}")
    edits = {group / f"extra{number}" / "one.yaml": "word: edited\n" for number, group in enumerate(groups)}
    edits[project.directory / "conf" / "config.yaml"] = "x: 0\n"
    directory = run_and_edit(project, edits, *arguments)
    submitted = {"a": {"word": "as submitted"}, "b": {"word": "as submitted"}}
    assert [trial["extra"] for trial in seen(project)] == [submitted, submitted]
    assert "is not available" not in (directory / "supervisor.log").read_text()
