#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""System calls with random arguments, a few seconds (longer in tests/long/stress.t)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import stress, tap

stress.run("sysfuzz", "/tmp/a", seconds=3, smp=2)
stress.run("sysfuzz", "/pmem/a", seconds=3, seed=1000)
tap.done()
