"""What this plugin costs the start of a Hydra app that doesn't use it.

Hydra imports every installed plugin at the start of every app. This measures the wall time of an empty app in
three environments: Hydra alone, with the other plugins that are installed (the launchers, on which this plugin
depends), and with this plugin as well. Runs alternate, so that a busy moment of the machine hits all alike.

    python benchmarks/startup.py    # 20 runs of each
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import results
from scratch import scratch

REPO = Path(__file__).resolve().parent.parent
PLUGINS = "hydra_plugins"
THIS_PLUGIN = "hydra_wandb_sweeper"
THIS_SERVER = "wandb_sweep_server"

APP = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    pass

main()
"""


@dataclass(frozen=True)
class Environment:
    """A directory that stands for one site-packages."""

    label: str
    site_packages: Path


def link_all(source: Path, target: Path, leave_out: set[str]) -> None:
    """Fill ``target`` with links to what is in ``source``."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        link = target / entry.name
        if entry.name not in leave_out and not link.exists():
            link.symlink_to(entry)


def make_environments(folder: Path) -> list[Environment]:
    """Views of this interpreter's packages: without plugins, with all others, and with this one as well."""
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    bare, others, all_of_them = (folder / name for name in ("bare", "others", "all"))
    for site_packages in (bare, others, all_of_them):
        for source in installed:
            link_all(source, site_packages, leave_out={PLUGINS, THIS_SERVER})
    for site_packages in (others, all_of_them):
        for source in installed:
            if (source / PLUGINS).is_dir():
                link_all(source / PLUGINS, site_packages / PLUGINS, leave_out={THIS_PLUGIN, "__pycache__"})
    (all_of_them / PLUGINS).mkdir(exist_ok=True)
    (all_of_them / PLUGINS / THIS_PLUGIN).symlink_to(REPO / PLUGINS / THIS_PLUGIN)
    (all_of_them / THIS_SERVER).symlink_to(REPO / THIS_SERVER)
    return [
        Environment("Hydra alone", bare),
        Environment("with other plugins", others),
        Environment("with this plugin too", all_of_them),
    ]


def start_s(environment: Environment, app: Path) -> float:
    """Wall time of one run of the app, in seconds.

    Raises:
        subprocess.CalledProcessError: the app failed; its output has gone to standard error.
    """
    # -S: no site-packages but the one given, and none of its .pth files, by which editable installs are found.
    command = [sys.executable, "-S", str(app), "hydra.output_subdir=null", "hydra.run.dir=."]
    started_s = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        cwd=app.parent,
        env={**os.environ, "PYTHONPATH": str(environment.site_packages)},
        stdout=sys.stderr,
    )
    return time.perf_counter() - started_s


def measure(num_runs: int) -> dict[str, list[float]]:
    """Start-up times in seconds by environment, ``num_runs`` of each, after one unmeasured run of each."""
    with scratch() as folder:
        app = Path(folder, "app", "app.py")
        app.parent.mkdir()
        app.write_text(APP)
        environments = make_environments(Path(folder))
        for environment in environments:
            start_s(environment, app)
        times: dict[str, list[float]] = {environment.label: [] for environment in environments}
        for _ in range(num_runs):
            for environment in environments:
                times[environment.label].append(start_s(environment, app))
    return times


def rows(times: dict[str, list[float]]) -> list[results.Row]:
    """A row per environment: its times, and how much its median is above the one of the row before."""
    rows: list[results.Row] = []
    before_s: float | None = None
    for label, seconds in times.items():
        median_s = statistics.median(seconds)
        rows.append(
            {
                "environment": label,
                "start (ms)": results.spread([1000 * value for value in seconds]),
                "more than the row before (ms)": None if before_s is None else 1000 * (median_s - before_s),
            }
        )
        before_s = median_s
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = results.parse(results.parser(__doc__), arguments, repeat=20, quick_repeat=2)
    tables = [results.Table("Start of an empty Hydra app", rows(measure(options.repeat)))]
    results.report(__file__, __doc__, options, tables)


if __name__ == "__main__":
    main()
