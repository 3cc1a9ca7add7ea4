#!/usr/bin/env bash
# In securefs 0.13.1, fstat of an open file fails with ENOENT after the name by which it was opened is
# removed, also if the file has another name. On other file systems, and by POSIX.1-2017 (fstat,
# unlink), an open file stays accessible until it is closed. A program that renames a file by link
# and unlink, so that it replaces no file, and then asks for the size of the open file, fails.
#
# Seen with Debian's securefs 0.13.1+ds-1 on Linux:
#   fstat: ENOENT
#   the other name: 5 bytes
#
# Needs root, /dev/fuse, apt-get, dpkg-deb, fusermount and python3. Fails if the behaviour changes.
set -euo pipefail
PACKAGES=(securefs=0.13.1+ds-1 libfuse2=2.9.9-6+b1 libcrypto++8=8.7.0+git220824-1
  libjsoncpp25=1.9.5-4 libutf8proc2=2.8.0-1 libargon2-1=0~20171227-0.3+deb12u1)

dir=$(mktemp -d)
trap 'umount --lazy "$dir/disk" 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
apt-get -qq download "${PACKAGES[@]}"
for package in ./*.deb; do dpkg-deb -x "$package" package; done
export LD_LIBRARY_PATH=$dir/package/usr/lib/x86_64-linux-gnu:$dir/package/lib/x86_64-linux-gnu
securefs=package/usr/bin/securefs
mkdir backing disk
"$securefs" create --pass x --rounds 2 backing > /dev/null 2>&1
"$securefs" mount --background --log log --pass x backing disk > /dev/null 2>&1
mountpoint -q disk

python3 - disk << 'PYTHON'
import errno, os, sys

first, second = (f"{sys.argv[1]}/{name}" for name in ("first", "second"))
with open(first, "w") as file:
    file.write("12345")
descriptor = os.open(first, os.O_RDWR)
os.link(first, second)
os.unlink(first)
try:
    outcome = f"{os.fstat(descriptor).st_size} bytes"
except OSError as error:
    outcome = errno.errorcode[error.errno]
os.close(descriptor)
size = os.stat(second).st_size
print(f"fstat: {outcome}")
print(f"the other name: {size} bytes")
sys.exit(0 if (outcome, size) == ("ENOENT", 5) else 1)
PYTHON
