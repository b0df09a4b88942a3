#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The in-kernel tests, with 1 CPU and with 4, and with a region of persistent memory to use up."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import Config, Dimm, Machine

PASSED = 33  # QEMU's status after isa-debug-exit with 0x10

for cpus in (1, 4):
    config = Config(smp=cpus, dimms=[Dimm()], append="testexit ktest=*")
    status, console = None, ""
    try:
        with Machine(config, f"ktest-{cpus}", timeout=60) as machine:
            status = machine.wait()
            console = machine.console.decode("latin-1")
    except Exception as error:
        tap.diag(error)
    complete = tap.forward(console.splitlines(), f"{cpus} CPUs: ")
    tap.ok(complete and status == PASSED, f"{cpus} CPUs: all in-kernel tests ran",
           f"QEMU's status is {status}\n{console[-2000:]}")
tap.done()
