"""What an embedded server tells its own pages of a sweep, and W&B's protocol has no words for: who worked when."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ._client import SweepRef
from ._errors import SweepError
from ._recognise import is_own_server
from ._transport import ServerAccess, Transport

_TIMEOUT_S = 30.0
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class RunTimes:
    """When a run was worked on, in seconds since the epoch, and by which agent. ended_at: None if it goes on."""

    began_at: float
    ended_at: float | None
    duration_s: float
    agent: str | None


@dataclass(frozen=True)
class Work:
    """agents: as in sweep data. times: by run id."""

    agents: Sequence[Mapping[str, Any]]
    times: Mapping[str, RunTimes]


def read_work(open_access: Callable[[], ServerAccess], ref: SweepRef) -> Work | None:
    """Return who worked on a sweep when; None if its server can't tell: it is W&B's, or one of another version."""
    transport = Transport(open_access, patience_s=_PATIENCE_S, timeout_s=_TIMEOUT_S)
    try:
        access = open_access()
        if not access.is_local and not is_own_server(access.url):
            return None
        names = (quote(name, safe="") for name in (ref.entity, ref.project, ref.sweep_id))
        content = io.BytesIO()
        transport.download("{}/page/data/{}/{}/sweeps/{}".format(access.url.rstrip("/"), *names), content)
        return _work(json.loads(content.getvalue()))
    except (SweepError, ValueError, KeyError, TypeError):
        return None
    finally:
        transport.close()


def _work(page: Mapping[str, Any]) -> Work:
    runs = page["runs"]
    columns = zip(runs["began_at"], runs["ended_at"], runs["duration_s"], runs["agent"], strict=True)
    times = (RunTimes(*values) for values in columns)
    return Work(list(page["agents"]), dict(zip(runs["id"], times, strict=True)))
