#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The in-kernel tests, with 1 CPU and with 4, and with a region of persistent memory to use up.

And with 2 CPUs that an emulator runs in turns (instruction counting): a CPU that only waits must
give its turn away by PAUSE. A loop around thread_yield() once did not, and the CPU that it waited
for was never emulated again.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import Config, Dimm, Machine

PASSED = 33  # QEMU's status after isa-debug-exit with 0x10

for cpus, icount in ((1, False), (4, False), (2, True)):
    config = Config(smp=cpus, icount=icount, dimms=[Dimm()], append="testexit ktest=*")
    status, console = None, ""
    try:
        with Machine(config, f"ktest-{cpus}", timeout=60) as machine:
            status = machine.wait()
            console = machine.console.decode("latin-1")
    except Exception as error:
        tap.diag(error)
    if cpus > 1:
        tap.ok("# the TLB remembered" in console, f"{cpus} CPUs: an early reuse would be noticed",
               console[-2000:])
    tap.ok("# W was remembered" in console, f"{cpus} CPUs: a missing shootdown would be noticed",
           console[-2000:])
    tap.ok("# no data breakpoints" not in console, f"{cpus} CPUs: races are made to happen")
    complete = tap.forward(console.splitlines(), f"{cpus} CPUs: ")
    tap.ok(complete and status == PASSED, f"{cpus} CPUs: all in-kernel tests ran",
           f"QEMU's status is {status}\n{console[-2000:]}")
tap.done()
