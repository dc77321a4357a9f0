"""What people name on a command line: a sweep's directory, or a sweep on a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import SettingError, SweepError

if TYPE_CHECKING:
    from ._client import SweepClient, SweepInfo
    from ._server import ServerRef


def directory_named(target: str) -> Path | None:
    """Return the directory that an argument names, None if it names something else."""
    return Path(target) if Path(target).is_dir() else None


@dataclass(frozen=True)
class FoundSweep:
    """A sweep on a server. client: of that server. url: of the sweep's page."""

    server: ServerRef
    client: SweepClient
    info: SweepInfo
    url: str


def sweep_named(target: str, setting: str) -> FoundSweep:
    """Return the sweep that is named by its path or URL. Errors: SweepError if there is none."""
    from ._client import SweepClient, SweepRef
    from ._commands import server_named
    from ._plan import START_PATIENCE_S
    from ._settings import parse_sweep_path

    try:
        path = parse_sweep_path(target)
    except SettingError:
        raise SweepError(
            f"'{target}' is neither a directory nor the path of a sweep: DIR, PROJECT/ID or ENTITY/PROJECT/ID."
        ) from None
    if path.project is None:
        raise SweepError(
            f"'{target}' is no directory, and a sweep needs its project too: PROJECT/ID or ENTITY/PROJECT/ID."
        )
    server = server_named(target, setting, Path.cwd())
    client, app_url = SweepClient(server.open, patience_s=START_PATIENCE_S), server.open().app_url
    ref = SweepRef(path.entity or client.default_entity(), path.project, path.sweep_id)
    if (info := client.get_sweep(ref)) is None:
        raise SweepError(
            f"There is no sweep {ref.path}, and no directory '{target}'. Check entity, project and --server."
        )
    return FoundSweep(server, client, info, f"{app_url}/{ref.entity}/{ref.project}/sweeps/{ref.sweep_id}")
