"""Signs of life of supervisors, and orders to agents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hydra_plugins.hydra_wandb_sweeper._control import Control, Orders
from hydra_plugins.hydra_wandb_sweeper._watch import SILENCE_S, Watch


def test_a_sweep_has_one_supervisor_until_that_leaves_or_falls_silent(tmp_path: Path) -> None:
    now = 0.0
    first, second = (Watch(tmp_path, lambda: now, lambda _: None) for _ in range(2))
    assert first.holder() is None
    assert first.keep()
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert not second.keep()
    second.leave()
    assert first.holder() is not None, "it was not the second one's to give up"
    first.leave()
    assert second.keep()
    now += SILENCE_S
    assert first.holder() is None
    assert first.keep()
    assert not second.keep(), "it was silent for too long, and its place is taken"


def test_a_supervisor_of_this_machine_is_looked_for_among_its_processes(tmp_path: Path) -> None:
    now = 0.0
    code = f"""
from pathlib import Path
from hydra_plugins.hydra_wandb_sweeper._watch import Watch
Watch(Path({str(tmp_path)!r}), lambda: 0.0).keep()
print("keeps", flush=True)
input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "keeps\n"
    watch = Watch(tmp_path, lambda: now)
    now = 10 * SILENCE_S
    holder = watch.holder()
    assert holder is not None, "busy for long, but alive"
    assert holder.pid == process.pid
    now = 0.0
    process.kill()
    process.communicate()
    assert watch.holder() is None, "however fresh its last sign of life is"


def test_orders_stand_until_they_are_taken_back(tmp_path: Path) -> None:
    control = Control(tmp_path)
    assert control.orders() == Orders()
    control.pause()
    control.drain("agent-3")
    assert control.orders() == Orders(paused=True, drained_agents=frozenset({"agent-3"}))
    control.drain()
    assert control.orders().ends_sweep
    control.allow()
    assert control.orders() == Orders(paused=True, drained_agents=frozenset({"agent-3"}))
    control.resume()
    control.cancel()
    control.allow()
    assert control.orders().cancelled, "what was cancelled doesn't go on by itself"
    control.reopen()
    assert control.orders() == Orders(drained_agents=frozenset({"agent-3"}))


def test_an_agent_leaves_by_any_order_that_concerns_it() -> None:
    assert Orders(paused=True).leave_reason("agent-1") is None
    assert Orders(drained_agents=frozenset({"agent-2"})).leave_reason("agent-1") is None
    assert Orders(drained_agents=frozenset({"agent-1"})).leave_reason("agent-1")
    assert Orders(drained_agents=frozenset({"agent-1"})).leave_reason("agent-1r2"), "its job came back"
    assert Orders(drained_agents=frozenset({"agent-1-0"})).leave_reason("agent-1r2-0x1"), "it was replaced"
    assert not Orders(drained_agents=frozenset({"agent-1-0"})).leave_reason("agent-1-1")
    assert Orders(draining=True).leave_reason("agent-1")
    assert Orders(cancelled=True, draining=True).leave_reason("agent-1") == "the sweep was cancelled"
