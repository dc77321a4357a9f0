"""What a user waits for before the first trial begins and after the last one has ended.

All times are from outside, by the clock that all processes share: from the start of the command to the moment at
which the first trial's task function begins, and from the end of the last one's to the prompt.

- start: a sweep of two trials by the local launcher, against `python app.py` of the same app and against Hydra's own
  multirun. "server runs": the project's embedded server is there; "server starts": it is started by the command, as
  for a project's first sweep. Of an app with little to import and of one that imports for 3 s; of a task that only
  returns a number ("returns") and of one that logs to W&B itself ("logs").
- size: sweeps of 10 to 10^5 configurations, written in the ways in which one can write them. Checking them,
  creating the sweep and claiming the first trial are all before the first trial, so that is what is measured.
- end: what the supervisor does between the last trial and the prompt reads and writes what all trials have left. Here
  a process does so for ledgers of 10^2 to 10^5 trials; and how long a look at the events takes while a sweep runs.

    python benchmarks/latency.py            # about 7 minutes
    python benchmarks/latency.py --quick    # about half a minute, for whether it runs
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results
from cases import CASES, Case
from commands import APP
from results import Table
from scratch import scratch
from server import Server

from wandb_sweep_server.launch import ServerAddress, read_address

LOCAL_SERVER = ".wandb_sweep_server"
PLUGIN = ("-m", "hydra/sweeper=wandb", "hydra.sweeper.server=local", "hydra.sweeper.metric.name=loss")
SIZES = (10, 1_000, 100_000)
ENDS = (100, 10_000, 100_000)


@dataclass(frozen=True)
class Way:
    """A way of running the app. runs_server: whether the embedded server is there already."""

    name: str
    arguments: tuple[str, ...]
    runs_server: bool = True


PLAIN = Way("python app.py", ("x=1.0",))
WAYS = (
    PLAIN,
    Way("python app.py -m (Hydra's BasicSweeper)", ("-m", "x=1.0,2.0")),
    Way("this plugin, server runs", (*PLUGIN, "x=1.0,2.0")),
    Way("this plugin, server starts", (*PLUGIN, "x=1.0,2.0"), runs_server=False),
)


@dataclass(frozen=True)
class Waits:
    """Seconds from the start to the first trial, and from the last one's end to the prompt."""

    first_s: float
    prompt_s: float


