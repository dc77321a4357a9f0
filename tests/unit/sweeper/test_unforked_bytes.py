"""Memory of which a fork copies nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._unforked_bytes import UnforkedBytes


@given(st.lists(st.binary(max_size=100)))
def test_what_is_kept_is_found_again(pieces: list[bytes]) -> None:
    kept = UnforkedBytes()
    places = [kept.add(piece) for piece in pieces]
    assert [kept[place] for place in places] == pieces


def test_pieces_may_be_many_and_large() -> None:
    kept = UnforkedBytes()
    pieces = [bytes([number]) * (number * 40_000) for number in range(60)]
    places = [kept.add(piece) for piece in pieces]
    assert [kept[place] for place in places] == pieces


def test_a_forked_process_sees_what_was_there_and_keeps_its_own_to_itself() -> None:
    kept = UnforkedBytes()
    before = kept.add(b"before")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            own = kept.add(b"child's")
            status = 0 if (kept[before], kept[own]) == (b"before", b"child's") else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    later = kept.add(b"parent's")
    assert (kept[before], kept[later]) == (b"before", b"parent's")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells what a process has mapped")
def test_a_forked_process_begins_without_its_pages() -> None:
    kept = UnforkedBytes()
    for _ in range(50):
        kept.add(b"x" * 100_000)
    mine = _shared_kb()
    assert mine > 4000
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, str(_shared_kb()).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    childs = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    assert childs < 1000


def _shared_kb() -> int:
    """What this process has in memory of anonymous shared mappings."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    shared = [text for text in mappings if "/dev/zero" in text.partition("\n")[0]]
    return sum(int(size) for text in shared for size in re.findall(r"^Rss: +([0-9]+)", text, flags=re.MULTILINE))
