"""The floor: all trials in one process, in a loop. Argument: how many."""

from __future__ import annotations

import sys

from task import evaluate

for number in range(int(sys.argv[1])):
    evaluate(float(number))
