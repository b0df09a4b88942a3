#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/ptfs-format.md is enough to write a reader. This is one, written from that page and from
nothing else; it must see in an image what was put into it."""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import tap
from lib.machine import BUILD

BLOCK, CHUNK = 4096, 2 << 20
FREE, META, INODE, TABLE, DATA = range(5)
TABLE_BITS, LEAF_BITS, HUGE_BITS = 0x026, 0x066, 0x0E6
ADDRESS = 0x000F_FFFF_FFFF_F000


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Image:
    def __init__(self, path):
        self.file = open(path, "rb")
        block = self.at(0, BLOCK)
        fields = struct.unpack_from("<QIIIIQ16sQIIQQQQQQQQQ", block)
        (magic, version, block_bytes, chunk_bytes, inode_bytes, self.chunks, _, self.journal,
         slots, slot_bytes, self.map, _, self.snapshot, _, system, copy, self.root, incompat,
         _) = fields
        assert magic == 0x0A1A0D5346545000 and version == 1 and not incompat
        assert (block_bytes, chunk_bytes, inode_bytes) == (BLOCK, CHUNK, 256)
        assert (slots, slot_bytes) == (64, 1024)
        assert struct.unpack_from("<I", block, 252)[0] == crc32c(block[:252])
        assert self.at(copy, 256) == block[:256] and system == copy + BLOCK
        self.generation, self.current, self.itable = struct.unpack_from("<QQQ", block, 256)
        self.base = [self.base_of(t, word)
                     for t, word in enumerate(struct.unpack_from("<8Q", block, 320))]
        self.type = self.at(self.map, self.chunks)

    @staticmethod
    def base_of(tag, word):
        base = word & ~(CHUNK - 1)
        assert not word or word & (CHUNK - 1) == \
            crc32c(struct.pack("<QQ", base, tag)) & (CHUNK - 1)
        return base

    def at(self, offset, length):
        self.file.seek(offset)
        return self.file.read(length)

    def word(self, offset):
        return struct.unpack("<Q", self.at(offset, 8))[0]

    def decode(self, entry, level):
        """(offset, is it a leaf)"""
        huge = level == 2 and entry & 0x80
        want = LEAF_BITS if level == 1 else HUGE_BITS if huge else TABLE_BITS
        assert entry & ~(ADDRESS | 7 << 52 | 1) == want, hex(entry)
        base = self.base[entry >> 52 & 7]
        offset = (entry & ADDRESS) - base
        assert base and 0 <= offset < self.chunks * CHUNK
        assert offset % (CHUNK if huge else BLOCK) == 0
        leaf = level == 1 or bool(huge)
        if not leaf:
            assert self.type[offset // CHUNK] == TABLE
        return offset, leaf

    def block(self, root, direct, number):
        """The offset of a file's block, None: a hole."""
        if not root:
            entry = direct[number] if number < 8 else 0
            return self.decode(entry, 1)[0] if entry else None
        level = root >> 9 & 7
        entry = root & ~(7 << 9)
        if number >> 9 * (level - 1):
            return None
        while entry:
            offset, leaf = self.decode(entry, level)
            if leaf:
                return offset + (number % 512 * BLOCK if level == 2 else 0)
            level -= 1
            entry = self.word(offset + 8 * (number >> 9 * (level - 1) & 511))
        return None

    def inode(self, number):
        where = self.block(self.itable, None, number * 256 // BLOCK)
        data = self.at(where + number * 256 % BLOCK, 256)
        magic, crc, ino = struct.unpack_from("<IIQ", data)
        assert magic == 0x444F4E49 and crc == crc32c(data[8:64]) and ino == number
        mode, links, uid, gid, size, flags, _, mtime, _, parent, root = \
            struct.unpack_from("<IIIIQQQQQQQ", data, 64)
        return {"mode": mode, "links": links, "size": size, "root": root, "mtime": mtime,
                "parent": parent, "direct": struct.unpack_from("<8Q", data, 192),
                "inline": data[192:], "owner": (uid, gid), "flags": flags}

    def contents(self, node, kind):
        out = b""
        for number in range((node["size"] + BLOCK - 1) // BLOCK):
            where = self.block(node["root"], node["direct"], number)
            assert where is None or self.type[where // CHUNK] == kind
            out += bytes(BLOCK) if where is None else self.at(where, BLOCK)
        return out[:node["size"]]

    def names(self, node):
        data = self.contents(node, META)
        for start in range(0, len(data), BLOCK):
            at = start
            while at < start + BLOCK:
                ino, head = struct.unpack_from("<QQ", data, at)
                units = head >> 32 & 255 or (start + BLOCK - at) // 64
                name = data[at + 16:at + 16 + (head >> 40 & 255)]
                if ino:
                    assert head & 0xFFFFFFFF == crc32c(name)
                    yield name.decode(), ino, head >> 48 & 255
                at += 64 * units
            assert at == start + BLOCK

    def walk(self, number, path=""):
        """{path: what is there}"""
        node = self.inode(number)
        kind = node["mode"] >> 12
        if kind == 0o10:
            return {path: self.contents(node, DATA)}
        if kind == 0o12:
            short = node["size"] <= 64
            return {path: (node["inline"][:node["size"]] if short
                           else self.contents(node, META)).decode()}
        found = {path: None}
        for name, ino, entry_type in self.names(node):
            assert self.inode(ino)["mode"] >> 12 == entry_type
            found.update(self.walk(ino, f"{path}/{name}"))
        return found

    def in_use(self):
        """Blocks in use by type, from the snapshot of a clean image."""
        magic, generation, chunks, _, inodes = struct.unpack("<QQQQQ", self.at(self.snapshot, 40))
        data_crc, crc = struct.unpack("<II", self.at(self.snapshot + 56, 8))
        assert magic == 0x70616E7353465450 and chunks == self.chunks
        assert generation == self.generation == self.word(self.snapshot + 64)
        assert crc == crc32c(self.at(self.snapshot, 60))
        maps = [(kind, self.at(self.snapshot + BLOCK + 64 * c, 64))
                for c, kind in enumerate(self.type) if kind != FREE]
        assert data_crc == crc32c(b"".join(bits for _, bits in maps))
        count = [0] * 5
        for kind, bits in maps:
            count[kind] += sum(bin(byte).count("1") for byte in bits)
        return inodes, count


def fill(tree):
    """What goes in, as walk() shows it."""
    want = {"": None}

    def put(name, data):
        (tree / name).write_bytes(data)
        want[f"/{name}"] = data

    os.makedirs(tree / "dir" / "empty")
    want.update({"/dir": None, "/dir/empty": None})
    put("none", b"")
    put("small", b"hello\n")
    put("direct", os.urandom(32768))
    put("table", os.urandom(100_001))
    put("huge", os.urandom(5 << 20) + b"end")
    for i in range(200):
        put(f"dir/{i:0{i % 90 + 1}}", b"%d" % i)
    os.symlink("../short", tree / "link")
    os.symlink("long" * 50, tree / "longer")
    want.update({"/link": "../short", "/longer": "long" * 50})
    with open(tree / "sparse", "wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"middle")
    want["/sparse"] = (tree / "sparse").read_bytes()
    return want


def read_by_the_page(base):
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder, "tree")
        tree.mkdir()
        want = fill(tree)
        path = pathlib.Path(folder, "image")
        subprocess.run([BUILD / "bin/mkfs.ptfs", "-s", "32M", "--base", hex(base), "-d", tree,
                        path], check=True)
        image = Image(path)
        assert image.base[image.current] == base
        assert all(image.word(image.journal + 1024 * s) == 0 for s in range(64))
        got = image.walk(image.root)
        assert sorted(got) == sorted(want), set(got) ^ set(want)
        for name, data in want.items():
            assert got[name] == data, name
        inodes, count = image.in_use()
        assert inodes == len(want), (inodes, len(want))
        data_blocks = sum((len(d) + BLOCK - 1) // BLOCK for d in want.values()
                          if isinstance(d, bytes))
        assert count[DATA] <= data_blocks and count[INODE] == len(want) // 16 + 1


tap.attempt("an image at the usual base", read_by_the_page, 0x100000000)
tap.attempt("an image at another base", read_by_the_page, 0x143E00000)
tap.done()
