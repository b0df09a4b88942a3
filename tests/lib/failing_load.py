# SPDX-License-Identifier: MIT
"""Runs inside GDB: the next load in one function of the kernel that may fail (its table "mctable")
and is from persistent memory does fail: the machine check is raised at that very instruction.

    FAIL_FUNCTION  the function      FAIL_TARGET  what `target remote` gets
    FAIL_BLOCK     the physical address of the block that the load must be from; 0: any
Prints "armed" when the machine runs again, and "failed" with the physical address at the end.
"""

import os
import re
import struct

import gdb

PHYSMAP, ALIAS = 0xffff800000000000, 0xffffd00000000000
PMEM = 0x100000000
STATUS, MCG, MISC = 0xbd80000000000134, 7, 0x86  # as in tests/system/poison.t


def addresses(function):
    """Of the instructions in the function that may fail."""
    start, end = (int(gdb.parse_and_eval(f"(unsigned long)&mctable_{name}"))
                  for name in ("start", "end"))
    table = bytes(gdb.selected_inferior().read_memory(start, end - start))
    for address, _ in struct.iter_unpack("<QQ", table):
        symbol = gdb.execute(f"info symbol {address:#x}", to_string=True).split()[0]
        if symbol.split(".")[0] == function:  # the compiler may have made a variant of it
            yield address


def register(name):
    return int(gdb.parse_and_eval(f"(unsigned long)${name}"))


def operand():
    """The address that the instruction at rip loads from."""
    text = gdb.execute("x/i $pc", to_string=True)
    if "movs" in text:
        return register("rsi")
    offset, base, index, scale = re.search(
        r"(-?0x[0-9a-f]+)?\(%(\w+)(?:,%(\w+)(?:,(\d))?)?\)", text).groups()
    address = int(offset or "0", 16) + register(base)
    if index:
        address += register(index) * int(scale or 1)
    return address & (1 << 64) - 1


def physical(address):
    for start in (ALIAS, PHYSMAP):
        if address >= start + PMEM and address < start + (1 << 44):
            return address - start
    return None


def of_a_program():
    """Not of one of the kernel's own threads, which look after their own work meanwhile."""
    thread = int(gdb.parse_and_eval("*(unsigned long *)($gs_base + 24)"))  # as in asm_gs_current()
    return int(gdb.parse_and_eval(f"(unsigned long)((struct thread *){thread})->as")) != 0


def main():
    found = list(addresses(os.environ["FAIL_FUNCTION"]))
    gdb.execute("target remote " + os.environ["FAIL_TARGET"], to_string=True)
    for address in found:
        gdb.execute(f"hbreak *{address:#x}", to_string=True)
    print(f"armed at {len(found)} instructions", flush=True)
    block = int(os.environ["FAIL_BLOCK"], 0)
    pa = None
    while pa is None or (block and pa & -4096 != block):
        gdb.execute("continue", to_string=True)
        pa = physical(operand()) if of_a_program() else None
    gdb.execute(f"monitor mce 0 1 {STATUS:#x} {MCG} {pa:#x} {MISC:#x}", to_string=True)
    gdb.execute("delete", to_string=True)
    print(f"failed {pa:#x}", flush=True)
    gdb.execute("detach", to_string=True)


main()
