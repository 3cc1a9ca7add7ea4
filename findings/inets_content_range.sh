#!/usr/bin/env bash
# The web server of Erlang's inets 8.2.2 (mod_range) sends `Content-Range: bytes=2-4/26`. RFC 9110
# section 14.4 has a space between the unit and the range: `bytes 2-4/26`. So a client that checks
# which bytes it got can't use its 206 responses.
#
# Seen with Debian's erlang-inets 1:25.2.3+dfsg-1+deb12u4 for `Range: bytes=2-4` of 26 bytes:
#   HTTP/1.1 206 Partial Content
#   Content-Length: 3
#   Content-Range: bytes=2-4/26
#
# Needs apt-get, dpkg-deb and python3. Uses only loopback addresses. Fails if the behaviour changes.
set -euo pipefail
VERSION=1:25.2.3+dfsg-1+deb12u4

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for name in erlang-base erlang-crypto erlang-inets; do
  apt-get -qq download "$name=$VERSION"
done
for package in *.deb; do dpkg-deb -x "$package" package; done
mkdir www
printf 'abcdefghijklmnopqrstuvwxyz' > www/file.txt

python3 - << 'PYTHON'
import os, socket, subprocess, time

with socket.create_server(("127.0.0.1", 0)) as reserved:
    port = reserved.getsockname()[1]
here = os.getcwd()
erlang = f"{here}/package/usr/lib/erlang"
expression = (
    f'inets:start(), {{ok, _}} = inets:start(httpd, [{{port, {port}}}, '
    f'{{bind_address, {{127,0,0,1}}}}, {{server_name, "localhost"}}, {{server_root, "{here}"}}, '
    f'{{document_root, "{here}/www"}}, {{modules, [mod_alias, mod_range, mod_get]}}]).'
)
server = subprocess.Popen(
    [f"{erlang}/bin/erl", "-noinput", "-eval", expression],
    env={**os.environ, "ERL_ROOTDIR": erlang, "HOME": here},
)
try:
    for _ in range(300):
        try:
            client = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    client.settimeout(20)
    client.sendall(b"GET /file.txt HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=2-4\r\n\r\n")
    received = b""
    while not received.endswith(b"\r\n\r\ncde"):
        piece = client.recv(4096)
        assert piece, received
        received += piece
    print(received.decode())
    lines = received.lower().split(b"\r\n")
    assert lines[0].startswith(b"http/1.1 206"), "the status is not 206"
    assert b"content-range: bytes=2-4/26" in lines, "inets sends another content-range now"
finally:
    server.kill()
PYTHON
