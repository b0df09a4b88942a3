#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Persistent memory that fails. QEMU's monitor raises the machine checks. It does so between any
two instructions, so the machine is stopped until it stands at one that uses the memory: what a real
machine check says of the interrupted instruction is then true."""

import hashlib
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.images import make_image, run_tool
from lib.machine import KERNEL, Config, Dimm, GuestError, Machine

PAGE = 4096
PHYSMAP = 0xffff800000000000
FILES = {"bad": bytes(range(1, 251)) * 12583, "good": b"good" * 10000}  # 3 MB: tables and all
# MCi_STATUS (SDM 3B, 16.3.2.2): VAL UC EN MISCV ADDRV S AR, data load.
ACTION = 0xbd80000000000134
SCRUB = 0xbd000000000000c0  # the same with AR clear, memory scrubbing
CORRECTED = 0x9c00000000000090
FATAL = 0xbe00000000000134  # with PCC
NO_ADDRESS = 0xb180000000000134
MCG_HERE, MCG_NOT = 7, 5  # MCIP RIPV EIPV; without EIPV
MISC = 0x86  # a physical address, exact to a line


def inject(machine, status, pa, mcg=MCG_HERE, misc=MISC):
    machine.monitor(f"mce 0 1 {status:#x} {mcg} {pa:#x} {misc:#x}")


def stop_where(machine, wanted):
    """Stop the machine until wanted(registers) is not None; that."""
    for _ in range(500):
        machine.monitor("stop")
        text = machine.monitor("info registers")
        registers = {name: int(value, 16)
                     for name, value in re.findall(r"(R[A-Z0-9]{2}) *=([0-9a-f]{16})", text)}
        registers["CPL"] = int(re.search(r"CPL=(\d)", text).group(1))
        found = wanted(registers)
        if found is not None:
            return found
        machine.monitor("cont")
    raise GuestError("the machine never stands where it should")


def physical(machine, va):
    found = re.search(r"gpa: (?:0x)?([0-9a-f]+)", machine.monitor(f"gva2gpa {va:#x}"))
    return int(found.group(1), 16) if found else None


def touching(machine, options="", what="touch"):
    """Start a program that touches page 300 of the bad file; stopped in its loop: the address."""
    machine.send(f"poison {what} {options} /pmem/bad 300\n")
    va = int(machine.expect(r"touching 0x([0-9a-f]+)\s").group(1), 16)
    return stop_where(machine, lambda r: physical(machine, va) if r["CPL"] == 3 else None)


def boot(image, name, **more):
    return Machine(Config(mem="256M", dimms=[Dimm(image)], **more), f"poison-{name}")


def user(name, options):
    """A program touches it through a mapping."""
    with make_image(files=FILES) as image, boot(image, name) as machine:
        machine.prompt()
        pa = touching(machine, options)
        inject(machine, ACTION, pa)
        machine.monitor("cont")
        got = machine.expect(r"SIGBUS code (-?\d+) offset (\S+) lsb (\d+)\s")
        tap.equal([int(x, 0) for x in got.groups()], [4, 300 * PAGE + 0x123, 12],
                  f"{name}: SIGBUS, BUS_MCEERR_AR, exact address, a page is lost")
        machine.prompt()
        tap.equal(machine.command("cat /proc/badblocks")[1].split()[1], hex(pa & -PAGE),
                  f"{name}: in /proc/badblocks")
        output = machine.command(f"poison touch {options} /pmem/bad 300")[1]
        tap.ok("SIGBUS code 4 offset 0x12c123" in output,
               f"{name}: the next one who touches it has it without a machine check", output)
        output = machine.command(f"poison touch {options} /pmem/bad 299 10;"
                                 f"poison touch {options} /pmem/bad 301 10")[1]
        tap.equal(output.count("touched"), 2, f"{name}: the pages beside it are there")
        output = machine.command("dd if=/pmem/bad bs=4k skip=300 count=1 of=/dev/null")[1]
        tap.ok("Input/output error" in output, f"{name}: read(): EIO", output)
        output = machine.command("cat /pmem/good | wc -c; cat /pmem/bad >/dev/null; echo $?")[1]
        tap.equal([output.split()[0], output.split()[-1]], ["40000", "1"],
                  f"{name}: another file goes on; cat of this one fails")
        freed(machine, name, pa)


def answers(output):
    """Its lines, without the log's."""
    return [line for line in output.splitlines() if not line.startswith("[")]


