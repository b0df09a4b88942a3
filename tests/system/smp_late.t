#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""CPUs that come too late.

A CPU that did not start in time was given up, and the next one started with the same trampoline. On
a busy host the first one came after all: it ran on the stack, and as the struct cpu, of the second.
What followed were panics in the scheduler that nobody could explain, once in ten runs of a stress
test. With `smpnowait` every CPU is given up at once, so each comes late: it must find no place, or
take that of the next one alone.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import Config, Machine

PASSED = 33  # QEMU's status after isa-debug-exit with 0x10

for number in range(3):
    config = Config(smp=8, append="testexit smpnowait ktest=epoch*")
    status, console = None, ""
    try:
        with Machine(config, f"smp-late-{number}", timeout=60) as machine:
            status = machine.wait()
            console = machine.console.decode("latin-1")
    except Exception as error:
        tap.diag(error)
    tap.ok(status == PASSED, f"8 CPUs that come late, run {number + 1}",
           f"QEMU's status is {status}\n{console[-2000:]}")
tap.done()
