"""What Hydra's part of a trial costs: composing its config, making its output directory, all else around the task.

Each trial is forked, as this plugin's are, and does nothing else: no W&B, no server, a task that returns at once.
From before the composition to after the last callback, in the trial's own process:

- Hydra's own functions: load_sweep_config and run_job, as its launchers call them.
- this plugin: its composer, which has composed what is the same for all trials before the fork, and its run_job.

Of a small app (one value is swept) and of one with config groups (a choice and a value are swept). What both leave in
the output directory is compared by tests, byte for byte.

    python benchmarks/composition.py            # some seconds
    python benchmarks/composition.py --quick
"""

from __future__ import annotations

import os
import statistics
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import results
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job as hydras_run_job
from hydra.types import HydraContext
from omegaconf import DictConfig
from results import Row, Table, spread
from scratch import scratch

from hydra_plugins.hydra_wandb_sweeper._composing import Composer
from hydra_plugins.hydra_wandb_sweeper._job_config import JobConfig
from hydra_plugins.hydra_wandb_sweeper._run_job import run_job
from hydra_plugins.hydra_wandb_sweeper._warm_up import compose_ahead

OURS, HYDRAS = "this plugin", "Hydra's own functions"
APPS: Mapping[str, tuple[Mapping[str, str], Callable[[int], list[str]]]] = {
    "one value": ({"config.yaml": "x: 0\n"}, lambda number: [f"x={number}"]),
    "groups": (
        {
            "config.yaml": "defaults: [_self_, model: mlp, data: a, optimizer: sgd]\nx: 0\nn: ${model.name}-${x}\n",
            **{f"model/{name}.yaml": f"name: {name}\nlayers: [64, 64]\n" for name in ("mlp", "cnn")},
            **{f"data/{name}.yaml": f"path: {name}\nsize: 10\n" for name in "ab"},
            "optimizer/sgd.yaml": "lr: 0.1\nmomentum: 0.9\n",
        },
        lambda number: [f"model={('mlp', 'cnn')[number % 2]}", f"x={number}"],
    ),
}


class NoCallbacks:
    """Hydra's callbacks where none are configured."""

    def on_job_start(self, **_: Any) -> None:
        """See hydra.experimental.callback.Callback."""

    def on_job_end(self, **_: Any) -> None:
        """See hydra.experimental.callback.Callback."""


def finish(job: JobConfig, number: int, directory: Path) -> str:
    """Do what a launcher does between composition and job; returns the output directory."""

    def note(part: Any) -> None:
        part.num, part.id = number, str(number)

    job.change_hydra("job", note)
    job.change_hydra("sweep", lambda sweep: sweep.update(dir=str(directory), subdir=str(number)))
    HydraConfig.instance().cfg = job.config  # type: ignore[assignment]
    return os.path.join(str(job.config.hydra.sweep.dir), str(job.config.hydra.sweep.subdir))


def ours(composer: Composer, overrides: Sequence[str], number: int, directory: Path, context: HydraContext) -> None:
    """One trial's part of Hydra, as this plugin does it."""
    job = composer.compose_last(overrides)
    run_job(lambda _: 0.0, job, finish(job, number, directory), context)


def hydras(master: DictConfig, overrides: Sequence[str], number: int, directory: Path, context: HydraContext) -> None:
    """The same with Hydra's own functions."""
    config = context.config_loader.load_sweep_config(master, list(overrides))
    finish(JobConfig(config), number, directory)
    hydras_run_job(
        task_function=lambda _: 0.0,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )


def in_fork(work: Callable[[], None]) -> float:
    """Run that in a forked process; returns the seconds that it took there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        started_s = time.perf_counter()
        work()
        os.write(writer, struct.pack("d", time.perf_counter() - started_s))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return float(struct.unpack("d", said)[0])


def measure(app: str, trials: int, repeat: int) -> list[Row]:
    """A row for Hydra and one for this plugin. Repetitions alternate, so that a busy moment hits both."""
    files, overrides_of = APPS[app]
    found: dict[str, list[float]] = {HYDRAS: [], OURS: []}
    with scratch() as folder:
        for name, text in files.items():
            path = Path(folder, "conf", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with initialize_config_dir(str(Path(folder, "conf")), version_base="1.3", job_name="app"):
            master = compose("config", return_hydra_config=True)
            callbacks: Any = NoCallbacks()
            context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=callbacks)
            composer = Composer(context.config_loader, master)
            for repetition in range(repeat):
                for name in found:
                    taken = []
                    for number in range(trials):
                        overrides, directory = overrides_of(number), Path(folder, f"{name}{repetition}")
                        compose_ahead(composer, overrides)
                        composer.prepare_further()
                        way = ours if name == OURS else hydras
                        source = composer if name == OURS else master
                        taken.append(in_fork(lambda: way(source, overrides, number, directory, context)))  # noqa: B023
                    found[name].append(1000 * statistics.median(taken))
    return [{"app": app, "with": name, "ms per trial": spread(taken_ms)} for name, taken_ms in found.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    options = results.parse(results.parser(__doc__), arguments)
    trials = 2 if options.quick else 20
    rows = [row for app in APPS for row in measure(app, trials, options.repeat)]
    results.report(__file__, __doc__, options, [Table("Hydra's part of a trial", rows)])


if __name__ == "__main__":
    main()
