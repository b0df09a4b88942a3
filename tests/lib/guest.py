# SPDX-License-Identifier: MIT
"""Boot, run one command line in the guest's shell, power off: `make exec` and most system tests.

COM1 carries what the command writes and nothing else, byte for byte; the kernel's log and the
status of the command come by COM2.
"""

import dataclasses
import re

from lib.machine import GuestError, Machine


class NoStatus(GuestError):
    """The machine ended, but not by the end of the command."""


@dataclasses.dataclass
class Result:
    status: int  # of the command
    output: str  # of the command, both streams; one character per byte
    log: str  # of the kernel


def run(config, command, timeout=90, sink=None, name="guest"):
    """Boots `config` by PVH and runs `command`; `sink` gets the output as it comes.

    GuestError if the machine hangs, NoStatus if it ends before the command does.
    """
    config = dataclasses.replace(
        config, append=f"console=ttyS1 exec {config.append}".strip(),
        files=config.files | {"run/exec.sh": (0o755, command.encode() + b"\n")})
    chunks = []
    with Machine(config, name, timeout) as machine:
        machine.copy_output(sink or chunks.append)
        machine.wait()
        log = machine.log()
        status = re.findall(r"exit status (\d+)", log)
        if not status:
            raise NoStatus("the guest ended without a status")
    return Result(int(status[-1]), b"".join(chunks).decode("latin-1"), log)
