# SPDX-License-Identifier: MIT
"""Boot, run one command line in the guest's shell, power off: what most system tests do."""

import dataclasses
import re

from lib.machine import GuestError, Machine


@dataclasses.dataclass
class Result:
    status: int  # of the command; None if the machine ended without telling
    output: str  # of the command, both streams
    log: str  # of the kernel


def run(config, command, timeout=90):
    """Boots `config` by PVH and runs `command`. GuestError if the machine hangs or gives no status."""
    config.append = f"console=ttyS1 exec {config.append}".strip()
    config.files["run/exec.sh"] = (0o755, f"exec 2>&1\n{command}\n".encode())
    chunks = []
    with Machine(config, "guest", timeout) as machine:
        machine.copy_output(chunks.append)
        machine.wait()
        log = machine.log()
        status = re.findall(r"exit status (\d+)", log)
        if not status:
            raise GuestError("the guest ended without a status")
        return Result(int(status[-1]), b"".join(chunks).decode("latin-1"), log)
