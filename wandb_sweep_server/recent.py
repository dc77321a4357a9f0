"""What was worked out lately, as long as it is worth its memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values that were asked for most recently; the last one is kept whatever it weighs.

    Args:
        most: How many there may be.
        most_weight: Of all together, in whatever unit `put` has.
    """

    def __init__(self, most: int, most_weight: int = 0) -> None:
        self._most = most
        self._most_weight = most_weight
        self._weight = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def keys(self) -> list[K]:
        """Of all values, the least recent first."""
        return list(self._items)

    def get(self, key: K) -> V | None:
        """The value, which is now the most recent one, or None."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key][0]

    def peek(self, key: K) -> V | None:
        """The value, no more recent than it was, or None."""
        item = self._items.get(key)
        return None if item is None else item[0]

    def put(self, key: K, value: V, weight: int = 0) -> None:
        """Keep a value, and forget the least recent ones that there is no room for."""
        self.drop(key)
        self._items[key] = (value, weight)
        self._weight += weight
        while len(self._items) > 1 and (len(self._items) > self._most or self._weight > self._most_weight):
            self.drop(next(iter(self._items)))

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        _, weight = self._items.pop(key, (None, 0))
        self._weight -= weight

    def clear(self) -> None:
        """Forget all."""
        self._items.clear()
        self._weight = 0
