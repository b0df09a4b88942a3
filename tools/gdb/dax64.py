# SPDX-License-Identifier: MIT
"""GDB commands for the kernel.

    ptwalk ADDR     the page-table path of a virtual address, on the CPU that is selected
"""

import gdb

LEVELS = ("PML4", "PUD", "PMD", "PTE")
PRESENT, LARGE, ADDRESS = 1, 1 << 7, 0x000FFFFFFFFFF000
FLAGS = ((1, "W"), (2, "U"), (3, "PWT"), (4, "PCD"), (5, "A"), (6, "D"), (8, "G"), (63, "NX"))


def physical_word(address):
    """One 8-byte word of physical memory, RAM or PMem."""
    gdb.execute("maint packet Qqemu.PhyMemMode:1", to_string=True)
    try:
        return int.from_bytes(gdb.selected_inferior().read_memory(address, 8).tobytes(), "little")
    finally:
        gdb.execute("maint packet Qqemu.PhyMemMode:0", to_string=True)


class PtWalk(gdb.Command):
    """ptwalk ADDR: the page-table path of a virtual address, level by level."""

    def __init__(self):
        super().__init__("ptwalk", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        address = int(gdb.parse_and_eval(f"(unsigned long)({argument})"))
        table = int(gdb.parse_and_eval("(unsigned long)$cr3")) & ADDRESS
        for depth, level in enumerate(LEVELS):
            shift = 39 - 9 * depth
            index = address >> shift & 511
            entry = physical_word(table + 8 * index)
            flags = " ".join(name for bit, name in FLAGS if entry >> bit & 1)
            print(f"{level:4} [{index:3}] at {table + 8 * index:#014x}: {entry:#018x} {flags}")
            if not entry & PRESENT:
                print("not present")
                return
            if depth == 3 or (depth > 0 and entry & LARGE):
                offset = address & ((1 << shift) - 1)
                print(f"physical {(entry & ADDRESS & ~((1 << shift) - 1)) + offset:#x}")
                return
            table = entry & ADDRESS


PtWalk()
