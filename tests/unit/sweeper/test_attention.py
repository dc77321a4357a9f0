"""Signals to a supervisor, with real signals to this very process."""

from __future__ import annotations

import os
import signal

import pytest

from hydra_plugins.hydra_wandb_sweeper._attention import Attention, LeftSweep


def press(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_the_first_ctrl_c_is_told_and_the_second_one_stops_everything() -> None:
    told: list[None] = []
    with Attention(lambda: told.append(None), blocks=False) as attention:
        attention.check()
        press()
        attention.check()
        assert len(told) == 1
        press()
        with pytest.raises(KeyboardInterrupt):
            attention.check()
        assert len(told) == 1
        assert attention.exit_status == 130
        with pytest.raises(KeyboardInterrupt):  # whatever it is busy with
            press()


def test_where_the_launcher_blocks_the_second_ctrl_c_gets_out_of_it_at_once() -> None:
    with Attention(lambda: None, blocks=True):
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_make_the_supervisor_leave(number: signal.Signals) -> None:
    with Attention(lambda: None, blocks=False) as attention:
        press(number)
        with pytest.raises(LeftSweep, match=number.name):
            attention.check()
        assert attention.exit_status == 128 + number
    with Attention(lambda: None, blocks=True), pytest.raises(KeyboardInterrupt):
        press(number)


def test_signals_that_are_ignored_stay_so_and_handlers_come_back() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Attention(lambda: None, blocks=True):
            press(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_forked_meanwhile_tells_nobody_of_ctrl_c() -> None:
    told: list[None] = []
    reader, writer = os.pipe()
    with Attention(lambda: told.append(None), blocks=True):
        child = os.fork()
        if child == 0:
            try:
                press()
                os.write(writer, str(len(told)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    assert os.read(reader, 9) == b"0"
