#!/usr/bin/env bash
# tinyproxy 1.11.1 answers an HTTP/1.1 request without `connection: close`, and then closes the
# connection. RFC 9112 section 9.3 requires this header of a server without persistent connections.
# So a client that sends its next request in this moment loses the request.
#
# Seen with Debian's tinyproxy-bin 1.11.1-2.1+deb12u1 as a reverse proxy:
#   HTTP/1.1 200 OK
#   Via: 1.1 … (tinyproxy/1.11.1)
#   content-length: 2
# and the end of the connection 0 to 1 ms after the response.
#
# Needs apt-get, dpkg-deb and python3. Uses only loopback addresses. Fails if the behaviour changes.
set -euo pipefail
VERSION=1.11.1-2.1+deb12u1

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
apt-get -qq download "tinyproxy-bin=$VERSION"
dpkg-deb -x tinyproxy-bin_*.deb package

python3 - package/usr/bin/tinyproxy << 'PYTHON'
import http.server, socket, subprocess, sys, threading, time

class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass

upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as reserved:
    port = reserved.getsockname()[1]
with open("conf", "w") as conf:
    conf.write(
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nReverseOnly Yes\n'
        f'ReversePath "/" "http://127.0.0.1:{upstream.server_port}/"\n'
    )
proxy = subprocess.Popen([sys.argv[1], "-d", "-c", "conf"], stdout=subprocess.DEVNULL)
try:
    for _ in range(100):
        try:
            client = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    client.settimeout(20)
    client.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        received += client.recv(4096)
    print(received.decode())
    start = time.monotonic()
    rest = client.recv(1)
    seconds = time.monotonic() - start
    print(f"after the response: {rest!r} after {seconds * 1000:.0f} ms")
    preamble = received.lower()
    assert preamble.startswith(b"http/1.1 200"), "the response is not HTTP/1.1"
    assert b"\r\nconnection:" not in preamble, "tinyproxy announces the close now"
    assert rest == b"", "tinyproxy keeps the connection open now"
finally:
    proxy.kill()
PYTHON
