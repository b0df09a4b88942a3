#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Twenty power cuts during a write loop."""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import powercut, tap

ROUNDS = 20

with tempfile.TemporaryDirectory() as folder:
    for number in range(ROUNDS):
        tap.attempt(f"power cut {number}: every finished write is there",
                    powercut.one_round, folder, number)
tap.done()
