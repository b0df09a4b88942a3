#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""maptour on files of every shape: read, mmap and MAP_DAXVM must agree; the path is shown; and what
an attached mapping costs does not depend on the size of the file (exact instruction counts)."""

import pathlib
import random
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import guest, tap
from lib.images import make_image
from lib.machine import Config, Dimm

MIB = 1 << 20
# Sizes around every change of the tree's shape: direct entries, a PTE page, PMD pages, 2 MiB
# leaves.
SIZES = [1, 100, 4095, 4096, 4097, 32767, 32768, 32769, 65536, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1,
         5 * MIB + 12345]
# Instructions between a small file and a large one: whether a GiB of the file is to be had as one
# leaf is asked once. Less than half of one for each 2 MiB.
MARGIN = 100


def content(size):
    return random.Random(size).randbytes(size)


def run_command(config, command):
    result = guest.run(config, command, timeout=240)
    assert result.status == 0, f"status {result.status}\n{result.output}\n{result.log}"
    return result.output


def tour(config):
    command = "maptour /pmem/f* && truncate -s 1500M /pmem/sparse && maptour /pmem/sparse"
    output = run_command(config, command)
    assert output.count("the sums agree") == len(SIZES) + 1, output
    assert "not available" not in output, output
    return output


def path_is_shown(output, table="PMem"):
    """The file's own table is in PMem, a copy of it in RAM; what stands above it is in RAM."""
    block = output.split("/pmem/f65536\n")[1]
    path = re.findall(r"^\s*(PML4|PUD|PMD|PTE)\s+table \w+ in (RAM|PMem)", block, re.MULTILINE)
    assert path[:4] == [("PML4", "RAM"), ("PUD", "RAM"), ("PMD", "RAM"), ("PTE", table)], block
    assert ("a copy of the file's table" in block) == (table == "RAM"), block


def costs(config):
    """Rows of user/bench.c: (operation, file) -> (ticks, faults)."""
    command = "fallocate -l 512M /pmem/512m && bench /pmem/f65536 /pmem/512m"
    rows = [line.split(",") for line in run_command(config, command).splitlines()[1:]]
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in rows}


def attach_is_constant(rows):
    small, large = (rows["attach+unmap", f"/pmem/{name}"][0] for name in ("f65536", "512m"))
    assert abs(small - large) <= MARGIN, f"64 KiB: {small}, 512 MiB: {large}"


def attach_has_no_faults(rows):
    faults = rows["attach+touch+unmap", "/pmem/512m"][1]
    assert faults == 0, f"{faults} faults"


def has_gib_leaf():
    """The file system puts a GiB of a file where a mapping can have it as one leaf."""
    command = ("fallocate -l 1G /pmem/g && mapcat -d /pmem/g 2>/dev/null | head -c 1 | wc -c;"
               "grep attach_leaf_1g /proc/daxvm/stat")
    with make_image("3G") as image:
        output = run_command(Config(dimms=[Dimm(image)]), command)
    assert re.search(r"^attach_leaf_1g +1 ", output, re.MULTILINE), output


def main():
    files = {f"f{size}": content(size) for size in SIZES}
    with make_image("1G", files) as image:
        dimms = [Dimm(image)]
        tap.attempt("all three ways agree", lambda: path_is_shown(tour(Config(dimms=dimms))))
        tap.attempt("and with copies of the tables in DRAM", lambda: path_is_shown(
            tour(Config(dimms=dimms, append="shadow=always")), "RAM"))
        rows = {}
        tap.attempt("bench runs", lambda: rows.update(costs(Config(dimms=dimms, icount=True))))
        tap.attempt("attaching 512 MiB costs what 64 KiB cost", attach_is_constant, rows)
        tap.attempt("and touching every page takes no fault", attach_has_no_faults, rows)
    tap.attempt("a GiB of a file is one leaf", has_gib_leaf)
    tap.done()


main()
