"""A sweep that stops trials early, on the embedded server and with the real SDK."""

from __future__ import annotations

from click.testing import CliRunner

from hydra_plugins.hydra_wandb_sweeper._cli import main
from tests.docs.blocks import blocks_of
from tests.docs.conftest import DOCS
from tests.docs.transcripts import lines_missing
from tests.integration.sweeper.conftest import Project

APP = """
import time
import hydra, wandb


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    wandb.init()
    for step in range(6 if cfg.x == 1 else 100_000):
        wandb.log({"loss": float(cfg.x), "step_of_mine": step})
        time.sleep(0.02)


if __name__ == "__main__":
    main()
"""


def test_a_trial_that_is_too_bad_is_stopped_and_is_no_failure(project: Project) -> None:
    (project.directory / "app.py").write_text(APP)
    sweep = project.sweep(
        "x=1,2",
        "hydra.sweeper.metric.name=loss",
        # One bracket: with more of them the second trial would have come further than the first before anybody looks.
        "hydra.sweeper.early_terminate={type: hyperband, max_iter: 9, s: 1}",
        "hydra.sweeper.max_failure_rate=0",
    )
    reason = "stopped early: bracket 3, loss 2 > 1"
    assert f"loss=2: {reason}" in sweep.output
    (shown,) = (block.text for block in blocks_of(DOCS / "early-stopping.md") if block.part_of == "an early stop")
    assert lines_missing(shown.replace("lr=", "x="), "\n".join(_without_prefix(sweep.output))) == []
    assert sweep.results["trials"] == {"finished": 1, "failed": 0, "stopped": 1, "running": 0, "queued": 0}
    assert (sweep.results["best_value"], sweep.results["best_params"]) == (1, {"x": 1})
    good, bad = sweep.trials
    assert (good["state"], good["metric.loss"]) == ("finished", "1")
    assert (bad["state"], bad["metric.loss"], bad["attempts"], bad["error"]) == ("stopped", "2", "1", reason)
    assert float(bad["metric.step_of_mine"]) >= 3
    shown = CliRunner().invoke(main, ["status", str(sweep.directory)]).output
    assert f"Stopped:\n  trial 1: {reason}\n" in shown + "\n"
    states = {run["config"]["x"]: (run["state"], run["summary"]["loss"]) for run in project.runs()}
    assert states == {1: ("finished", 1), 2: ("killed", 2)}
    assert f"run {bad['run_id']} {reason}" in (project.directory / ".wandb_sweep_server" / "server.log").read_text()


def _without_prefix(output: str) -> list[str]:
    """Lines without the time and Hydra's name of the logger."""
    return [line.rpartition("][HYDRA] ")[2] for line in output.splitlines()]
