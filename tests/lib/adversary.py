# SPDX-License-Identifier: MIT
"""The adversarial TLB (tests/tlb/adversary.c, docs/adversarial-tlb.md): runs a stress program under
the plugin and names what it found."""

import dataclasses
import pathlib
import re
import tempfile

from lib import cpio, guest, tap
from lib.conflicts import Symbols
from lib.images import make_image
from lib.machine import BUILD, KERNEL, Config, Dimm, GuestError

GRACE = 120  # seconds that a run may take longer than it was told
COUNTS = ["marks", "ways", "tables", "flushes", "pages", "checks", "lenient", "alarms"]


@dataclasses.dataclass
class Alarm:
    """Something that got another use while a CPU could still reach it."""

    kind: str  # page, table, slot, root; stale: of a range that was flushed or unmapped
    by: str  # the function that declared it free or forgotten
    cleared: str  # the one that cleared the entry; None: it still leads there
    text: str


@dataclasses.dataclass
class Report:
    counts: dict  # by COUNTS; None: QEMU did not come to its end
    alarms: list
    error: str = None  # the guest did not do its work


def _name_at(symbols, pc):
    return symbols.at(pc)[0].split(".")[0] if pc else None


def _read(path, kernel):
    symbols = Symbols(kernel)
    report = Report(None, [])
    for line in path.read_text("ascii").splitlines():
        fields = line.split()
        if fields[0] == "end":
            report.counts = dict(zip(COUNTS, map(int, fields[1:]), strict=True))
        elif fields[0] == "held":
            kind, cpu, address, size, va = fields[1:6]
            by, cleared = (_name_at(symbols, int(pc, 16)) for pc in fields[6:8])
            text = (f"{kind} {address}, {size} bytes, given up in {by}: CPU {cpu} may hold it for "
                    f"address {va}, cleared in {cleared}; {' '.join(fields[8:])}")
            report.alarms.append(Alarm(kind, by, cleared, text))
    return report


def run(program, arguments, smp, seconds=5, first=False, accel="tcg", kernel=KERNEL,
        append=""):
    """`program` of tests/stress for `seconds`; a guest that breaks down is no error here. `first`:
    the first alarm ends the machine."""
    with make_image("64M") as image, tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch, "found")
        plugin = f"{BUILD}/adversary.so,out={out}" + (",first=on" if first else "")
        config = Config(smp=smp, accel=accel, kernel=kernel, dimms=[Dimm(image)], append=append,
                        extra=["-plugin", plugin])
        config.files[f"put/{program}"] = cpio.host_file(BUILD / "stress" / program)
        folders = re.findall(r"/\S+", arguments)
        prepare = f"mkdir {' '.join(folders)} && " if folders else ""
        command = f"{prepare}/put/{program} -t {seconds} {arguments}"
        error = None
        try:
            result = guest.run(config, command, seconds + GRACE, name=f"tlb-{program}")
            if result.status:
                error = f"status {result.status}\n{result.output}\n{result.log[-3000:]}"
        except GuestError as failure:
            error = str(failure)
        report = _read(out, kernel)
        report.error = error
        return report


def check_sound(program, folders, smp, seconds, seed=1, accel="tcg", append=""):
    """One run of the kernel as it should be is one test."""
    report = run(program, f"-s {seed} {folders}", smp, seconds=seconds, accel=accel,
                 append=append)
    title = f"{program}, seed {seed}, {smp} CPUs, {accel} {folders} {append}".strip()
    alarms = "\n".join(alarm.text for alarm in report.alarms)
    tap.ok(not report.alarms and not report.error, f"{title}: nothing was held too long",
           f"{alarms}\n{report.error}")
    counts = report.counts or dict.fromkeys(COUNTS, 0)
    tap.ok(min(counts[name] for name in ("marks", "tables", "flushes", "checks")) >= 20 and
           counts["lenient"] == 0, f"{title}: there was something to hold", counts)
    tap.diag(f"{program}: {' '.join(f'{name} {count}' for name, count in counts.items())}")
