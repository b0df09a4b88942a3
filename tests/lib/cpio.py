# SPDX-License-Identifier: MIT
"""Writes cpio archives in the "newc" format, the one that the kernel unpacks at boot.

The kernel takes several archives one after the other, so files can be added to an initrd without
unpacking it.

    python3 -m lib.cpio OUT BASE NAME=FILE...       BASE and these files
"""

import os
import stat
import sys


def _entry(name, mode, data, inode):
    """One record: a header of fourteen numbers, the name and the data, each padded to 4 bytes."""
    fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _pad(head) + _pad(data)


def _pad(data):
    return data + b"\0" * (-len(data) % 4)


def archive(files):
    """The archive of `files`, a dict of path -> (permission bits, bytes). Folders are made."""
    folders = set()
    for path in files:
        while path := os.path.dirname(path):
            folders.add(path)
    out, inode = b"", 1
    for path in sorted(folders):
        out += _entry(path, stat.S_IFDIR | 0o755, b"", inode)
        inode += 1
    for path, (mode, data) in files.items():
        out += _entry(path, stat.S_IFREG | mode, data, inode)
        inode += 1
    out += _entry("TRAILER!!!", 0, b"", 0)
    return out + b"\0" * (-len(out) % 512)


def host_file(path):
    """A file of this machine as a value for `archive`."""
    with open(path, "rb") as file:
        return os.stat(path).st_mode & 0o777, file.read()


def append(out, base, files):
    """Write to `out` the archive in the file `base`, and one of `files` behind it."""
    with open(base, "rb") as file:
        content = file.read()
    with open(out, "wb") as file:
        file.write(content + b"\0" * (-len(content) % 512) + archive(files))


if __name__ == "__main__":
    append(sys.argv[1], sys.argv[2], {name: host_file(path) for name, path in
                                      (argument.split("=", 1) for argument in sys.argv[3:])})
