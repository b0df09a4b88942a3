#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`make exec` and `make gdb`, called as a user calls them."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.images import make_image
from lib.machine import BUILD


def make(*words):
    """make, without what a make above may have put into the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", "DEPS=no", f"BUILD={BUILD}", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=120,
                          env=environment, check=False)


def exec_gives(image, command, output, status, *words):
    done = make("exec", f"IMAGE={image}", f"CMD={command}", *words)
    assert done.stdout == output, f"output {done.stdout!r}\n{done.stderr.decode()}"
    assert done.returncode == status, f"status {done.returncode}\n{done.stderr.decode()}"


def shows_regions(image):
    done = make("exec", f"IMAGE={image}", "CMD=cat /proc/pmem; false")
    assert b"pmem0" in done.stdout and done.returncode == 1, (done.stdout, done.returncode)


def counts_exactly(image):
    """Under instruction counting two runs are alike to the tick."""
    runs = [make("exec", "ICOUNT=1", f"IMAGE={image}", "CMD=cat /proc/uptime").stdout
            for _ in range(2)]
    assert runs[0] and runs[0] == runs[1], runs


def debugger_stops():
    commands = ("-batch -ex 'hbreak main' -ex c -ex 'hbreak syscall_init' -ex c -ex bt "
                "-ex 'ptwalk main' -ex lsthreads")
    done = make("gdb", "IMAGE=none", f"GDBFLAGS={commands}")
    text = done.stdout.decode()
    assert "Breakpoint 1, main (" in text, text
    assert "Breakpoint 2, syscall_init (" in text, text
    assert "PML4 [511]" in text, text


def debugger_waits():
    """Story: on a busy host GDB gave up before the machine had started, and then took late answers
    for those to other questions."""
    late = f"target remote | sleep 7; BUILD={BUILD} exec tests/run gdb --image none"
    done = subprocess.run(["gdb", "-q", "-batch", "-x", "tools/gdb/dax64.gdb", "-ex", late,
                           "-ex", "hbreak main", "-ex", "c", str(BUILD / "dax64.elf")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, timeout=120, check=False)
    text = done.stdout.decode()
    assert "Breakpoint 1, main (" in text, text


with make_image("16M", {"file": b"content\n"}) as path:
    every_byte = bytes(range(256))
    with open(f"{path}.bytes", "wb") as file:
        file.write(every_byte)
    tap.attempt("exec: regions and status 1", shows_regions, path)
    tap.attempt("exec: status 42", exec_gives, path, "exit 42", b"", 42)
    tap.attempt("exec: quotes and dollars", exec_gives, path, "x='a b'; echo \"$x\" $((6*7))",
                b"a b 42\n", 0)
    tap.attempt("exec: a file of the image", exec_gives, path, "cat /pmem/file", b"content\n", 0)
    tap.attempt("exec: PUT, every byte comes back", exec_gives, path, "cat /put/pmem.img.bytes",
                every_byte, 0, f"PUT={path}.bytes")
    tap.attempt("exec: no DIMM, 2 CPUs", exec_gives, "none", "nproc", b"2\n", 0, "SMP=2")
    tap.attempt("exec: exact counting", counts_exactly, path)
tap.attempt("gdb stops in main and later", debugger_stops)
tap.attempt("gdb waits for a machine that is slow to start", debugger_waits)
tap.done()
