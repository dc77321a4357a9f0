"""Whether the server at an address is one of this project's own: it can do more than W&B's protocol asks for."""

from __future__ import annotations

from dataclasses import replace

from wandb_sweep_server import __version__

from ._server import WANDB_CLOUD_URL, ServerRef

_TIMEOUT_S = 5.0


def recognise(server: ServerRef) -> ServerRef:
    """Return the server with `is_own` as it answers for itself; asked when a sweep is made or joined.

    It has to be of this very version, which knows what trials send it. One that doesn't answer is none: what comes
    next asks it again, patiently, and reports what is the matter.
    """
    return server if server.is_local else replace(server, is_own=is_own_server(server.place))


def is_own_server(url: str) -> bool:
    """Return whether the server at a URL is one of this very version."""
    if url == WANDB_CLOUD_URL:
        return False
    import requests

    try:
        about = requests.get(f"{url.rstrip('/')}/healthz", timeout=_TIMEOUT_S, allow_redirects=False).json()
        return (about["service"], about["version"]) == ("wandb_sweep_server", __version__)
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return False
