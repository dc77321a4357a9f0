"""Pickling a task for other processes of the same Python: by cloudpickle, with the places of its code."""

from __future__ import annotations

import io
import marshal
from collections import ChainMap
from types import CodeType
from typing import Any, ClassVar

import cloudpickle


def dumps(value: object) -> bytes:
    """Return what `cloudpickle.loads` makes the value of again. Errors: as of cloudpickle.dumps."""
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    return marshal.loads, (marshal.dumps(code),)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Keeps the file names in the code of a script, for which newer cloudpickles write `<dynamic-code>`.

    Without them tracebacks lack the script's path and lines, and what reads source code, such as torch.jit, fails.
    """

    dispatch_table: ClassVar = ChainMap({CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)
