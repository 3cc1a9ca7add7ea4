#!/usr/bin/env bash
# sshfs 3.7.3 stores other times than utimensat is given, without an error: 0 becomes the present
# time, and a time before 1970 a time after 2038, since version 3 of SFTP has 32 unsigned bits for
# the seconds. So a program that compares times copies such a file again and again, unless it looks
# at the time that was stored.
#
# Seen with Debian's sshfs 3.7.3-1.2~deb12u1 and the sftp-server of OpenSSH 9.2p1:
#   0 -> the present time
#   -157766400 -> 4137200896
#   1700000000 -> 1700000000
#
# Needs root, /dev/fuse, apt-get, dpkg-deb, libfuse3, GLib and python3. Uses no network: sshfs talks to
# sftp-server over a pipe. Fails if the behaviour changes.
set -euo pipefail
PACKAGES=(sshfs=3.7.3-1.2~deb12u1 libfuse3-3=3.14.0-4
  openssh-sftp-server=1:9.2p1-2+deb12u10)

dir=$(mktemp -d)
trap 'umount --lazy "$dir/disk" 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
apt-get -qq download "${PACKAGES[@]}"
for package in ./*.deb; do dpkg-deb -x "$package" package; done
export LD_LIBRARY_PATH=$dir/package/usr/lib/x86_64-linux-gnu:$dir/package/lib/x86_64-linux-gnu
mkdir backing disk
printf '#!/bin/sh\nexec "%s"\n' "$dir/package/usr/lib/openssh/sftp-server" > ssh
chmod +x ssh
package/usr/bin/sshfs -o ssh_command="$dir/ssh" "host:$dir/backing" disk
mountpoint -q disk

python3 - disk << 'PYTHON'
import os, sys, time

path = f"{sys.argv[1]}/file"
open(path, "w").close()
stored = []
for seconds in (0, -157766400, 1700000000):
    os.utime(path, (seconds, seconds))
    stored.append(int(os.stat(path).st_mtime))
    is_now = abs(stored[-1] - time.time()) < 600
    print(f"{seconds} -> {'the present time' if is_now else stored[-1]}")
is_same = abs(stored[0] - time.time()) < 600 and stored[1:] == [-157766400 + 2**32, 1700000000]
sys.exit(0 if is_same else 1)
PYTHON
