# SPDX-License-Identifier: MIT
"""Images of ptfs for tests: made by mkfs.ptfs, removed when the test ends."""

import contextlib
import os
import pathlib
import subprocess
import tempfile

from lib.machine import BUILD

TOOLS = BUILD / "bin"


def run_tool(*words, check=True):
    """Run one of the host tools (build/bin): the completed process, with its output as text."""
    done = subprocess.run([str(TOOLS / words[0]), *map(str, words[1:])], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=120, check=False,
                          encoding="utf-8", errors="replace")
    if check and done.returncode:
        command = " ".join(map(str, words))
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}")
    return done


@contextlib.contextmanager
def make_image(size="64M", files=None, base=None):
    """The path of a fresh image with `files`, a dict of path -> bytes, for the address `base`."""
    with tempfile.TemporaryDirectory(prefix="dax64-") as scratch:
        tree = pathlib.Path(scratch, "tree")
        tree.mkdir()
        for name, content in (files or {}).items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        image = os.path.join(scratch, "pmem.img")
        place = ["--base", base] if base else []
        run_tool("mkfs.ptfs", "-s", size, "-d", tree, *place, image)
        yield image


def check_image(image):
    """What `ptfs check` finds wrong with an image that is not mounted, or None."""
    done = run_tool("ptfs", "check", image, check=False)
    return done.stdout if done.returncode else None
