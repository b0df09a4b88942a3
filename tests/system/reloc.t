#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One image at nine addresses and back, with changes in between: contents stay, mappings are
attached right after each move, and the image stays sound. Read-only at an address where it never
was: read and mapped as well, and left as it is."""

import hashlib
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import guest, reloc, tap
from lib.images import make_image, run_tool

MIB = 1 << 20
FILES = {"small": 100, "direct": 32768, "table": 300_000, "huge": 5 * MIB + 123,
         "dir/inner": 40_000}


def content(name, size):
    return random.Random(name).randbytes(size)


def sums(model):
    return "".join(f"{hashlib.md5(data).hexdigest()}  /pmem/{name}\n"
                   for name, data in sorted(model.items()))


def move(path, place, number, model):
    """Boot with the image at `place`: compare everything, map everything, then change a little."""
    config = reloc.config(path, place)
    config.files["run/sums"] = (0o644, sums(model).encode())
    new, tail = f"new{number}", b"%d\n" % number * 3000
    config.files["run/tail"] = (0o644, tail)
    result = guest.run(config, f"cat /proc/pmem && maptour /pmem/table /pmem/huge /pmem/small && "
                       f"md5sum -c /run/sums && cat /run/tail >>/pmem/table && "
                       f"cat /run/tail >/pmem/{new} && "
                       f"rm -f /pmem/new{number - 3}", timeout=240)
    assert result.status == 0, f"status {result.status}\n{result.output}\n{result.log}"
    assert f"{reloc.base(place):x}" in result.output, result.output
    assert result.output.count("the sums agree") == 3, result.output
    assert "not available" not in result.output, result.output
    attached(result.output)
    assert "refused" not in result.log, result.log
    model["table"] += tail
    model[new] = tail
    model.pop(f"new{number - 3}", None)
    reloc.sound(path)


def attached(output):
    """The table of the file itself is used, although it was written for another address."""
    block = output.split("/pmem/table\n")[1].split("/pmem/huge\n")[0]
    assert "in PMem" in block, block


def read_only(path, model):
    before = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    config = reloc.config(path, 4, append="nomount")
    config.files["run/sums"] = (0o644, sums(model).encode())
    result = guest.run(config, "mount -t ptfs -o ro pmem0 /pmem && md5sum -c /run/sums && "
                       "maptour /pmem/table /pmem/huge /pmem/small && ! touch /pmem/x",
                       timeout=240)
    assert result.status == 0, f"status {result.status}\n{result.output}\n{result.log}"
    assert result.output.count("the sums agree") == 3, result.output
    after = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    assert before == after, "the image was changed"


def unclean_read_only(path):
    run_tool("ptfs", "unclean", path)
    result = guest.run(reloc.config(path, 5, append="nomount"),
                       "mount -t ptfs -o ro pmem0 /pmem; echo $?")
    assert "needs recovery" in result.log, result.log


def main():
    model = {name: content(name, size) for name, size in FILES.items()}
    with make_image("64M", model) as path:
        tap.attempt("read-only where it never was", read_only, path, model)
        for number, place in enumerate([*range(len(reloc.PLACES)), 0, 2]):
            tap.attempt(f"move {number}: to {reloc.base(place):#x}", move, path, place, number,
                        model)
        tap.attempt("read-only and unclean is refused", unclean_read_only, path)
    tap.done()


main()
