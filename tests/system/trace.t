#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tracepoints: what a program did comes out of /proc/daxvm/trace as Chrome trace events."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import guest, tap
from lib.images import make_image
from lib.machine import Config, Dimm

SWITCH, TRACE = "/proc/sys/daxvm/trace", "/proc/daxvm/trace"


def trace_of(command, image, cpus):
    """What `command` left in the trace: the document, and the events that are not system calls."""
    script = f"echo 1 >{SWITCH}; {command} >/dev/null; echo 0 >{SWITCH}; cat {TRACE}"
    result = guest.run(Config(smp=cpus, dimms=[Dimm(image)]), script)
    assert result.status == 0, result.output
    return json.loads(result.output)


def check_trace(document):
    events = document["traceEvents"]
    names = {event["name"] for event in events}
    assert "attach_pte_page" in names, names
    assert "fault_anon_new" in names, names
    assert {"mmap", "munmap", "execve"} <= {e["name"] for e in events if e["ph"] == "X"}, names
    for event in events:
        assert event["ts"] > 0 and event["tid"] >= 0, event
    for cpu in {event["args"]["cpu"] for event in events}:
        times = [e["ts"] for e in events if e["args"]["cpu"] == cpu and e["ph"] == "i"]
        assert times == sorted(times), f"CPU {cpu} goes back in time"


def check_nesting(document):
    """What a thread did between the start and the end of its mmap with MAP_DAXVM is the attach."""
    events = document["traceEvents"]
    attach = next(e for e in events if e["name"] == "attach_pte_page")
    around = [e for e in events if e["ph"] == "X" and e["tid"] == attach["tid"]
              and e["ts"] <= attach["ts"] <= e["ts"] + e["dur"]]
    assert [e["name"] for e in around] == ["mmap"], around


def check_off(image):
    """What is off records nothing; nonsense is refused, and everybody but root."""
    script = (f"maptour /pmem/64k >/dev/null; cat {TRACE}; cat {SWITCH}; "
              f"echo 2 2>/dev/null >{SWITCH} || echo refused; "
              f"echo 'user:x:1000:1000::/:/bin/sh' >>/etc/passwd; "
              f"su user -c 'id -u; echo 1 >{SWITCH} || echo no' 2>/dev/null")
    result = guest.run(Config(dimms=[Dimm(image)]), script)
    lines = result.output.splitlines()
    assert json.loads("".join(lines[:-4]))["traceEvents"] == [], lines
    assert lines[-4:] == ["0", "refused", "1000", "no"], lines


def main():
    with make_image("64M", {"64k": bytes(65536)}) as image:
        documents = []
        for cpus in (1, 2):
            tap.attempt(f"{cpus} CPUs: the trace can be read", lambda n=cpus: documents.append(
                trace_of("maptour /pmem/64k", image, n)))
        for document in documents:
            tap.attempt("it holds what happened", check_trace, document)
            tap.attempt("ticks lie inside the call that caused them", check_nesting, document)
        tap.attempt("off is off", check_off, image)
    tap.done()


main()
