#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Names and files under stress, a few seconds (longer in tests/long/stress.t)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import stress, tap

stress.run("fsstress", "/tmp/a", seconds=2)
stress.run("fsstress", "/pmem/a", seconds=3, options="-k 1")
stress.cut("fsstress", "/pmem/a", seconds=1.5)
tap.done()
