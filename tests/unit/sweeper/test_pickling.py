"""What of a task's code other processes know."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import pytest

from hydra_plugins.hydra_wandb_sweeper._pickling import dumps

SCRIPT = """
import sys
from pathlib import Path

from hydra_plugins.hydra_wandb_sweeper._pickling import dumps


class Model:
    def fit(self, depth):
        return [1 / layer for layer in range(depth)]


def task(depth=2, *, model=Model()):
    scale = 2
    return [scale * (lambda value: value)(value) for value in model.fit(depth)]


Path(sys.argv[1]).write_bytes(dumps(task))
"""


def test_code_of_a_script_keeps_its_file_and_lines(tmp_path: Path) -> None:
    script, pickled = tmp_path / "train.py", tmp_path / "task.pkl"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, str(script), str(pickled)], env=env, check=True)
    task = cloudpickle.loads(pickled.read_bytes())
    assert inspect.getsource(task).startswith("def task(depth=2")
    with pytest.raises(ZeroDivisionError) as raised:
        task()
    last = raised.traceback[-1]
    assert (Path(last.path), str(last.statement).strip()) == (script, "return [1 / layer for layer in range(depth)]")


def test_closures_and_values_survive() -> None:
    number = 3

    def add(other: int) -> int:
        return number + other

    assert cloudpickle.loads(dumps(add))(4) == 7
    assert cloudpickle.loads(dumps({"a": (1, None)})) == {"a": (1, None)}


def test_what_cannot_be_pickled_is_an_error_as_ever() -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        dumps(threading.Lock())
