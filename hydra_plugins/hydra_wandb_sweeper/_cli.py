"""`hydra-sweep`: look at sweeps and steer them, from any shell; the app isn't needed for it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._cli_text import agent_lines, status_text, sync_lines
from ._errors import SweepError
from ._found_sweep import directory_named, sweep_named

if TYPE_CHECKING:
    from ._client import SweepClient, SweepRef

directory_argument = click.argument("directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, for programs.")
server_option = click.option(
    "--server",
    default="auto",
    show_default=True,
    help="Where a sweep that is named by its id is looked for, as hydra.sweeper.server; a URL says so itself.",
)


class _Group(click.Group):
    """Commands whose errors are one sentence on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # of `| head`, which click knows how to take
        except (SweepError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hydra-wandb-sweeper")
def main() -> None:
    """Look at sweeps and steer them.

    DIR is the sweep's directory, which its command has printed (the working directory if left out). A SWEEP is
    named as W&B names it: ID, PROJECT/ID, ENTITY/PROJECT/ID or the URL of its page.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # better than nothing, where the encoding lacks a character
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="[%(asctime)s][%(levelname)s] %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)


@main.command()
@click.argument("target", metavar="[DIR|SWEEP]", default=".")
@server_option
@json_option
def status(target: str, server: str, as_json: bool) -> None:
    """Show counts, the best trial, agents and failures."""
    from ._gone import notes_on
    from ._ledger import Ledger
    from ._status import read_status, server_status

    if (directory := directory_named(target)) is not None:
        shown = read_status(directory)
        shown = replace(shown, notes=notes_on(Ledger.open(directory, "").sweep(), shown.best_run))
    else:
        found = sweep_named(target, server)
        shown = server_status(found.info, found.url, found.client.sweep_runs(found.info.ref))
    click.echo(json.dumps(shown.to_json(), indent=2) if as_json else status_text(shown))


@main.command("open")
@click.argument("target", metavar="[DIR|SWEEP]", default=".")
@click.option("--browser/--no-browser", default=True, help="Open it, or only print its address.")
@server_option
def open_page(target: str, server: str, browser: bool) -> None:
    """Open the sweep's page in a browser.

    The address of an embedded server's page is printed as a link that lets a browser in: it works once, within 10
    minutes.
    """
    from ._open_page import has_screen, page_of, page_of_directory, show
    from ._recognise import recognise

    if (directory := directory_named(target)) is not None:
        page = page_of_directory(directory)
    else:
        found = sweep_named(target, server)
        page = page_of(recognise(found.server), found.info.ref, found.url)
    click.echo(page.url)
    if browser and has_screen() and not show(page):
        click.echo("No browser was found; open the address yourself.", err=True)


@main.command()
@directory_argument
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="So many of them.")
@json_option
def best(directory: Path, top: int, as_json: bool) -> None:
    """Print the best configurations: a line of overrides each, quoted for the shell.

    To run the best one again: eval "python train.py $(hydra-sweep best DIR)". The lines are a file for
    hydra.sweeper.trials, too.
    """
    from ._best import read_best

    trials = read_best(directory, top)
    _answer([trial.to_json() for trial in trials], "\n".join(trial.line for trial in trials), as_json)


@main.command()
@directory_argument
@json_option
def attach(directory: Path, as_json: bool) -> None:
    """Watch over a sweep until it ends; one that was interrupted goes on."""
    from ._commands import attach

    _attached(lambda: attach(directory), directory, as_json)


def _attached(watch: Callable[[], object], directory: Path, as_json: bool) -> None:
    """Watch, and with --json say how the sweep is afterwards, however that went."""
    from ._status import read_status

    if not as_json:
        watch()
        return
    try:
        with _standard_output_to_error():
            watch()
    finally:
        click.echo(json.dumps(read_status(directory).to_json(), indent=2))


@contextlib.contextmanager
def _standard_output_to_error() -> Iterator[None]:
    """Launchers and agents in this process write as Hydra has them do; standard output is for the answer alone."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)


@main.command()
@directory_argument
@click.option("--add", type=click.IntRange(min=1), help="Submit jobs with so many more agents.")
@json_option
def agents(directory: Path, add: int | None, as_json: bool) -> None:
    """List the agents that work, or add some."""
    from ._commands import add_agents
    from ._status import read_status

    if add is not None:
        jobs, follow = add_agents(directory, add)
        rest = f"; the cluster accepts no more for now, {follow} follow as jobs end" if follow else ""
        _answer({"jobs": jobs, "follow": follow}, f"Submitted: {', '.join(jobs) or 'none'}{rest}", as_json)
        return
    shown = read_status(directory)
    lines = agent_lines(shown) or ["No agent works."]
    _answer(shown.to_json()["agents"], "\n".join(lines), as_json)


@main.command()
@click.argument("agents", metavar="[DIR] AGENT...", nargs=-1, required=True)
@json_option
def drain(agents: tuple[str, ...], as_json: bool) -> None:
    """Let agents end after their present trial, without replacement.

    AGENT is an agent's name, or the id of its job.
    """
    from ._commands import drain

    directory = directory_named(agents[0])
    given = agents if directory is None else agents[1:]
    if not given:
        raise click.UsageError("Name an agent, or the id of its job; `hydra-sweep agents DIR` lists them.")
    names = drain(directory or Path(), given)
    _answer({"agents": names}, f"To end after their present trial: {', '.join(names)}", as_json)


@main.command()
@click.argument("target", metavar="[DIR|SWEEP]", default=".")
@server_option
@json_option
def pause(target: str, server: str, as_json: bool) -> None:
    """Let no trial begin until `resume`; running ones go on, and agents wait."""
    from ._control import Control

    _steer(target, server, Control.pause, lambda client, ref: client.pause_sweep(ref))
    _answer({"state": "paused"}, "Paused: no trial begins until `hydra-sweep resume`.", as_json)


@main.command()
@click.argument("target", metavar="[DIR|SWEEP]", default=".")
@server_option
@json_option
def resume(target: str, server: str, as_json: bool) -> None:
    """Let trials begin again after `pause`."""
    from ._control import Control
    from ._status import read_status

    _steer(target, server, Control.resume, lambda client, ref: client.resume_sweep(ref))
    said = "Trials may begin again."
    if (directory := directory_named(target)) is not None and read_status(directory).state == "idle":
        said += f" But no agent works: hydra-sweep attach {directory}"
    _answer({"state": "running"}, said, as_json)


def _steer(
    target: str,
    server: str,
    order: Callable[[Any], None],
    change: Callable[[SweepClient, SweepRef], None],
) -> None:
    """Give an order to the agents of a directory's sweep, and to the server."""
    from ._commands import open_client
    from ._control import Control
    from ._ledger import Ledger

    if (directory := directory_named(target)) is None:
        found = sweep_named(target, server)
        change(found.client, found.info.ref)
        return
    ledger = Ledger.open(directory, "")
    order(Control(ledger.root))
    record = ledger.sweep()
    try:
        change(open_client(record), record.sweep)
    except SweepError as error:
        # This sweep's own agents heed the files; others know only the server.
        click.echo(
            f"Agents that were started elsewhere don't know of it, as the server can't be told: {error}", err=True
        )


@main.command()
@click.argument("target", metavar="[DIR|SWEEP]", default=".")
@server_option
@json_option
def cancel(target: str, server: str, as_json: bool) -> None:
    """Stop a sweep's trials for good, and end its jobs."""
    from ._commands import cancel

    if (directory := directory_named(target)) is not None:
        cancel(directory)
    else:
        _steer(target, server, lambda _: None, lambda client, ref: client.cancel_sweep(ref))
    _answer({"state": "cancelled"}, "Cancelled: running trials are being stopped.", as_json)


@main.command()
@directory_argument
@click.option("--trial", "trials", type=click.IntRange(min=0), multiple=True, help="Only this one; can be repeated.")
@click.option("--wait/--no-wait", default=True, help="Watch until they have ended, where nobody does.")
@json_option
def retry(directory: Path, trials: tuple[int, ...], wait: bool, as_json: bool) -> None:
    """Run failed trials again, under their run ids; stopped ones if they are named."""
    from ._commands import attach, is_worked_on, leave_alone, retry

    numbers = retry(directory, trials)
    said = f"Trials to be run again: {', '.join(map(str, numbers)) or 'none'}"
    if not numbers or is_worked_on(directory):
        _answer({"trials": numbers}, said, as_json)
    elif wait:
        click.echo(said, err=True)
        _attached(lambda: attach(directory), directory, as_json)
    else:
        leave_alone(directory, len(numbers))
        _answer({"trials": numbers}, said, as_json)


@main.command()
@click.argument("target", metavar="[DIR|SWEEP]", default=".")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default: DIR/report.html, or report-ID.html of a SWEEP.",
)
@server_option
@json_option
def report(target: str, output: Path | None, server: str, as_json: bool) -> None:
    """Write report.html: plots and table of a sweep in one file, whether it runs or has ended."""
    from ._disk import writing_output
    from ._report_file import REPORT_FILE, report_of_directory, report_of_sweep

    if (directory := directory_named(target)) is not None:
        path = output or directory / REPORT_FILE
        with writing_output(path):
            made = report_of_directory(directory, path)
    else:
        found = sweep_named(target, server)
        path = output or Path(f"report-{found.info.ref.sweep_id}.html")
        with writing_output(path):
            made = report_of_sweep(found.client, found.info, found.url, found.server.open, path)
    for note in made.notes:
        click.echo(note, err=True)
    _answer({"report": str(made.path), "notes": made.notes}, f"Report: {made.path}", as_json)


