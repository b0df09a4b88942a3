#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The freed-block canary (tests/stress/canary.c): a few thousand rounds (a million in tests/long).

A pass means little unless the test fails when blocks serve others at once. That is shown with the
moment between clearing entries and the shootdown made long, so that a few rounds are enough.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import canary, tap

canary.run(rounds=2500, smp=2)
canary.run(rounds=1500, smp=4)
canary.run(rounds=500, smp=2, append="shadow=always")
canary.run(rounds=200, smp=2, append="pause=shootdown")
canary.run(rounds=200, smp=2, append="pause=shootdown norest", finds=True)
tap.done()
