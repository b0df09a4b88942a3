# SPDX-License-Identifier: MIT
"""GDB commands for the kernel.

    ptwalk ADDR     the page-table path of a virtual address, on the CPU that is selected
    lsthreads       all threads: id, state, CPU, name, where the stack of a sleeping one stands
"""

import gdb
import gdb.types

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


def threads():
    """All `struct thread`, through the list that links them."""
    head = gdb.parse_and_eval("all_threads")
    kind = gdb.lookup_type("struct thread")
    offset = next(field.bitpos // 8 for field in kind.fields() if field.name == "all_node")
    node = head["next"]
    while node != 0 and node != head.address:
        address = int(node) - offset
        yield gdb.Value(address).cast(kind.pointer()).dereference()
        node = node["next"]


class LsThreads(gdb.Command):
    """lsthreads: all threads of the kernel. Those on a CPU are also GDB's own threads."""

    def __init__(self):
        super().__init__("lsthreads", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        states = gdb.types.make_enum_dict(gdb.lookup_type("enum thread_state"))
        names = {value: name[len("THREAD_"):].lower() for name, value in states.items()}
        print(f"{'tid':>5} {'state':9} {'cpu':>3} {'rsp':18} name")
        for thread in threads():
            state = names.get(int(thread["state"]), "?")
            print(f"{int(thread['tid']):5} {state:9} {int(thread['cpu']):3} "
                  f"{int(thread['saved_rsp']):#018x} {thread['name'].string()}")


PtWalk()
LsThreads()