@main.command()
@click.argument("target", metavar="[DIR|SWEEP]", default=".")
@click.option(
    "--format",
    type=click.Choice(["csv", "json", "parquet"]),
    help="Default: what the name of the output ends with; csv without one.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output.")
@server_option
def export(target: str, format: str | None, output: Path | None, server: str) -> None:
    """Write a row per trial, as in trials.csv; json and parquet have typed values, and null where there is none."""
    from ._export import export, format_of, rows_of_directory, rows_of_sweep
    from ._page_data import read_work

    chosen = format or format_of(output)
    is_typed = chosen != "csv"
    if (directory := directory_named(target)) is not None:
        rows = rows_of_directory(directory, typed=is_typed)
    else:
        found = sweep_named(target, server)
        work = read_work(found.server.open, found.info.ref)
        rows = rows_of_sweep(found.info, found.client.sweep_runs(found.info.ref), work, typed=is_typed)
    export(rows, chosen, output)


@main.command()
@directory_argument
@click.option("--to", default="wandb", show_default=True, help="Where to: wandb (where your login is), or a URL.")
@click.option("--entity", help="There; default: your login's.")
@click.option("--project", help="There; default: the same name as here.")
@click.option("--sweep", "sweeps", multiple=True, help="Of a server's directory only this one; can be repeated.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Runs at a time.")
@click.option(
    "--requests-per-s",
    type=click.FloatRange(0, 1000, min_open=True),
    default=10.0,
    show_default=True,
    help="To the target, at most.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded.")
