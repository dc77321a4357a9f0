"""Memory that forks don't copy: what a fork and the end of its child cost grows with all other memory."""

from __future__ import annotations

import mmap
import os
import struct

_SEGMENT_BYTES = 1 << 20
_LENGTH = struct.Struct("<I")


class UnforkedBytes:
    """Pieces of bytes, in shared memory without a name, of which Linux leaves out the page tables when it forks.

    Forked processes see what had been added before; what they add themselves nobody else sees.
    """

    def __init__(self) -> None:
        self._segments: list[mmap.mmap] = []
        self._used = 0
        self._owner = 0

    def add(self, data: bytes) -> int:
        """Keep a piece; returns its place, a number below 2**63."""
        size = _LENGTH.size + len(data)
        # A forked process has no right to the rest of its parent's last segment: both would write there.
        if self._owner != os.getpid() or self._used + size > len(self._segments[-1]):
            self._segments.append(mmap.mmap(-1, max(_SEGMENT_BYTES, size)))
            self._used, self._owner = 0, os.getpid()
        start, self._used = self._used, self._used + size
        self._segments[-1][start : self._used] = _LENGTH.pack(len(data)) + data
        return (len(self._segments) - 1) << 32 | start

    def __getitem__(self, place: int) -> bytes:
        segment, start = self._segments[place >> 32], place & 0xFFFFFFFF
        begin = start + _LENGTH.size
        return segment[begin : begin + _LENGTH.unpack_from(segment, start)[0]]
