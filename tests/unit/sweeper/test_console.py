"""What is printed becomes the lines that a terminal would show."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._console import ConsoleLog, Part, Recorder

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)


def log(first: int = 0) -> ConsoleLog:
    return ConsoleLog(first, lambda: NOW)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", []),
        ("a", ["a"]),
        ("a\nb\n", ["a", "b"]),
        ("a\n\nb", ["a", "", "b"]),
        ("a\n\n", ["a"]),
        ("abc\rX", ["Xbc"]),
        ("10%\r20%\r100%\n", ["100%"]),
        ("\rbar", ["bar"]),
        ("one\ntwo\x1b[A\rTW", ["TWe", "two"]),
        ("bar 1\n\rbar 2\x1b[1A\rBAR 1\n\rBAR 2\x1b[1A", ["BAR 1", "BAR 2"]),
        ("a\x1b[9Ab", ["ab"]),
        ("\x1b[31mred\x1b[0m  ", ["\x1b[31mred\x1b[0m"]),
        ("a\tb  \nc", ["a\tb", "c"]),
    ],
    ids=repr,
)
def test_a_terminal_shows_these_lines(written: str, shown: list[str]) -> None:
    console = log()
    console.write("stdout", written)
    assert console.text() == "".join(f"{line}\n" for line in shown)


@given(st.text(alphabet="ab\n\r \x1b[A1"), st.lists(st.integers(0, 30)))
def test_it_doesn_t_matter_in_which_pieces_lines_are_written(text: str, cuts: Sequence[int]) -> None:
    text = text.replace("\x1b", "\x1b[A")  # a sequence is written in one piece
    whole, pieces = log(), log()
    whole.write("stdout", text)
    places = [0, *sorted(cut for cut in cuts if "\x1b" not in text[max(0, cut - 2) : cut]), len(text)]
    for start, end in itertools.pairwise(places):
        pieces.write("stdout", text[start:end])
    assert pieces.text() == whole.text()


def test_each_stream_has_its_own_lines_which_are_told_apart() -> None:
    console = log(first=7)
    console.write("stdout", "out")
    console.write("stderr", "err\n")
    console.write("stdout", " goes on\n")
    time = "2026-01-02T03:04:05.000678"
    assert console.take_changed() == Part(7, [f"{time} out goes on", f"ERROR {time} err"])
    assert console.text() == "out goes on\nerr\n"


def test_only_what_has_changed_is_sent_again() -> None:
    console = log(first=2)
    assert console.take_changed() is None
    console.write("stdout", "a\nb")
    console.take_changed()
    console.write("stdout", "c\nd")
    part = console.take_changed()
    assert part is not None
    assert (part.first, [line.split(" ")[1] for line in part.lines]) == (3, ["bc", "d"])
    assert console.take_changed() is None


def test_what_has_not_arrived_is_taken_again() -> None:
    console = log(first=5)
    console.write("stdout", "a\nb\n")
    lost = console.take_changed()
    assert lost is not None
    console.write("stdout", "c\n")
    console.repeat(lost)
    part = console.take_changed()
    assert part is not None
    assert (part.first, [line.split(" ")[1] for line in part.lines]) == (5, ["a", "b", "c"])


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(alphabet="ab\n\r"), st.booleans())))
def test_lines_that_were_dropped_and_the_rest_are_the_whole_log(writes: list[tuple[str, str, bool]]) -> None:
    # Beyond that, a stream that lies behind goes on in a new line: see the next test.
    assume(sum(text.count("\n") * (120 if drops else 40) for _, text, drops in writes) < 2_000)
    whole, console = log(), log()
    seen: dict[int, str] = {}
    text = ""
    for stream, written, drops in writes:
        whole.write(stream, written * 40)
        console.write(stream, written * 40)
        if drops:
            part = console.take_changed()
            seen |= dict(enumerate(part.lines, part.first)) if part else {}
            for log_ in (whole, console):  # the task goes on printing
                log_.write(stream, written * 80)
            text += console.drop_settled()
    part = console.take_changed()
    seen |= dict(enumerate(part.lines, part.first)) if part else {}
    assert text + console.text() == whole.text()
    everything = whole.take_changed()
    assert [seen[number] for number in sorted(seen)] == (everything.lines if everything else [])


def test_a_silent_stream_doesn_t_hold_back_the_other() -> None:
    console = log()
    console.write("stderr", "a bar")
    console.write("stdout", "line\n" * 10_000)
    console.take_changed()
    assert console.drop_settled().count("\n") > 7_000
    console.write("stderr", "\ranother")
    assert console.text().endswith("another\n")


def test_what_a_process_writes_is_recorded_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(log())
    recorder.start()
    print("out")
    print("err", file=sys.stderr)
    recorder.stop()
    print("later")
    assert recorder.log.text() == "out\nerr\n"
    assert capsys.readouterr() == ("out\nlater\n", "err\n")
    assert "write" not in vars(sys.stdout) or not hasattr(sys.stdout.write, "recorder")


def test_a_thread_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(log())
    recorder.start()

    def speak() -> None:
        recorder.ignore_this_thread()
        print("of the thread")

    thread = threading.Thread(target=speak)
    thread.start()
    thread.join()
    print("of the task")
    recorder.stop()
    assert recorder.log.text() == "of the task\n"
    assert capsys.readouterr().out == "of the thread\nof the task\n"


def test_who_prints_a_lot_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []
    recorder = Recorder(log(), lambda: calls.append(1), much_chars=10)
    recorder.start()
    for _ in range(6):
        print("1234")
    recorder.stop()
    assert len(calls) == 2
    assert capsys.readouterr().out == "1234\n" * 6


class _Fixed:
    """A stream that lets nobody in."""

    __slots__ = ()

    def write(self, text: str) -> int:
        return len(text)


def test_a_stream_that_can_t_be_copied_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stdout", _Fixed())
    recorder = Recorder(log())
    recorder.start()
    print("lost")
    print("kept", file=sys.stderr)
    recorder.stop()
    assert recorder.log.text() == "kept\n"
    assert "sys.stdout is a _Fixed" in caplog.text
