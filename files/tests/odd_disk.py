"""A disk that spells names its own way, and one that fails: a FUSE file system over a directory.

odd_disk.py BACKING MOUNT SPELLING FAULTS [renumber] [high-inodes]

SPELLING: plain, strip (drops dots and spaces at the end), fold (lower case), nfd.
FAULTS: a file, read anew at each call. A line "readdir 3 EIO PATTERN" lets the walk of each directory
whose path matches fail after 3 entries; lines with "lstat 0", "open 0", "fsync 0", "create 0", "mkdir 0",
"rename 0", "unlink 0", "utimens 0" and "chmod 0" fail at once. Lines with "read 70000" and "write 70000" fail from this byte on.
Lines with "short-read 70000" and "short-write 70000" end a file at this byte without an error. Lines with
"pause-read 70000" and "pause-write 70000" let the operation at this byte wait for a second.
A line "done-unlink 9 EIO PATTERN" lets one of nine operations fail after it is done; so do "done-link" and "done-rename".
A line "fixed-bits 0 - PATTERN" gives files the bits 755, whatever they were created with.
While a line "hang-lstat 0 - PATTERN" is there, each lookup of a matching path waits.
A line "slow-fsync 120 ms PATTERN" delays each sync by 120 ms, and "slow-read" each read. The disk does
one operation at a time, so all operations wait. Each delayed operation adds its path to FAULTS.slow.

With "renumber" a file has another inode number for each of its spellings, as on many such disks.
With "high-inodes" all inode numbers are above 2^62, as on file systems that join others.
"""

import ctypes
import errno
import os
import random
import re
import signal
import sys
import time
import unicodedata
from functools import lru_cache

from fusepy import FUSE, Operations

SPELLINGS = {
    "plain": lambda name: name,
    "strip": lambda name: name.rstrip(". ") or name,
    "fold": str.casefold,
    "nfd": lambda name: unicodedata.normalize("NFD", name),
}
PR_SET_PDEATHSIG = 1

# Ends this disk with its shell: a test would wait for the output of both.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
backing, mount, spelling, faults, *options = sys.argv[1:]
STATE = [name for name in dir(os.stat_result) if name.startswith("st_") and "time" not in name]
TIMES = [(name, name + "_ns") for name in ("st_atime", "st_mtime", "st_ctime")]


@lru_cache(1)
def parse(text):
    """For each operation, one pattern with a group for each of its lines, which is faster than many."""
    lines = [line.split(" ", 3) for line in text.decode().splitlines()]
    groups = {}
    for at, (operation, *_, pattern) in enumerate(lines):
        groups.setdefault(operation, []).append(f"(?P<line{at}>{pattern})")
    return lines, {operation: re.compile("|".join(found)) for operation, found in groups.items()}


def find_line(operation, path):
    """The line for an operation on a path, or None."""
    file = os.open(faults, os.O_RDONLY)
    text = os.read(file, 1 << 20)
    os.close(file)
    lines, patterns = parse(text)
    match = operation in patterns and patterns[operation].search(path)
    return lines[int(match.lastgroup.removeprefix("line"))] if match else None


def fault(operation, path):
    line = find_line(operation, path)
    if line is None:
        return None
    _, count, code, _ = line
    return int(count), OSError(getattr(errno, code), code)


def slow(operation, path):
    """Waits as long as a line says."""
    line = find_line(operation, path)
    if line is not None:
        time.sleep(int(line[1]) / 1000)
        with open(faults + ".slow", "a") as log:
            log.write(path + "\n")


def check(operation, path, end=1):
    """Raises the error of a line, if its count is less than this."""
    found = fault(operation, path)
    if found is not None and found[0] < end:
        raise found[1]


def limit(operation, path, offset, size):
    """Waits at the byte of a line that pauses, and returns the size up to the byte of one that ends."""
    line = find_line("pause-" + operation, path)
    if line is not None and offset <= int(line[1]) < offset + size:
        time.sleep(1)
    line = find_line("short-" + operation, path)
    return size if line is None else max(0, min(size, int(line[1]) - offset))


