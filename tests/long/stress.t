#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The stress programs for longer: 1 to 8 CPUs, and CPUs that take turns on one host thread.

STRESS_SECONDS says how long each run lasts (15); STRESS_SEED is where the seeds begin (1).
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import stress, tap

SECONDS = int(os.environ.get("STRESS_SECONDS", "15"))
SEED = int(os.environ.get("STRESS_SEED", "1"))
MACHINES = [(1, "tcg"), (2, "tcg"), (4, "tcg"), (8, "tcg"), (4, "tcg,thread=single")]
BOTH = "/tmp/a /pmem/a"

for number, (smp, accel) in enumerate(MACHINES):
    seed = SEED + 10 * number
    folder = BOTH.split()[number % 2]
    stress.run("vmstress", BOTH, SECONDS, smp, seed, accel)
    stress.run("vmstress", "/pmem/a", SECONDS, smp, seed + 1, accel)
    if smp > 2:
        stress.run("unmapstress", "/pmem/a", SECONDS, smp, seed, accel)
    stress.run("ephstress", "/pmem/a", SECONDS, smp, seed, accel)
    stress.run("vmstress", "/pmem/a", SECONDS, smp, seed + 2, accel, append="shadow=always")
    stress.run("ephstress", "/pmem/a", SECONDS, smp, seed + 1, accel, append="shadow=always")
    stress.run("sysfuzz", folder, SECONDS, smp, seed * 1000, accel)
    stress.run("procstress", "", SECONDS, smp, seed, accel)
    stress.run("threadstress", "", SECONDS, smp, seed, accel)
    stress.run("fsstress", folder, SECONDS, smp, seed, accel)
# Threads of three processes on ephemeral mappings, and processes on all other kinds.
stress.run("ephstress", "/pmem/a", 8 * SECONDS, 4, SEED, options="-j 3 -m 3")
stress.run("vmstress", BOTH, 8 * SECONDS, 4, SEED + 2, options="-j 8")
for number in range(5):
    stress.cut("fsstress", "/pmem/a", 1 + number, 1 + number % 4, SEED + number)
    stress.cut("vmstress", "/pmem/a", 1 + number, 1 + number % 4, SEED + number)
tap.done()
