"""The SDK in every version that has to work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.integration.server.sdk import Sdk

_ROOT = Path(__file__).parents[2]
# The oldest, a middle one, and the newest: that of the interpreter that runs the tests.
_VERSIONS = ("newest", "0.22.3", "0.19.11")


@pytest.fixture(scope="session", params=_VERSIONS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    """The SDK in each version."""
    if request.param == "newest":
        return Sdk((0, 31), Path(sys.executable))
    python = _ROOT / f".venv-wandb-{request.param}" / "bin" / "python"
    if not python.exists():
        reason = f"{python} does not exist; `make sdk-venvs` makes it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    major, minor, *_ = request.param.split(".")
    return Sdk((int(major), int(minor)), python)