def freed(machine, name, pa):
    """The file goes, and all space is used: the block is nobody's."""
    script = ("rm /pmem/bad; dd if=/dev/zero of=/pmem/all bs=64k 2>/dev/null;"
              "cat /pmem/all >/dev/null && echo readable; rm /pmem/all; umount /pmem;"
              "mount -t ptfs pmem0 /pmem && dd if=/dev/zero of=/pmem/all bs=64k 2>/dev/null;"
              "cat /pmem/all >/dev/null && echo readable; wc -l </proc/badblocks")
    output = machine.command(script, 120)[1]
    tap.equal(answers(output), ["readable", "readable", "1"],
              f"{name}: a file over all the space does not get the block, after a mount neither")
    log = machine.command("dmesg | grep -c 'has failed and is not used'")[1]
    tap.equal(log.strip(), "1", f"{name}: one line in the log for the block")


def attached(machine):
    """How many tables of files have been attached."""
    stat = machine.command("cat /proc/daxvm/stat")[1]
    found = re.findall(r"^attach_(?:p\w+_page|leaf_\w+|direct) +(\d+)", stat, re.M)
    return sum(int(n) for n in found)


def mend(name, options):
    """The program itself writes the page anew, from a mapping of the same file, and goes on. (The
    page lies in a leaf of 2 MiB.)"""
    with make_image(files=FILES) as image, boot(image, name) as machine:
        machine.prompt()
        pa = touching(machine, options, "mend")
        inject(machine, ACTION, pa)
        machine.monitor("cont")
        machine.expect(r"SIGBUS code 4 offset 0x12c123 lsb 12")
        said = machine.expect(r"(?s)(.*?(?:touched|pwrite:))").group(1).decode("latin-1")
        tap.ok(not re.search("other|SIGBUS|pwrite", said),
               f"{name}: the program reads what it has written", said)
        machine.prompt()
        output = machine.command("dd if=/pmem/bad bs=4k skip=300 count=1 2>/dev/null | cksum;"
                                 "dd if=/pmem/bad bs=256 skip=4817 count=16 2>/dev/null | cksum;"
                                 "cat /pmem/bad | wc -c")[1].splitlines()
        tap.equal([output[0], output[2]], [output[1], str(len(FILES["bad"]))],
                  f"{name}: and so does read()")
        before = attached(machine)
        output = machine.command("poison touch -d /pmem/bad 300 10")[1]
        tap.ok("touched" in output and attached(machine) > before,
               f"{name}: the file is attached again", output)
        machine.command("umount /pmem")
        check = run_tool("fsck.ptfs", "-fn", image, check=False)
        tap.equal(check.returncode, 0, f"{name}: fsck finds neither damage nor a leak")
        machine.command("mount -t ptfs pmem0 /pmem")
        freed(machine, name, pa)


def pieces():
    """Not in pieces, as other programs may write it; then as a whole."""
    with make_image(files=FILES) as image, boot(image, "pieces") as machine:
        machine.prompt()
        pa = touching(machine, "-d")
        inject(machine, ACTION, pa)
        machine.monitor("cont")
        machine.expect("SIGBUS code 4")
        machine.prompt()
        copy = "dd if=/pmem/good of=/pmem/bad conv=notrunc"
        output = machine.command(f"{copy} bs=1k seek=1200 count=4 2>&1")[1]
        tap.ok("Input/output error" in output or "I/O error" in output,
               "pieces: EIO for a part of the block", output)
        status, output = machine.command(f"{copy} bs=8k seek=149 count=3 2>&1; md5sum </pmem/bad")
        want = bytearray(FILES["bad"])
        want[149 * 8192:152 * 8192] = FILES["good"][:3 * 8192]
        tap.equal([status, answers(output)[-1].split()[0]], [0, hashlib.md5(want).hexdigest()],
                  "pieces: with its neighbours it is written")
        freed(machine, "pieces", pa)


def read():
    """In the copy of a read(): it ends short at the page, then EIO."""
    with make_image(files=FILES) as image, boot(image, "read") as machine:
        machine.prompt()
        machine.send("poison read /pmem/bad\n")
        machine.expect("reading")

        def in_copy(r):
            code = machine.monitor(f"x/3xb {r['RIP']:#x}") if r["CPL"] == 0 else ""
            source = r["RSI"] - PHYSMAP
            return source if "0xf3 0x48 0xa5" in code and source >= 0x100000000 else None
        pa = stop_where(machine, in_copy)
        inject(machine, ACTION, pa)
        machine.monitor("cont")
        short = int(machine.expect(r"read (-?\d+)\s").group(1))
        machine.expect("then: I/O error[^t]*then: I/O error")
        tap.ok(short > 0, "read(): what lies before it is read", str(short))
        tap.equal(int(machine.expect(r"behind: (-?\d+)\s").group(1)), PAGE,
                  "read(): EIO there, each time; the next page can be read")
        machine.prompt()
        tap.equal(machine.command("cat /proc/badblocks")[1].split()[1], hex(pa & -PAGE),
                  "read(): in /proc/badblocks")
        tap.ok("uncorrected data load error" in machine.command("dmesg")[1], "read(): logged")


