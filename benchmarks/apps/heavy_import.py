"""Stands for torch and the like: takes three seconds to import."""

import time

time.sleep(3)
