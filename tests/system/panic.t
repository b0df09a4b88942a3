#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the kernel says when it has found a bug of its own, and where QEMU's status comes from.

`crash=KIND` (kernel/crash.c) makes a real crash of each kind. The machine has two CPUs, so that the
panic has another one to stop.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import Config, GuestError, Machine

PANICKED = 255  # isa-debug-exit with 0x7f

# What the panic must say, in this order, behind "panic: ".
CRASHES = {
    "panic": ["asked to by crash=panic", r"thread \d+ \(init\)", r"crash_panic\+",
              r"init_thread\+"],
    "null": ["kernel fault at 0x8", r"cr2 0+8 ", "error 2", r"at crash_null\+", r"init_thread\+"],
    "exec": ["kernel fault", r"error 11\b", r"init_thread\+"],
    "irq": ["asked to by crash=irq", "irq depth 1", r"in_interrupt\+", r"trap_dispatch\+"],
    "stack": ["double fault", "the kernel stack is full", r"at recurse", r"by recurse"],
}
# Halted, or at the beginning of a tick or of another CPU's interrupt: then it is "at" some stub,
# and the stack below leads to where the CPU was started. (That was not allowed for, and failed once
# in some hundred runs.)
OTHER_CPU = r"cpu \d, thread \d+ \(idle\)[^\0]*(at sched_start|by ap_main|by main)\+"


def panic_of(machine):
    status = machine.wait()
    text = machine.console.decode("latin-1").replace("\r", "")
    assert status == PANICKED, f"QEMU's status is {status}:\n{text[-1500:]}"
    return text[text.index("panic: "):]


def says(text, wanted):
    at = 0
    for pattern in wanted:
        match = re.compile(pattern).search(text, at)
        assert match, f"no {pattern!r} in\n{text}"
        at = match.end()


def crash(kind):
    config = Config(smp=2, append=f"testexit crash={kind}")
    with Machine(config, f"panic-{kind}", 20) as machine:
        text = panic_of(machine)
    says(text, CRASHES[kind])
    assert len(re.findall("^.*panic: ", text, re.M)) == 1, f"more than one panic:\n{text}"
    if kind != "irq":  # there, either CPU may be the one that panics
        says(text, [OTHER_CPU])


def hang():
    """Interrupts off, for ever: an NMI from outside makes the kernel say where."""
    with Machine(Config(smp=2, append="testexit crash=hang"), "panic-hang", 20) as machine:
        try:
            machine.expect("hanging", 10)
        except GuestError as error:
            raise AssertionError(error) from None
        machine.monitor("nmi")
        text = panic_of(machine)
    says(text, ["NMI from outside"])
    # "by": the end of the line that we waited for may still be on its way out.
    says(text, [r"(at|by) crash_hang\+"])
    says(text, [OTHER_CPU])


for name in CRASHES:
    tap.attempt(f"crash={name}: message, backtrace, the other CPU, status", crash, name)
tap.attempt("crash=hang: an NMI shows where the CPUs are", hang)
tap.done()
