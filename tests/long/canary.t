#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The freed-block canary for a million rounds, and with each shootdown late for some thousand.

CANARY_ROUNDS says how many rounds in all (1000000).
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import canary, tap

ROUNDS = int(os.environ.get("CANARY_ROUNDS", "1000000"))
PART = 50000  # rounds of a run
MACHINES = (2, 4, 3)

for number in range(-(-ROUNDS // PART)):
    canary.run(rounds=min(PART, ROUNDS - number * PART), smp=MACHINES[number % len(MACHINES)],
               seed=100 + number, seconds=3600)
for number, smp in enumerate(MACHINES):
    canary.run(rounds=3000, smp=smp, seed=200 + number, append="pause=shootdown", seconds=600)
tap.done()