@json_option
def sync(directory: Path, as_json: bool, **options: Any) -> None:
    """Upload the ended runs of an embedded server's sweeps to W&B, or to another server.

    DIR is a sweep's directory, or an embedded server's (or its project's) for all its sweeps. Repeated, it uploads
    what is new or has changed.
    """
    from ._sync_command import SyncOptions, sync

    try:
        synced = sync(directory, SyncOptions(**options))
    except KeyboardInterrupt:
        click.echo("Interrupted; the same command goes on where it was.", err=True)
        raise SystemExit(130) from None
    text = "\n".join(line for one in synced for line in sync_lines(one, options["dry_run"]))
    _answer([one.to_json() for one in synced], text or "There is no sweep.", as_json)
    if not all(one.is_complete for one in synced):
        click.echo("Not everything was uploaded; the same command goes on where it was.", err=True)
        raise SystemExit(1)


@main.command()
@click.option(
    "--dir",
    "directory",
    default=".wandb_sweep_server",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the server's data is.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on (0.0.0.0: all).")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: the last one of DIR, else any free one.")
@click.option(
    "--idle-timeout-s",
    type=click.FloatRange(0),
    default=0.0,
    show_default="never",
    help="End after so long without requests and without an open sweep.",
)
@click.option(
    "--crash-timeout-s",
    type=click.FloatRange(0, min_open=True),
    help="A run silent for so long has crashed and is offered again; kept in DIR.  [default: 300]",
)
@click.option(
    "--max-retries",
    type=click.IntRange(0),
    help="How often a crashed run is offered again; kept in DIR.  [default: 3]",
)
def serve(directory: Path, **options: Any) -> None:
    """Run the embedded server of a project, until Ctrl-C or it is idle."""
    command = [sys.executable, "-m", "wandb_sweep_server", "--dir", str(directory)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    os.execv(command[0], command)  # noqa: S606


def _answer(content: object, text: str, as_json: bool) -> None:
    click.echo(json.dumps(content, indent=2) if as_json else text)


if __name__ == "__main__":
    main()
