#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What msync and fsync promise is on the medium when they return, and no more than that is.

tests/stress/syncstore.c stores words that say when they are to be durable, through mappings of
every kind. The machine runs under the plugin that traces stores, write-backs and fences
(tools/pmtrace.c); here the trace is replayed on two images: the caches, which have every store, and
the medium, which has of each line what it was when it was written back before the last fence. A
power failure can leave no less than the medium. At each mark the promises are held against it."""

import collections
import pathlib
import shutil
import struct
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import cpio, guest, images, tap
from lib.machine import BUILD, Config, Dimm

RECORD = struct.Struct("<QQ16sHHI")
STORE, STORE_NT, FLUSH, FENCE = range(4)
STEPS = 120
WORD, MARK = 0xd5, 0xe7
BY_SYNC, BY_LATER_SYNC, NEVER, BY_PROGRAM = range(1, 5)
WHOLE_FILE, RANGE = 1, 2


# Story: the first byte alone once made a word or a mark. Now and then a checksum of the file system
# began with it, and two marks too many were counted: one in the journal, one in its place.


def is_word(word):
    return (word >> 56 == WORD and BY_SYNC <= word >> 52 & 15 <= BY_PROGRAM
            and word >> 20 & 0xffffffff <= STEPS)


def is_mark(word):
    return (word >> 56 == MARK and WHOLE_FILE <= word >> 52 & 15 <= RANGE
            and word >> 20 & 0xffffffff <= STEPS and not word & 0xfffff)


class Replay:
    """The images, and the words that were stored to each place since the last promise was kept."""

    def __init__(self, image):
        self.cache, self.medium = bytearray(image), bytearray(image)
        self.lines, self.stores = {}, []  # written back, non-temporal: durable at the next fence
        self.words = collections.defaultdict(list)  # by offset: in the order of the stores
        self.marks = self.kept = 0
        self.broken, self.early = [], collections.Counter()
        self.held_back = collections.Counter()

    def record(self, offset, value, size, kind):
        """One record of the trace."""
        if kind in (STORE, STORE_NT):
            self.cache[offset:offset + size] = value[:size]
            if kind == STORE_NT:
                self.stores.append((offset, value[:size]))
            word = int.from_bytes(value[:8], "little")
            if size == 8 and is_word(word):
                self.words[offset].append(word)
            elif size == 8 and is_mark(word):
                self.mark(word)
        elif kind == FLUSH:
            self.lines[offset] = bytes(self.cache[offset:offset + 64])
        else:
            for at, data in self.lines.items():
                self.medium[at:at + 64] = data
            for at, data in self.stores:
                self.medium[at:at + len(data)] = data
            self.lines, self.stores = {}, []

    def mark(self, mark):
        """A sync has returned."""
        whole, step = mark >> 52 & 15 == WHOLE_FILE, mark >> 20 & 0xffffffff
        self.marks += 1
        for offset, words in self.words.items():
            durable = int.from_bytes(self.medium[offset:offset + 8], "little")
            due = [n for n, word in enumerate(words) if promised(word, whole, step)]
            if due:
                if durable in words[due[-1]:]:
                    self.kept += 1
                    del words[:words.index(durable)]
                else:
                    self.broken.append((step, hex(offset), hex(words[due[-1]]), hex(durable)))
            for word in words[due[-1] + 1 if due else 0:]:
                if word >> 20 & 0xffffffff == step:
                    kind = word >> 52 & 15
                    (self.early if durable == word else self.held_back)[kind] += 1


def promised(word, whole, step):
    """Is it to be durable at this mark?"""
    kind, stored = word >> 52 & 15, word >> 20 & 0xffffffff
    if kind in (BY_SYNC, BY_PROGRAM):
        return stored <= step
    return kind == BY_LATER_SYNC and whole


def trace(folder):
    """Runs the program in a traced guest: what came of it, the image before, and the trace."""
    image, before, out = folder / "pm.img", folder / "before.img", folder / "trace"
    images.run_tool("mkfs.ptfs", "-s", "32M", image)
    shutil.copy(image, before)
    plugin = f"{BUILD}/pmtrace.so,image={image},out={out}"
    files = {"put/syncstore": cpio.host_file(BUILD / "stress/syncstore")}
    # One instruction a translation block: else the plugin sees wrong registers.
    config = Config(dimms=[Dimm(str(image))], files=files,
                    extra=["-singlestep", "-plugin", plugin])
    done = guest.run(config, f"/put/syncstore /pmem {STEPS}", timeout=900)
    return done, before.read_bytes(), out


def main():
    with tempfile.TemporaryDirectory() as folder:
        done, before, out = trace(pathlib.Path(folder))
        tap.equal(done.output, f"{STEPS} steps\n", "the program stored and synced")
        replay = Replay(before)
        with open(out, "rb") as file:
            for _, offset, value, size, kind, _ in RECORD.iter_unpack(file.read()):
                replay.record(offset, value, size, kind)
    tap.equal(replay.marks, STEPS, "every sync left its mark")
    tap.ok(not replay.broken, "what was promised is durable", replay.broken[:10])
    tap.ok(replay.kept > 2 * STEPS, "promises were made", replay.kept)
    tap.ok(not replay.early, "nothing else is written back: no line beside the range, nothing of a "
           "nosync mapping", replay.early)
    tap.ok(replay.held_back[BY_LATER_SYNC] > STEPS / 8 and replay.held_back[NEVER] > STEPS / 8,
           "there was something else", replay.held_back)
    tap.done()


main()