def environment(stamps: Path, case: Case, address: ServerAddress | None) -> dict[str, str]:
    """Variables of a run: nobody's login, and the embedded server for what logs to it by itself."""
    # Where Python may keep no byte code, an editable install is compiled at every start: no user's is.
    unwanted = ("WANDB_", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env |= {
        "NETRC": os.devnull,
        "HOME": str(stamps.parent),
        "WANDB_SILENT": "true",
        **case.environment(stamps),
    }
    if address is not None:
        env |= {"WANDB_BASE_URL": address.url, "WANDB_API_KEY": address.api_key}
    return env


def run(project: Path, arguments: Sequence[str], case: Case, address: ServerAddress | None) -> Waits:
    """Run the app once.

    Raises:
        RuntimeError: It failed or ran no trial; with the end of its output.
    """
    stamps = project / "stamps"
    stamps.unlink(missing_ok=True)
    number = next(_numbers)
    places = [f"hydra.run.dir=run{number}", f"hydra.sweep.dir=sweep{number}"]
    env = environment(stamps, case, address)
    command = [sys.executable, APP, *arguments, *places]
    started_s = time.monotonic()
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    ended_s = time.monotonic()
    lines = [line.split() for line in stamps.read_text().splitlines()] if stamps.exists() else []
    begins = [float(time_s) for event, time_s in lines if event == "begin"]
    ends = [float(time_s) for event, time_s in lines if event == "end"]
    if done.returncode != 0 or not begins:
        output = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{' '.join(arguments)}: status {done.returncode}, {len(begins)} trials\n{output}")
    return Waits(min(begins) - started_s, ended_s - max(ends))


_numbers = itertools.count()


@contextlib.contextmanager
def project_with(*, server: bool) -> Iterator[tuple[Path, ServerAddress | None]]:
    """A directory to run the app in, with its server if there shall be one; at the end none is left in any case."""
    with scratch() as folder:
        project = Path(folder)
        if server:
            with Server(project / LOCAL_SERVER) as address:
                yield project, address
            return
        try:
            yield project, None
        finally:
            if read_address(project / LOCAL_SERVER) is not None:
                with Server(project / LOCAL_SERVER):
                    pass


def measure_start(cases: Sequence[Case], repeat: int) -> list[dict[str, Any]]:
    """A row for each case and way. Repetitions go round them all, so that a busy moment hits them alike."""
    found: dict[tuple[Case, Way], list[Waits]] = {(case, way): [] for case in cases for way in WAYS}
    with project_with(server=True) as (project, address):
        # Once unmeasured, so that Python has compiled what the first one would have to.
        run(project, WAYS[-1].arguments, cases[0], None)
        for _ in range(repeat):
            for case, way in found:
                if way.runs_server:
                    waits = run(project, way.arguments, case, address)
                else:
                    with project_with(server=False) as (new_project, _):
                        waits = run(new_project, way.arguments, case, None)
                found[case, way].append(waits)
    rows = []
    for (case, way), waits in found.items():
        plain_s = results.spread([w.first_s for w in found[case, PLAIN]])["median"]
        first_s = results.spread([w.first_s for w in waits])
        rows.append(
            {
                "task": case.name,
                "with": way.name,
                "first trial after (s)": first_s,
                "times python app.py": first_s["median"] / plain_s,
                "prompt after (s)": results.spread([w.prompt_s for w in waits]),
            }
        )
    return rows


# --- sizes ---


def _one_range(size: int, _: Path) -> list[str]:
    return [f"x=range({size})"]


def _grid_of_ranges(size: int, _: Path) -> list[str]:
    return ["x=range(10)", f"+y=range({size // 10})"]


def _list_in_config(size: int, project: Path) -> list[str]:
    return _in_config(f"[{_values(size)}]", f"list{size}", project)


def _choices_in_config(size: int, project: Path) -> list[str]:
    return _in_config(f'"{_values(size)}"', f"choices{size}", project)


def _values(size: int) -> str:
    return ",".join(f"{number}.5" for number in range(size))


def _in_config(values: str, name: str, project: Path) -> list[str]:
    """Values in a config file: no command line is so long."""
    path = project / "conf" / "space" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\nhydra:\n  sweeper:\n    params:\n      x: {values}\n")
    return [f"hydra.searchpath=[file://{project / 'conf'}]", f"+space={name}"]


def _list_of_trials(size: int, project: Path) -> list[str]:
    path = project / f"trials{size}.txt"
    path.write_text("".join(f"x={number}.5 +y={number % 7} '+note=trial {number}'\n" for number in range(size)))
    return [f"hydra.sweeper.trials={path}"]


SHAPES: Mapping[str, Callable[[int, Path], list[str]]] = {
    "x=range(N)": _one_range,
    "x=range(10) y=range(N/10)": _grid_of_ranges,
    "hydra.sweeper.params.x: 'a,b,…' of N": _choices_in_config,
    "hydra.sweeper.params.x: [a, b, …] of N": _list_in_config,
    "hydra.sweeper.trials: a file of N lines": _list_of_trials,
}


# OmegaConf makes a node of each value of such a list, and Hydra composes them all for every trial: minutes.
MOST_IN_LIST = 1_000
SIZE_NOTE = (
    "Seconds to the first trial. `hydra.sweeper.params` lists values as a text (`x: 0.5,1.5`), which Hydra takes for "
    f"one value until it is swept, or as a YAML list, of which OmegaConf makes a node each: not measured beyond "
    f"{MOST_IN_LIST:,}, since Hydra itself takes minutes for it."
)


def measure_sizes(sizes: Sequence[int], repeat: int) -> list[dict[str, Any]]:
    """A row for each way of writing a sweep: seconds to the first trial by size."""
    found: dict[tuple[str, int], list[float]] = {
        (shape, size): []
        for shape, write in SHAPES.items()
        for size in sizes
        if write is not _list_in_config or size <= MOST_IN_LIST
    }
    with project_with(server=True) as (project, _):
        for _ in range(repeat):
            for shape, size in found:
                written = SHAPES[shape](size, project)
                # All are checked and created, one is run.
                arguments = [*PLUGIN, "hydra.sweeper.run_cap=1", *written]
                found[shape, size].append(run(project, arguments, Case(logs=False, heavy=False), None).first_s)
    return [
        {"configurations": shape}
        | {f"{size:,} (s)": results.spread(found[shape, size]) if (shape, size) in found else None for size in sizes}
        for shape in SHAPES
    ]


# --- the end ---


def leave_ledger(directory: Path, trials: int) -> None:
    """What a sweep of so many finished trials leaves in its directory's ledger."""
    from hydra_plugins.hydra_wandb_sweeper._client import SweepRef
    from hydra_plugins.hydra_wandb_sweeper._events import DIRECTORY
    from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, SweepRecord
    from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
    from hydra_plugins.hydra_wandb_sweeper._template import Form, Slot, Template

    parameters = {"x": {"values": [float(number) for number in range(trials)]}}
    template = Template((Slot("x", "x", Form.FLOAT),))
    ref = SweepRef("local", "app", "sweep0")
    server = ServerRef("local", "nowhere")
    record = SweepRecord(ref, server, "url", "app", "grid", "loss", "minimize", template, parameters, trials)
    Ledger.create(directory, record, "supervisor")
    with (directory / DIRECTORY / "events" / "agent-0.jsonl").open("w", encoding="ascii") as file:
        for event in _events(trials):
            file.write(json.dumps(event) + "\n")


def _events(trials: int) -> Iterator[dict[str, Any]]:
    common = {"by": "agent-0"}
    about = {
        "host": "here",
        "pid": 1,
        "process_start": "1",
        "job": None,
        "job_number": 0,
        "restarts": 0,
        "node": None,
    }
    yield {**common, "event": "agent_started", "time": 0.0, **about}
    for number in range(trials):
        trial = {**common, "trial": number, "attempt": 0, "run_id": f"run{number}", "time": float(number)}
        yield {**trial, "event": "claimed", "args": {"x": float(number)}, "failures": 0, "resumes": False}
        how = {"state": "finished", "metrics": {"loss": number * 0.5}, "error": None, "error_line": None}
        where = {"output_dir": f"/somewhere/multirun/{number}", "duration_s": 1.5, "final": True}
        yield {**trial, "event": "ended", **how, **where}


def conclude(directory: Path) -> dict[str, float]:
    """Seconds that a supervisor takes for each of the things it does with a ledger; see the module."""
    from hydra_plugins.hydra_wandb_sweeper._events import EventReader
    from hydra_plugins.hydra_wandb_sweeper._history import History
    from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger
    from hydra_plugins.hydra_wandb_sweeper._results import collect, write

    record = Ledger.open(directory, "supervisor").sweep()
    history, reader = History(), EventReader(directory)
    times_s = [time.perf_counter()]
    history.add(reader.new_events())
    times_s.append(time.perf_counter())
    history.add(reader.new_events())
    history.counts()
    times_s.append(time.perf_counter())
    found = collect(record, history, directory)
    times_s.append(time.perf_counter())
    write(found, directory)
    times_s.append(time.perf_counter())
    names = ("read all events (s)", "a look while it runs (s)", "sum up (s)", "write results (s)")
    return {name: after - before for name, before, after in zip(names, times_s, times_s[1:], strict=False)}


def measure_end(sizes: Sequence[int], repeat: int) -> list[dict[str, Any]]:
    """A row for each number of trials."""
    rows = []
    for size in sizes:
        with scratch() as folder:
            leave_ledger(Path(folder), size)
            found = [conclude(Path(folder)) for _ in range(repeat)]
        spreads = {name: results.spread([times_s[name] for times_s in found]) for name in found[0]}
        rows.append({"finished trials": size, **spreads})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--only", choices=("start", "size", "end"), help="one of the measurements")
    options = results.parse(parser, arguments)
    tables = []
    if options.only in (None, "start"):
        chosen = [Case(logs=False, heavy=False)] if options.quick else CASES
        tables.append(Table("Start", measure_start(chosen, options.repeat)))
    if options.only in (None, "size"):
        sizes = SIZES[:2] if options.quick else SIZES
        tables.append(Table("Size", measure_sizes(sizes, options.repeat), SIZE_NOTE))
    if options.only in (None, "end"):
        sizes = ENDS[:2] if options.quick else ENDS
        tables.append(Table("End", measure_end(sizes, options.repeat)))
    results.report(__file__, __doc__, options, tables)


if __name__ == "__main__":
    main()
