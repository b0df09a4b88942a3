#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A session at the console of the ISO, as a user has it: the shell, the line discipline, programs
that misbehave, and files that are there after the next boot and visible to the host tools."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.images import check_image, make_image, run_tool
from lib.machine import Config, Dimm, Machine

SAMPLE = {f"src/file{number}.c": b"int main(void)\n{\n}\n" * number for number in range(1, 30)}
INTERRUPT, END_OF_FILE, ERASE, KILL_LINE = "\x03", "\x04", "\x7f", "\x15"


def expect_output(machine, command, expected, status=0):
    got_status, output = machine.command(command)
    assert output == expected, f"{command}: {output!r}"
    assert got_status == status, f"{command}: status {got_status}"


def shell_basics(machine):
    expect_output(machine, "echo hello", "hello\n")
    expect_output(machine, "false", "", status=1)
    expect_output(machine, "ls -lR /pmem | grep -c file", "29\n")
    expect_output(machine, "grep -c main /pmem/src/file7.c", "7\n")
    expect_output(machine, "cat /pmem/src/*.c | wc -l", f"{3 * sum(range(1, 30))}\n")
    expect_output(machine, "echo one >/tmp/f; echo two >>/tmp/f; sort -r </tmp/f", "two\none\n")
    expect_output(machine, "for i in 1 2 3; do echo $i; done | tail -n 1", "3\n")
    expect_output(machine, "cd /pmem/src && pwd && cd /", "/pmem/src\n")
    expect_output(machine, "(exit 42)", "", status=42)
    expect_output(machine, "missing-program 2>/dev/null", "", status=127)
    expect_output(machine, "x=$(echo a | tr a b); echo $x", "b\n")


def script(machine):
    """What the shells' usual programs do: find, tar, sed, awk, dd, cp -a, mv, rm -r."""
    expect_output(machine, "cp -a /pmem/src /tmp/copy && diff -r /pmem/src /tmp/copy", "")
    expect_output(machine, "tar cf - -C /tmp copy | tar tf - | wc -l", "30\n")
    expect_output(machine, "find /tmp/copy -name 'file1*' -exec basename {} \\; | sort | head -n 2",
                  "file1.c\nfile10.c\n")
    expect_output(machine, "sed s/main/start/ /tmp/copy/file1.c | head -n 1", "int start(void)\n")
    expect_output(machine, "awk 'END { print NR }' /tmp/copy/file2.c", "6\n")
    expect_output(machine, "dd if=/dev/zero of=/pmem/zeros bs=64k count=40 2>/dev/null; "
                           "wc -c </pmem/zeros; rm /pmem/zeros", "2621440\n")
    expect_output(machine, "mv /tmp/copy /tmp/moved && rm -r /tmp/moved && ls /tmp | grep -c moved",
                  "0\n", status=1)


def line_discipline(machine):
    machine.send(f"echo wrnng{ERASE * 3}ong\n")
    machine.expect(r"\nwrong\r\n")
    machine.prompt()
    machine.send(f"echo nothing{KILL_LINE}echo something\n")
    machine.expect(r"\nsomething\r\n")
    machine.prompt()
    # The shell edits its line in raw mode: ^C means something only once the program runs.
    machine.send("sh -c 'echo running; sleep 1000'\n")
    machine.expect(r"\nrunning\r\n")
    machine.send(INTERRUPT)
    machine.prompt(timeout=10)
    machine.send("echo running; cat\n")
    machine.expect(r"\nrunning\r\n")
    machine.send("typed\n")
    machine.expect(r"typed\r\ntyped\r\n")
    machine.send(END_OF_FILE)
    machine.prompt(timeout=10)
    expect_output(machine, "test -t 0 && echo terminal", "terminal\n")


def survives(machine):
    """A program that is killed takes nothing with it."""
    status, _ = machine.command("sh -c 'kill -SEGV $$'")
    assert status == 128 + 11, f"status {status}"
    expect_output(machine, "echo still here", "still here\n")


def first_boot(config):
    with Machine(config, "session", timeout=90) as machine:
        machine.prompt()
        tap.attempt("the shell", shell_basics, machine)
        tap.attempt("the usual programs", script, machine)
        tap.attempt("the line discipline", line_discipline, machine)
        tap.attempt("a program that is killed", survives, machine)
        tap.attempt("write a file", expect_output, machine,
                    "mkdir /pmem/d; echo kept >/pmem/d/note; cat /pmem/d/note", "kept\n")
        machine.send("poweroff\n")
        tap.equal(machine.wait(), 0, "poweroff ends QEMU with status 0")


def second_boot(config):
    with Machine(config, "session-again", timeout=90) as machine:
        machine.prompt()
        expect_output(machine, "cat /pmem/d/note; rm -r /pmem/d; ls /pmem", "kept\nsrc\n")
        machine.send("poweroff\n")
        assert machine.wait() == 0


def typed_early():
    """What was typed before the kernel had set up the port lost its first byte with the FIFO, and
    the shell's first answer to a person in a hurry was "cho: not found". With that byte kept, now
    and then the next one took its place before the FIFO was cleared: "eho: not found"."""
    with Machine(Config(extra=["-S"]), "session-early", timeout=90) as machine:
        machine.send("echo typed early\n")
        deadline = time.time() + 60
        while "paused" not in machine.monitor("info status"):  # QEMU runs, and took what it can
            assert time.time() < deadline, "no monitor"
            time.sleep(0.05)
        machine.monitor("cont")
        machine.expect(r"\ntyped early\r\n")


with make_image("64M", SAMPLE) as image:
    machine_config = Config(boot="bios", dimms=[Dimm(image)], smp=2)
    tap.attempt("the first boot", first_boot, machine_config)
    tap.equal(check_image(image), None, "ptfs check is content")
    tap.equal(run_tool("ptfs", "cat", image, "/d/note").stdout, "kept\n", "ptfs cat shows the file")
    tap.attempt("the second boot finds it", second_boot, machine_config)
    tap.equal(check_image(image), None, "ptfs check is content again")
tap.attempt("what is typed before the console is up is read", typed_early)
tap.done()
