#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No memory and no address gets another use while a CPU could still hold a way to it: the stress
programs on CPUs that forget nothing until they are told to (docs/adversarial-tlb.md).

That nothing is found would mean little if nothing could be. So two copies of the kernel lack one
instruction each, the flush of the epoch and that of the shootdown, which must be found. More
mistakes are made in tests/long/mistakes.t, and longer runs in tests/long/tlb.t."""

import pathlib
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import adversary, tap
from lib.machine import KERNEL

NOP = b"\x0f\x1f\x00"  # as long as MOV CR3, RAX


def file_offset(elf, address):
    """Where the file has what is loaded at `address` (ELF-64, program headers)."""
    start, = struct.unpack_from("<Q", elf, 32)
    size, number = struct.unpack_from("<HH", elf, 54)
    for k in range(number):
        kind, _, offset, va, _, length = struct.unpack_from("<IIQQQQ", elf, start + k * size)
        if kind == 1 and va <= address < va + length:
            return offset + address - va
    raise AssertionError(f"nothing is loaded at {address:#x}")


def without_flush(function, path):
    """The kernel without the MOV to CR3 of `function`, at `path`."""
    elf = bytearray(pathlib.Path(KERNEL).read_bytes())
    code = subprocess.check_output(["objdump", "-d", f"--disassemble={function}", KERNEL],
                                   text=True)
    found = re.findall(r"^([0-9a-f]+):.*mov +%\w+,%cr3$", code, re.MULTILINE)
    assert len(found) == 1, f"{function}: {len(found)} loads of CR3"
    at = file_offset(elf, int(found[0], 16))
    assert elf[at:at + 2] == b"\x0f\x22"
    elf[at:at + len(NOP)] = NOP
    path.write_bytes(elf)
    return str(path)


def must_find(function, program, folders, kinds):
    with tempfile.TemporaryDirectory() as scratch:
        kernel = without_flush(function, pathlib.Path(scratch, "kernel.elf"))
        report = adversary.run(program, folders, 2, seconds=10, first=True, kernel=kernel)
    assert any(alarm.kind in kinds for alarm in report.alarms), report


adversary.check_sound("vmstress", "/tmp/a /pmem/a", smp=4, seconds=2)
adversary.check_sound("ephstress", "/pmem/a", smp=3, seconds=2)
adversary.check_sound("vmstress", "/pmem/a", smp=3, seconds=2, append="shadow=always")
adversary.check_sound("threadstress", "", smp=2, seconds=1)
adversary.check_sound("unmapstress", "/pmem/a", smp=3, seconds=2)
tap.attempt("an epoch that does not flush is found", must_find, "flush_and_publish", "ephstress",
            "/pmem/a", {"slot", "table", "page"})
tap.attempt("a shootdown that does not is found", must_find, "flush_here", "threadstress", "",
            {"stale"})
tap.done()
