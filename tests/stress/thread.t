#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Processes of several threads under stress, some seconds (longer in tests/long/stress.t)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import stress, tap

stress.run("threadstress", seconds=8)
tap.done()
