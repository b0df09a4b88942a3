# SPDX-License-Identifier: MIT
"""One image in many places: the machine's memory size and the DIMM's address say where."""

from lib.images import check_image
from lib.machine import Config, Dimm, GuestError

# (memory, addr= of the DIMM, where the region is then). More places than the image has base tags.
PLACES = [
    ("512M", None, 0x100000000),
    ("3G", None, 0x140000000),
    ("512M", "0x143e00000", 0x143E00000),
    ("512M", "0x200000000", 0x200000000),
    ("512M", "0x180000000", 0x180000000),
    ("512M", "0x1ffe00000", 0x1FFE00000),
    ("512M", "0x240200000", 0x240200000),
    ("512M", "0x300000000", 0x300000000),
    ("512M", "0x2c0600000", 0x2C0600000),
]


def config(path, place, **more):
    mem, addr, _ = PLACES[place % len(PLACES)]
    return Config(mem=mem, dimms=[Dimm(str(path), addr=addr)], **more)


def base(place):
    return PLACES[place % len(PLACES)][2]


def sound(path):
    if wrong := check_image(path):
        raise GuestError(f"ptfs check: {wrong}")
