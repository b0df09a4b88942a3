# SPDX-License-Identifier: MIT
"""Runs of the freed-block canary (tests/stress/canary.c) in the guest."""

from lib import cpio, guest, tap
from lib.images import check_image, make_image
from lib.machine import BUILD, Config, Dimm, GuestError

FOUND = "a word of another file"


def run(rounds, smp, seed=1, append="", finds=False, seconds=240, accel="tcg"):
    """One run is one test. `finds`: the canary must find foreign bytes, for something is amiss."""
    title = f"canary, {rounds} rounds, {smp} CPUs, seed {seed} {append}".strip()

    def attempt():
        with make_image("64M") as image:
            config = Config(smp=smp, accel=accel, dimms=[Dimm(image)], append=append,
                            files={"put/canary": cpio.host_file(BUILD / "stress" / "canary")})
            command = f"mkdir /pmem/a && /put/canary -s {seed} -r {rounds} /pmem/a"
            result = guest.run(config, command, seconds, name=f"canary-{seed}-{smp}")
            if finds != (result.status != 0) or finds != (FOUND in result.output):
                raise GuestError(f"status {result.status}\n{result.output}\n"
                                 f"{result.log[-3000:]}")
            if wrong := check_image(image):
                raise GuestError(f"ptfs check after power-off: {wrong}")

    tap.attempt(f"{title}: {'finds foreign bytes' if finds else 'finds nothing'}", attempt)
