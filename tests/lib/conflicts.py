# SPDX-License-Identifier: MIT
"""Cache lines that the kernel makes CPUs share: runs tests/conflicts/calls.c under the plugin
tests/conflicts/record.c and names what it recorded (docs/scalability.md)."""

import bisect
import collections
import dataclasses
import itertools
import pathlib
import re
import subprocess
import tempfile

from lib import guest
from lib.images import make_image
from lib.machine import BUILD, KERNEL, Config, Dimm, GuestError

LINE = 64
KERNEL_IMAGE = 0xffffffff80000000
# Where a call itself moves the epoch on, and where it looks whether it should: counted apart.
EPOCH = ["clear_and_forget", "epoch_preemption_point"]
# Whose accesses say little without their callers.
PRIMITIVES = re.compile(r"acquire|release|enter|spin_|mutex_|rwlock_|mem(set|cpy|cmp)$|str|list_"
                        r"|k?z?alloc|k?free|slab_|frame_alloc|wake|note_released|check_order")
CALL, APART = "c", "ai"  # kinds of record.c; "o" is other threads' business


class Symbols:
    """The kernel's functions and variables by address."""

    def __init__(self, elf=KERNEL):
        out = subprocess.check_output(["nm", "-n", "-S", elf], text=True)
        found = [line.split() for line in out.splitlines()]
        # Assembly has no sizes. What is not known by size reaches up to the next symbol.
        table = [(int(f[0], 16), int(f[1], 16) if len(f) == 4 else 0, f[-1]) for f in found]
        self.table = [entry for entry in table if entry[0] >= KERNEL_IMAGE]
        self.starts = [start for start, _, _ in self.table]
        self.address = {name: start for start, _, name in self.table}

    def functions(self, name):
        """Addresses of a function; the compiler may have made several of it (name.part.0)."""
        found = [start for start, _, symbol in self.table if symbol.split(".")[0] == name]
        assert found, f"the kernel has no {name}"
        return found

    def at(self, address):
        """(name, offset) of the symbol that the address lies in."""
        start, _, name = self.table[bisect.bisect(self.starts, address) - 1]
        return name, address - start


@dataclasses.dataclass
class Access:
    """Of one CPU, by one instruction."""

    cpu: int
    function: str
    place: str  # in memory: a symbol, or what kind of memory
    host: int
    size: int
    writes: int


@dataclasses.dataclass
class Section:
    """What the CPUs did at the same time, and the lines of it by kind: {line: [Access]}."""

    even: str
    odd: str
    lines: dict = dataclasses.field(default_factory=lambda: {
        kind: collections.defaultdict(list) for kind in (CALL, APART)})

    def conflicts(self, kind=CALL):
        """The lines that one CPU wrote and another one touched."""
        return {line: found for line, found in self.lines[kind].items() if is_conflict(found)}


def is_conflict(accesses):
    writers = {a.cpu for a in accesses if a.writes}
    return bool(writers) and len({a.cpu for a in accesses} | writers) > 1


def is_false_sharing(accesses):
    """No byte of the line is in conflict: only the neighbourhood is."""
    return not any(a.cpu != b.cpu and (a.writes or b.writes) and a.host < b.host + b.size
                   and b.host < a.host + a.size for a, b in itertools.combinations(accesses, 2))


def place_of(symbols, vaddr):
    if vaddr >= KERNEL_IMAGE:
        name, offset = symbols.at(vaddr)
        return f"{name}+{offset // LINE * LINE:#x}" if offset >= LINE else name
    return "memory" if vaddr >> 63 else "user memory"


def function_of(symbols, path):
    """The function of an access, and who called it where that says more: "f < g < h"."""
    names = [symbols.at(pc)[0].split(".")[0] for pc in path]
    known = next((i for i, name in enumerate(names) if not PRIMITIVES.match(name)), len(names))
    return " < ".join(names[:known + 1])


def read_records(path, symbols, sections):
    complete = False
    with open(path, encoding="ascii") as file:
        for text in file:
            fields = text.split()
            if fields[0] == "end":
                complete = True
                continue
            number, cpu, kind = int(fields[0]), int(fields[1]), fields[2]
            pc, vaddr, host = (int(f, 16) for f in fields[3:6])
            size, writes = int(fields[6]), int(fields[8])
            if kind not in CALL + APART:
                continue
            function = function_of(symbols, [pc] + [int(f, 16) for f in fields[9:]])
            access = Access(cpu, function, place_of(symbols, vaddr), host, size, writes)
            lines = sections[number].lines[CALL if kind == CALL else APART]
            for line in range(host // LINE, (host + size - 1) // LINE + 1):
                lines[line].append(access)
    if not complete:
        raise GuestError(f"the plugin did not write {path} to its end")


def measure(how, cpus, pairs, timeout=600):
    """Sections by number (from 1). `how`: "threads" or "processes"; pairs: "A" or "A+B"."""
    symbols = Symbols()
    address = symbols.address
    with make_image("64M") as image, tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch, "records")
        plugin = (f"{BUILD}/conflicts.so,out={out},stubs={address['trap_stubs']:x},"
                  f"entry={address['syscall_entry']:x},switch={address['sched_switch_stacks']:x}")
        for name in EPOCH:
            plugin += "".join(f",apart={start:x}" for start in symbols.functions(name))
        config = Config(smp=cpus, dimms=[Dimm(image)], icount=True, extra=["-plugin", plugin])
        config.files["put/calls"] = (0o755, (BUILD / "conflicts/calls").read_bytes())
        command = f"/put/calls {how} /pmem {cpus} {' '.join(pairs)}"
        result = guest.run(config, command, timeout=timeout)
        if result.status != 0:
            raise GuestError(f"{command}: status {result.status}\n{result.output}{result.log}")
        sections = {int(n): Section(even, odd) for n, even, odd in
                    re.findall(r"^(\d+) (\S+) (\S+)$", result.output, re.MULTILINE)}
        read_records(out, symbols, sections)
    return sections


def causes(conflicts):
    """Conflicting lines by what they have in common: {(place, writers, readers, false): count}."""
    found = collections.Counter()
    for accesses in conflicts.values():
        writers = sorted({a.function for a in accesses if a.writes})
        readers = sorted({a.function for a in accesses if not a.writes} - set(writers))
        place = " ".join(sorted({a.place for a in accesses}))
        found[place, ", ".join(writers), ", ".join(readers), is_false_sharing(accesses)] += 1
    return found


def describe(conflicts):
    """One line of text for each cause."""
    for (place, writers, readers, false), count in causes(conflicts).most_common():
        yield (f"{count:4} {place}: written by {writers}" +
               (f"; read by {readers}" if readers else "") +
               (" [different bytes]" if false else ""))
