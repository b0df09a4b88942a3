#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The boot matrix: every way to boot, numbers of CPUs, sizes of RAM, kinds of DIMMs.

Each row boots to the shell on the console, looks at what the kernel found, and powers off.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import Config, Dimm, Machine

# What the row is called, and the machine.
MATRIX = [
    ("PVH", Config()),
    ("GRUB, BIOS", Config(boot="bios", dimms=[Dimm()])),
    ("GRUB, UEFI", Config(boot="uefi", dimms=[Dimm()])),
    ("2 CPUs", Config(smp=2, dimms=[Dimm()])),
    ("4 CPUs", Config(smp=4, dimms=[Dimm()])),
    ("8 CPUs", Config(smp=8, dimms=[Dimm()])),
    ("6 GiB of RAM", Config(mem="6G", dimms=[Dimm()])),
    ("two DIMMs", Config(dimms=[Dimm(), Dimm(size="32M")])),
    ("a DIMM at an address of ours", Config(dimms=[Dimm(addr="0x143e00000")])),
    ("caches persistent", Config(dimms=[Dimm()], persistence="cpu")),
    ("memory controller persistent", Config(dimms=[Dimm()], persistence="mem-ctrl")),
    ("an unarmed DIMM", Config(dimms=[Dimm(unarmed=True)])),
]
SLOW = {"uefi": 120}


def bytes_of_ram(meminfo):
    line = next(line for line in meminfo.splitlines() if line.startswith("MemTotal:"))
    return int(line.split()[1]) * 1024


def expected_ram(config):
    return (6 << 30) if config.mem == "6G" else (512 << 20)


def boots(name, config):
    with Machine(config, f"boot-{name.replace(' ', '-')}", SLOW.get(config.boot, 60)) as machine:
        machine.prompt()
        _, regions = machine.command("cat /proc/pmem")
        _, cpus = machine.command("nproc")
        _, meminfo = machine.command("cat /proc/meminfo")
        machine.send("poweroff\n")
        status = machine.wait()
    assert status == 0, f"QEMU's status is {status}"
    assert regions.count("pmem") == len(config.dimms), f"/proc/pmem is\n{regions}"
    assert int(cpus) == config.smp, f"{cpus} CPUs"
    assert 0.9 < bytes_of_ram(meminfo) / expected_ram(config) <= 1, meminfo
    for dimm in config.dimms:
        assert not dimm.addr or dimm.addr[2:] in regions, f"not at {dimm.addr}:\n{regions}"


for row in MATRIX:
    tap.attempt(row[0], boots, *row)
tap.done()
