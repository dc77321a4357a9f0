"""Every combination of the parameters, one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wandb_sweep_server.errors import ClientError

from .distributions import Levels
from .permutation import Permutation
from .space import Dimension, build_args


class GridSearch:
    """The product of all levels as numbers with mixed radix.

    Combination k is computed from k alone, so number 1,000,000 costs what number 1 costs. The last
    parameter varies fastest, as in `itertools.product` over the parameters in their order, unless it is shuffled.
    """

    def __init__(self, dimensions: Sequence[Dimension], shuffle_seed: int | None = None) -> None:
        """Check and count.

        Args:
            dimensions: All must be discrete.
            shuffle_seed: For a random order of the combinations, so that the first part of a sweep tells something of
                every value; None keeps the order.

        Raises:
            ClientError: Names a parameter that a grid cannot enumerate.
        """
        self._levels: list[tuple[Dimension, Levels]] = []
        for dimension in dimensions:
            levels = dimension.distribution.levels
            if levels is None:
                raise ClientError(
                    f"parameter {dimension.name!r} ({dimension.distribution.name}) cannot be searched by a grid; "
                    "give 'value' or 'values', use int_uniform or q_uniform with max > min, or method: random"
                )
            self._levels.append((dimension, levels))
        self._trial_count = math.prod(levels.count for _, levels in self._levels)
        self._order: Permutation | range = (
            range(self._trial_count) if shuffle_seed is None else Permutation(self._trial_count, shuffle_seed)
        )

    @property
    def trial_count(self) -> int:
        """The number of combinations."""
        return self._trial_count

    def args(self, index: int) -> dict[str, Any]:
        """Combination number `index`, from 0."""
        if not 0 <= index < self._trial_count:
            raise IndexError(f"trial {index} of a grid of {self._trial_count}")
        index = self._order[index]
        digits: list[Any] = []
        for _, levels in reversed(self._levels):
            index, digit = divmod(index, levels.count)
            digits.append(levels.value(digit))
        dimensions = (dimension for dimension, _ in self._levels)
        return build_args(zip(dimensions, reversed(digits), strict=True))
