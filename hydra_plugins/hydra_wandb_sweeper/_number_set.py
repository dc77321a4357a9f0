"""A set of trial numbers that is no burden where trials are forked."""

from __future__ import annotations

from collections.abc import Iterator, MutableSet


class NumberSet(MutableSet[int]):
    """Numbers from 0 on with few gaps: one byte for each, where a set has 70, which each fork has to copy."""

    def __init__(self) -> None:
        self._marks = bytearray()
        self._count = 0

    def add(self, number: int) -> None:
        lacking = number + 1 - len(self._marks)
        if lacking > 0:
            self._marks.extend(bytes(lacking))
        self._count += not self._marks[number]
        self._marks[number] = 1

    def discard(self, number: int) -> None:
        if number in self:
            self._marks[number] = 0
            self._count -= 1

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and 0 <= number < len(self._marks) and self._marks[number] == 1

    def __iter__(self) -> Iterator[int]:
        return (number for number, mark in enumerate(self._marks) if mark)

    def __len__(self) -> int:
        return self._count
