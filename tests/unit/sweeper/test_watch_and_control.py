"""Signs of life of supervisors, and orders to agents."""

from __future__ import annotations

import os
from pathlib import Path

from hydra_plugins.hydra_wandb_sweeper._control import Control, Orders
from hydra_plugins.hydra_wandb_sweeper._watch import SILENCE_S, Watch


def test_a_sweep_has_one_supervisor_until_that_leaves_or_falls_silent(tmp_path: Path) -> None:
    now = 0.0
    first, second = Watch(tmp_path, lambda: now), Watch(tmp_path, lambda: now)
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


def test_orders_stand_until_they_are_taken_back(tmp_path: Path) -> None:
    control = Control(tmp_path)
    assert control.orders() == Orders()
    control.pause()
    control.drain("agent-3")
    assert control.orders() == Orders(paused=True, drained_agents=frozenset({"agent-3"}))
    control.drain()
    assert control.orders().ends_sweep
    control.resume()
    assert control.orders() == Orders(drained_agents=frozenset({"agent-3"}))
    control.cancel()
    control.resume()
    assert control.orders().cancelled, "what was cancelled doesn't go on by itself"
    control.reopen()
    assert control.orders() == Orders(drained_agents=frozenset({"agent-3"}))


def test_an_agent_leaves_by_any_order_that_concerns_it() -> None:
    assert Orders(paused=True).leave_reason("agent-1") is None
    assert Orders(drained_agents=frozenset({"agent-2"})).leave_reason("agent-1") is None
    assert Orders(drained_agents=frozenset({"agent-1"})).leave_reason("agent-1")
    assert Orders(draining=True).leave_reason("agent-1")
    assert Orders(cancelled=True, draining=True).leave_reason("agent-1") == "the sweep was cancelled"