def power_cut(image):
    """A block fails, and a second later the machine is off; the block's address."""
    with boot(image, "kept") as machine:
        machine.prompt()
        pa = touching(machine)
        inject(machine, ACTION, pa)
        machine.monitor("cont")
        machine.expect(r"SIGBUS code 4")
        machine.prompt()
        machine.command("sleep 1")
    return pa & -PAGE


def kept():
    """The next machine knows of it."""
    with make_image(files=FILES) as image:
        pa = power_cut(image)
        with boot(image, "kept-2") as machine:
            machine.prompt()
            tap.equal(machine.command("cat /proc/badblocks")[1].split()[1:2], [hex(pa)],
                      "kept: in /proc/badblocks of the next machine")
            output = machine.command("poison touch -d /pmem/bad 300;"
                                     "dd if=/pmem/bad bs=4k skip=300 count=1 of=/dev/null")[1]
            tap.ok("SIGBUS code 4 offset 0x12c123" in output and
                   re.search("I/O error|Input/output error", output),
                   "kept: SIGBUS and EIO without another machine check", output)


def failing_load(machine, function, command, block=0):
    """Run a command in the guest in which a load of a function of the kernel fails; its output."""
    here = pathlib.Path(__file__).resolve().parent.parent
    socket = machine.scratch / "gdb"
    machine.monitor(f"gdbserver unix:{socket},server=on,wait=off")
    environment = dict(os.environ, FAIL_FUNCTION=function, FAIL_TARGET=str(socket),
                       FAIL_BLOCK=hex(block))
    with subprocess.Popen(["gdb", "-q", "-batch", "-nx", "-x", str(here / "lib/failing_load.py"),
                           KERNEL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment) as gdb:
        said = gdb.stdout.readline()
        while said and not said.startswith("armed"):
            said = gdb.stdout.readline()
        output = machine.command(command, 60)[1]
        said += gdb.communicate(timeout=20)[0]
    machine.monitor("gdbserver none")
    found = re.search("failed (0x[0-9a-f]+)", said)
    tap.ok(found, f"{command}: a load in {function} fails", said)
    return int(found.group(1), 16), output


def metadata(function, command, table=False):
    """A load of the kernel, of a table, a directory, an inode: the call fails, and nothing else."""
    with make_image(files=FILES) as image, boot(image, function) as machine:
        machine.prompt()
        block = 0
        if table:
            block = touching_table(machine)[1]
            machine.monitor("cont")
            machine.send("\x03")
            machine.prompt()
        pa, output = failing_load(machine, function, command, block)
        tap.ok(re.search("I/O error|Input/output error", output), f"{command}: EIO", output)
        tap.equal(machine.command("cat /proc/badblocks")[1].split()[1:2], [hex(pa & -PAGE)],
                  f"{command}: in /proc/badblocks")
        if table:
            output = machine.command(command)[1]
            tap.ok(re.search("I/O error|Input/output error", output), f"{command}: again", output)
        output = machine.command("echo new >/pmem/new; cat /pmem/new; rm /pmem/new;"
                                 "cat /pmem/good | wc -c; umount /pmem && echo unmounted")[1]
        tap.equal(answers(output), ["new", "40000", "unmounted"],
                  f"{command}: the file system goes on")


def table_of(machine, va):
    """Where the page table of the lowest level stands that a program's address goes through."""
    table = int(re.search(r"CR3=([0-9a-f]+)", machine.monitor("info registers")).group(1), 16)
    for shift in (39, 30, 21):
        word = machine.monitor(f"xp/1gx {(table & -PAGE) + 8 * (va >> shift & 511):#x}")
        table = int(word.split()[1], 16) & 0x000ffffffffff000
    return table


def touching_table(machine):
    """As touching(), of page 600: the address, and that of the table."""
    machine.send("poison touch -d /pmem/bad 600\n")
    va = int(machine.expect(r"touching 0x([0-9a-f]+)\s").group(1), 16)
    return va, stop_where(machine, lambda r: table_of(machine, va)
                          if r["CPL"] == 3 and physical(machine, va) else None)


def walk():
    """The MMU meets it, in a table of the file: only the table's address is known. (The first 2 MiB
    of the file are one leaf.)"""
    with make_image(files=FILES) as image, boot(image, "walk") as machine:
        machine.prompt()
        va, pa = touching_table(machine)
        tap.ok(pa >= 0x100000000, "walk: the table is the file's own", hex(pa))
        inject(machine, ACTION, pa + 8 * (va >> 12 & 511))
        machine.monitor("cont")
        got = machine.expect(r"SIGBUS code (-?\d+) offset (\S+) lsb (\d+)\s")
        tap.equal([int(x, 0) for x in got.groups()], [2, 600 * PAGE + 0x123, 0],
                  "walk: SIGBUS, BUS_ADRERR, exact address")
        machine.prompt()
        tap.equal(machine.command("cat /proc/badblocks")[1].split()[1], hex(pa),
                  "walk: the table is in /proc/badblocks")
        output = machine.command("dd if=/pmem/bad bs=4k skip=600 count=1 of=/dev/null")[1]
        tap.ok("I/O error" in output or "Input/output error" in output, "walk: read(): EIO", output)
        output = machine.command("poison touch -d /pmem/bad 300 10; cat /pmem/good | wc -c")[1]
        tap.ok("touched" in output and "40000" in output,
               "walk: what another table of it maps is there", output)
        output = machine.command("rm /pmem/bad && echo removed; umount /pmem && echo unmounted")[1]
        tap.equal(answers(output), ["removed", "unmounted"], "walk: the file can be removed")


def survived():
    """A corrected error, one found by scrubbing, and one of another CPU disturb nobody."""
    with make_image(files=FILES) as image, boot(image, "survived") as machine:
        machine.prompt()
        inject(machine, CORRECTED, 0x100400000, 0)
        machine.command("sleep 3")
        log = machine.command("dmesg")[1]
        tap.ok(re.search("corrected memory controller error at 0x100400000", log),
               "corrected: logged", log)
        tap.equal(machine.command("cat /proc/badblocks")[1], "", "corrected: nothing is bad")
        inject(machine, ACTION, 0x100400000, MCG_NOT)
        tap.equal(machine.command("echo on; cat /proc/badblocks")[1], "on\n",
                  "another CPU's error: not ours")


def scrub():
    """Damage that nobody has used yet: no signal, but the block is bad from then on."""
    with make_image(files=FILES) as image, boot(image, "scrub") as machine:
        machine.prompt()
        pa = touching(machine)
        inject(machine, SCRUB, pa, MCG_NOT)
        machine.monitor("cont")
        machine.send("\x03")
        machine.prompt()
        machine.command("sleep 1")
        tap.equal(machine.command("cat /proc/badblocks")[1].split()[1], hex(pa & -PAGE),
                  "found by scrubbing: bad, and no signal")


def fatal(name, status, mcg, says):
    """What nobody can repair ends the machine, and says why."""
    config = Config(append="testexit")
    with Machine(config, f"poison-{name}") as machine:
        machine.prompt()
        inject(machine, status, 0x1000000, mcg)
        tap.equal(machine.wait(), 255, f"{name}: a panic")
        text = machine.console.decode("latin-1")
        tap.ok(f"panic: machine check: {says}" in text, f"{name}: that says why", text[-1500:])


tap.attempt("user, plain", user, "mmap", "")
tap.attempt("user, attached", user, "daxvm", "-d")
tap.attempt("pieces", pieces)
tap.attempt("mend, plain", mend, "mend", "")
tap.attempt("mend, attached", mend, "mend-daxvm", "-d")
tap.attempt("read", read)
tap.attempt("kept", kept)
tap.attempt("walk", walk)
tap.attempt("directory", metadata, "ptfs_record_read", "cat /pmem/good")
tap.attempt("table", metadata, "extent_of_words", "dd if=/pmem/bad of=/dev/null bs=64k",
            True)
tap.attempt("inode", metadata, "ptfs_medium_copy", "stat /pmem/bad")
tap.attempt("survived", survived)
tap.attempt("scrub", scrub)
tap.attempt("context", fatal, "PCC", FATAL, MCG_HERE, "an uncorrected error has damaged the CPU")
tap.attempt("no address", fatal, "no address", NO_ADDRESS, MCG_HERE,
            "an uncorrected error without a valid address")
tap.attempt("RAM", fatal, "RAM", ACTION, MCG_HERE, "an uncorrected error in memory that is not")
tap.done()
