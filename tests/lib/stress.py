# SPDX-License-Identifier: MIT
"""The stress programs (tests/stress/*.c) in the guest: one run is one test."""

import pathlib
import shutil
import time

from lib import cpio, guest, tap
from lib.images import check_image, make_image
from lib.machine import BUILD, Config, Dimm, GuestError, Machine

SIZE = "64M"
GRACE = 90  # seconds that a run may take longer than it was told; the host may be busy


def _config(program, smp, image, accel, append=""):
    name = pathlib.Path(program).name
    return Config(smp=smp, accel=accel, dimms=[Dimm(image)], append=append,
                  files={f"put/{name}": cpio.host_file(BUILD / "stress" / name)})


def run(program, folders="", seconds=5, smp=4, seed=1, accel="tcg", options="", append=""):
    """Runs `program` in `folders`, which are made. The shell must go on, and the image be sound."""
    title = f"{program}, seed {seed}, {smp} CPUs, {accel} {folders} {append}".strip()
    prepare = f"mkdir {folders} && " if folders else ""
    command = f"{prepare}/put/{program} -s {seed} -t {seconds} {options} {folders} && echo survived"

    def attempt():
        with make_image(SIZE) as image:
            config = _config(program, smp, image, accel, append)
            result = guest.run(config, command, seconds + GRACE,
                               name=f"{program}-{seed}-{smp}")
            if result.status or not result.output.endswith("survived\n"):
                raise GuestError(f"status {result.status}\n{result.output}\n{result.log[-3000:]}")
            _sound(image, "after power-off")

    tap.attempt(title, attempt)


def _cut_power(program, folder, seconds, smp, seed, image):
    config = _config(program, smp, image, "tcg")
    config.append = "console=ttyS1 exec"
    script = f"mkdir {folder}; echo begin; /put/{program} -s {seed} -t 600 {folder}\n"
    config.files["run/exec.sh"] = (0o755, script.encode())
    with Machine(config, f"{program}-cut", 60) as machine:
        machine.expect("begin")
        time.sleep(seconds)
        machine.kill()


def _sound(image, when):
    if wrong := check_image(image):
        raise GuestError(f"ptfs check {when}: {wrong}")


def cut(program, folder, seconds, smp=2, seed=1):
    """SIGKILL to the machine in the middle: the image must be sound before and after recovery."""

    def attempt():
        with make_image(SIZE) as image:
            _cut_power(program, folder, seconds, smp, seed, image)
            copy = f"{image}.copy"
            shutil.copy(image, copy)
            _sound(copy, "after the cut")
            guest.run(Config(dimms=[Dimm(image)]), f"rm -r {folder}", 60)
            _sound(image, "after recovery")

    tap.attempt(f"{program}, seed {seed}: power cut after {seconds} s", attempt)
