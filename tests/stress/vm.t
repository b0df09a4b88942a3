#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Mappings under stress, a few seconds (longer in tests/long/stress.t)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import stress, tap

stress.run("vmstress", "/tmp/a /pmem/a", seconds=5)
stress.run("ephstress", "/pmem/a", seconds=5)
stress.run("vmstress", "/pmem/a", seconds=5, append="shadow=always")
tap.done()
