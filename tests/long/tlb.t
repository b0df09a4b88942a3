#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The stress programs under the adversarial TLB for longer (tests/system/tlb.t): 2 to 4 CPUs, and
CPUs that take turns on one host thread. STRESS_SECONDS says how long each run lasts (30)."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import adversary, tap

SECONDS = int(os.environ.get("STRESS_SECONDS", "30"))
SEED = int(os.environ.get("STRESS_SEED", "1"))
PROGRAMS = [("vmstress", "/tmp/a /pmem/a"), ("vmstress", "/pmem/a"), ("ephstress", "/pmem/a"),
            ("unmapstress", "/pmem/a"),
            ("threadstress", ""), ("procstress", ""), ("fsstress", "/pmem/a")]

for number, (smp, accel) in enumerate([(2, "tcg"), (4, "tcg"), (4, "tcg,thread=single")]):
    for program, folders in PROGRAMS:
        adversary.check_sound(program, folders, smp, SECONDS, SEED + number, accel)
    for program in ("vmstress", "ephstress", "fsstress"):
        adversary.check_sound(program, "/pmem/a", smp, SECONDS, SEED + 10 + number, accel,
                              append="shadow=always")
tap.done()
