"""W&B's service for an agent that will run in this very process, begun while everything else is still to be checked.

It takes as long to start as all that lies before the first trial, which waits for it; and it needs another core.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ._errors import SweepError
from ._isolation import fork_hazard, new_service
from ._server import ServerRef
from ._settings import Settings
from ._wandb_run import uses_wandb

if TYPE_CHECKING:
    from ._wandb_service import SharedService


@contextlib.contextmanager
def early_service(
    settings: Settings, server: ServerRef, launcher_kind: str, task_function: Any, config: DictConfig
) -> Iterator[SharedService | None]:
    """While active, have the service if trials will want it: of tasks that open their run, forked from here.

    launcher_kind: of LauncherTraits. None if an agent has to start it for itself, if any does.
    """
    is_here = launcher_kind == "basic" and settings.agents_per_job == 1 and settings.isolation == "fork"
    # Without the SDK imported here its child would import it for itself alone.
    is_wanted = "wandb" in sys.modules and uses_wandb(task_function)
    if not is_here or not is_wanted or not _may_be_shared(config) or fork_hazard() or not _can_be_opened(server):
        yield None
        return
    service = new_service(server)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def _may_be_shared(config: DictConfig) -> bool:
    from ._wandb_service import may_share_service  # of no use to sweeps that get no further than here

    return may_share_service(config.hydra.job.env_set)


def _can_be_opened(server: ServerRef) -> bool:
    try:
        server.open()
    except SweepError:  # an embedded one that doesn't run yet
        return False
    return True
