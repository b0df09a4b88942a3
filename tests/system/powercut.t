#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two power cuts during a write loop (twenty in tests/long/powercut.t)."""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import powercut, tap

ROUNDS = 2

with tempfile.TemporaryDirectory() as folder:
    for number in range(ROUNDS):
        tap.attempt(f"power cut {number}: every finished write is there",
                    powercut.one_round, folder, number)
tap.done()