def check_done(operation, path):
    found = fault("done-" + operation, path)
    if found is not None and random.randrange(found[0]) == 0:
        raise found[1]


@lru_cache(1 << 16)
def real(path):
    return backing + "/".join(map(SPELLINGS[spelling], path.split("/")))


class Disk(Operations):
    def getattr(self, path, fh=None):
        if fh is None:
            while find_line("hang-lstat", path) is not None:
                time.sleep(0.02)
            check("lstat", path)
        state = os.fstat(fh) if fh is not None else os.lstat(real(path))
        attributes = {name: getattr(state, name) for name in STATE}
        attributes.update((name, getattr(state, exact)) for name, exact in TIMES)
        if find_line("fixed-bits", path) is not None:
            attributes["st_mode"] |= 0o755
        if "high-inodes" in options:
            attributes["st_ino"] |= 1 << 62
        return attributes

    def open(self, path, flags):
        check("open", path)
        return os.open(real(path), flags)

    def opendir(self, path):
        check("open", path)
        return 0

    def create(self, path, mode, fi=None):
        check("create", path)
        return os.open(real(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path, size, offset, fh):
        check("read", path, offset + size)
        slow("slow-read", path)
        return os.pread(fh, limit("read", path, offset, size), offset)

    def write(self, path, data, offset, fh):
        check("write", path, offset + len(data))
        return os.pwrite(fh, data[:limit("write", path, offset, len(data))], offset)

    def truncate(self, path, length, fh=None):
        os.truncate(real(path) if fh is None else fh, length)

    def fsync(self, path, datasync, fh):
        check("fsync", path)
        slow("slow-fsync", path)
        os.fsync(fh)

    def fsyncdir(self, path, datasync, fh):
        slow("slow-fsync", path)

    def release(self, path, fh):
        os.close(fh)

    def link(self, target, source):
        check("rename", target)
        os.link(real(source), real(target), follow_symlinks=False)
        check_done("link", target)

    def rename(self, old, new):
        check("rename", new)
        os.rename(real(old), real(new))
        check_done("rename", new)

    def symlink(self, target, source):
        os.symlink(source, real(target))

    def readlink(self, path):
        return os.readlink(real(path))

    def utimens(self, path, times=None):
        check("utimens", path)
        os.utime(real(path), ns=times, follow_symlinks=False)

    def statfs(self, path):
        state = os.statvfs(real(path))
        return {name: getattr(state, name) for name in dir(state) if name.startswith("f_")}

    def mkdir(self, path, mode):
        check("mkdir", path)
        os.mkdir(real(path), mode)

    def rmdir(self, path):
        os.rmdir(real(path))

    def unlink(self, path):
        check("unlink", path)
        os.unlink(real(path))
        check_done("unlink", path)

    def chmod(self, path, mode):
        check("chmod", path)
        os.chmod(real(path), mode)

    def chown(self, path, uid, gid):
        os.chown(real(path), uid, gid, follow_symlinks=False)


class Mount(FUSE):
    def readdir(self, path, buffer, filler, offset, info):
        """Lists entries with offsets, so that a walk can fail in its middle."""
        path = path.decode("utf-8")
        # libfuse renames a file that is removed while it is open.
        seen = (name for name in os.listdir(real(path)) if not name.startswith(".fuse_hidden"))
        names = [".", "..", *sorted(seen)]
        found = fault("readdir", path)
        end = len(names) if found is None else min(len(names), found[0] + 2)
        if found is not None and offset >= end:
            raise found[1]
        for at in range(offset, end):
            if filler(buffer, names[at].encode("utf-8", "surrogateescape"), None, at + 1) != 0:
                break
        return 0


Disk.use_ns = True
Mount(
    Disk(), mount, foreground=True, nothreads=True, use_ino="renumber" not in options,
    attr_timeout=0, entry_timeout=0, default_permissions=True,
)
