"""What happens between pressing return and the first trial."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.integration.sweeper.conftest import Project
from tests.waiting import wait_for


def processes_with(text: str) -> list[str]:
    """The command lines that have this text in them."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if text in line]


def test_a_server_that_got_ready_for_bad_input_is_gone_and_has_left_nothing(project: Project) -> None:
    failed = project.sweep("x=1,2", "nosuchkey=3,4", check=False)
    assert failed.process.returncode != 0
    assert "nosuchkey" in failed.output
    wait_for(lambda: not processes_with(str(project.directory)), "no process is left")
    left = {path.name for path in project.directory.iterdir()}
    assert not any(Path(name).name == ".wandb_sweep_server" for name in left)


def test_the_server_of_a_first_sweep_serves_the_second_too(project: Project) -> None:
    project.sweep("x=1")
    first = project.server()
    project.sweep("x=2")
    assert project.server() == first
    assert len(project.runs()) == 2


def test_an_agent_has_given_a_sign_of_life_before_its_first_trial_begins(project: Project) -> None:
    """Of one that hangs from then on there would be none, and it could never be missed."""
    app = (project.directory / "app.py").read_text()
    sign = 'print("sign:", Path(os.environ["SIGN"]).exists())'
    (project.directory / "app.py").write_text(
        app.replace("    misbehave(cfg)\n    return", f"    {sign}\n    return")
    )
    place = project.directory / "sweep0" / ".sweep" / "signs" / "agent-0"
    sweep = project.sweep("x=1", SIGN=str(place))
    assert "sign: True" in (sweep.directory / "0" / "trial.log").read_text()
