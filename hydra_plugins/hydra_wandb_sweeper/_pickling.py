"""Pickling a task for other processes of the same Python: by cloudpickle, with the places of its code."""

from __future__ import annotations

import copy
import io
import marshal
import pickle
from types import CodeType
from typing import Any, TypeVar

import cloudpickle

T = TypeVar("T")


def dumps(value: object) -> bytes:
    """Return what `cloudpickle.loads` makes the value of again. Errors: as of cloudpickle.dumps."""
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()


def copied(value: T) -> T:
    """Return a deep copy. Configs, and what loads them, are pickled and read again in 0.4 of copy.deepcopy's time."""
    try:
        pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return pickle.loads(pickled)  # type: ignore[no-any-return]  # noqa: S301 (of this very process)
    except Exception:  # noqa: BLE001 (whatever it has in it says that it can't be pickled)
        return copy.deepcopy(value)


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    return marshal.loads, (marshal.dumps(code),)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Keeps the file names in the code of a script, for which newer cloudpickles write `<dynamic-code>`.

    Without them tracebacks lack the script's path and lines, and what reads source code, such as torch.jit, fails.
    """

    def __init__(self, file: io.BytesIO) -> None:
        # Of this moment, and not as the chain that it is in cloudpickle, which is asked for each object: a third of
        # the time.
        self.dispatch_table = {**cloudpickle.Pickler.dispatch_table, CodeType: _reduce_code}
        super().__init__(file)
