"""A sweep directory without room, or that is none: refused before there is a sweep, said in a sentence later on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sweeper.conftest import Project, Sweep
from tests.integration.sweeper.test_command import APP as GATED
from tests.integration.sweeper.test_command import LAUNCHERS, begun, command, go, results
from tests.small_disk import fill, small_disk

# The trial of x=2 fills the disk, once, as a checkpoint may.
APP = """
import contextlib, os
from pathlib import Path
import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    if cfg.x == 2 and not Path("filled").exists():
        Path("filled").touch()
        with open(Path(cfg.marks) / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(os.urandom(4096))
    return float(cfg.x)


if __name__ == "__main__":
    main()
"""


def assert_in_a_sentence(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "Errno" not in done.stdout + done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 16_000) as directory:
        yield directory


@pytest.mark.parametrize("directory", ["/proc/sweep", "app.py/sweep"])
def test_a_sweep_directory_that_can_t_be_made_is_refused_before_anything_exists(
    project: Project, directory: str
) -> None:
    sweep = project.run("-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={directory}", "x=1,2", check=False)
    assert_in_a_sentence(sweep)
    whole = project.directory / directory
    assert re.search(
        rf"hydra\.sweep\.dir={whole} can't be used: [\w ]+ \({whole}.*\)\. No sweep was made\. "
        r"See to it that you may write there, or choose another hydra\.sweep\.dir\.",
        sweep.stderr,
    ), sweep.stderr
    assert not (project.directory / ".wandb_sweep_server").exists()


def test_a_disk_without_room_is_refused_before_anything_exists(project: Project, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 700) as disk:
        arguments = ("-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={disk}/sweep", "x=1,2")
        refused = project.run(*arguments, check=False)
        assert_in_a_sentence(refused)
        assert f"hydra.sweep.dir={disk}/sweep can't be used: No space left on device" in refused.stderr
        assert "No sweep was made. Make room there" in refused.stderr
        assert not (project.directory / ".wandb_sweep_server").exists()
        subprocess.run(["mount", "-o", "remount,size=16000k", str(disk)], check=True)
        project.run(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [(), ("hydra.sweeper.isolation=none",), LAUNCHERS["submitit_local"], LAUNCHERS["joblib"]],
    ids=["basic", "inline", "submitit_local", "joblib"],
)
def test_a_disk_that_becomes_full_ends_the_sweep_in_a_sentence_and_with_room_it_goes_on(
    project: Project, disk: Path, arguments: tuple[str, ...]
) -> None:
    (project.directory / "app.py").write_text(APP)
    # An agent may have been given a run that it had no room to note: the server offers it again when it is overdue.
    server = project.directory / ".wandb_sweep_server"
    server.mkdir(mode=0o700)
    (server / "settings.json").write_text('{"crash_timeout_s": 10}')
    own = ("-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={disk}/sweep", f"marks={disk}", "x=1,2,3,4,5,6")
    done = project.run(*own, "hydra.sweeper.max_retries=1", *arguments, check=False)
    # Python's logging has words of its own for a job's log file that can't be written, of each process.
    done.stderr = re.sub(
        r"--- Logging error ---\n.*?^Arguments: [^\n]*\n", "", done.stderr, flags=re.DOTALL | re.MULTILINE
    )
    assert_in_a_sentence(done)
    (said,) = re.findall(r"^The sweep directory can't be written: .*$", done.stderr, re.MULTILINE)
    assert re.search(rf": No space left on device \({disk}/sweep/.*\)\. Make room there; ", said)
    assert said.endswith(f"then the sweep goes on where it was: hydra-sweep attach {disk}/sweep")
    assert_whole(disk / "sweep")
    (disk / "ballast").unlink()
    attached = command(project, "attach", f"{disk}/sweep")
    assert_whole(disk / "sweep")
    sweep = Sweep(disk / "sweep", attached)
    assert [(row["x"], row["state"]) for row in sorted(sweep.trials, key=lambda row: row["x"])] == [
        (str(x), "finished") for x in range(1, 7)
    ]
    assert sweep.results["best_value"] == 1
    assert len(project.runs()) == 6
    assert [path.name for path in (disk / "sweep").rglob(".*.*") if path.is_file()] == []


def test_a_supervisor_that_leaves_says_that_its_results_can_t_be_written(project: Project, disk: Path) -> None:
    (project.directory / "app.py").write_text(GATED)
    process, log = project.start(f"hydra.sweep.dir={disk}/sweep", "x=1,2", *LAUNCHERS["submitit_local"])
    begun(project, 2)
    ballast = fill(disk)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    said = (log / "supervisor.log").read_text()
    assert re.search(rf"The results can't be written: No space left on device \({disk}/sweep/\w+\.\w+\)", said), said
    assert "The supervisor leaves" in said
    assert "Traceback" not in said
    ballast.unlink()
    go(project, "all")
    command(project, "attach", f"{disk}/sweep")
    assert results(disk / "sweep")["trials"]["finished"] == 2


def assert_whole(directory: Path) -> None:
    """Nothing in the ledger is written by half."""
    for path in (directory / ".sweep" / "events").iterdir():
        text = path.read_text()
        assert text.endswith("\n") or not text
        assert all(json.loads(line)["event"] for line in text.splitlines())
    for name in ("trials", "attempts", "offers", "results"):
        for path in (directory / ".sweep" / name).iterdir():
            assert path.suffix == ".dir" or path.name.startswith(".") or json.loads(path.read_text()) is not None
