#!/usr/bin/env bash
# Caddy 2.6.2 and lighttpd 1.4.69, as reverse proxies, end a chunked response as if it were complete
# when the connection to the server breaks in the middle of the body. RFC 9112 section 8 requires a
# proxy to close the connection to its client instead, so that the client sees that bytes are missing.
#
# Seen with Debian's caddy 2.6.2-5, of a body that was cut after "hello":
#   5
#   hello
#   0
# and with Debian's lighttpd 1.4.69-1:
#   Content-Length: 5
#
#   hello
# Both keep the connection open afterwards.
#
# Needs apt-get, dpkg-deb, python3 and the libraries of lighttpd. Uses only loopback addresses. Fails
# if the behaviour changes.
set -euo pipefail
CADDY_VERSION=2.6.2-5
LIGHTTPD_VERSION=1.4.69-1

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
apt-get -qq download "caddy=$CADDY_VERSION" "lighttpd=$LIGHTTPD_VERSION"
for package in *.deb; do dpkg-deb -x "$package" package; done

python3 - << 'PYTHON'
import os, socket, subprocess, threading, time

upstream = socket.create_server(("127.0.0.1", 0))


def serve():
    while True:
        connection, _ = upstream.accept()
        connection.recv(65536)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        # The last chunk is missing.
        time.sleep(0.2)
        connection.close()


threading.Thread(target=serve, daemon=True).start()
backend = upstream.getsockname()[1]


def find_port():
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return reserved.getsockname()[1]


def request_through(command, port):
    proxy = subprocess.Popen(
        command,
        env={**os.environ, "XDG_CONFIG_HOME": os.getcwd(), "XDG_DATA_HOME": os.getcwd()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        client.settimeout(3)
        client.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        received = b""
        try:
            while piece := client.recv(4096):
                received += piece
            is_open = False
        except TimeoutError:
            is_open = True
        print(command[0], received, "open" if is_open else "closed")
        return received.lower(), is_open
    finally:
        proxy.kill()
        proxy.wait()


port = find_port()
with open("Caddyfile", "w") as config:
    config.write(
        "{\n\tadmin off\n\tauto_https off\n}\n"
        f"http://:{port} {{\n\tbind 127.0.0.1\n\treverse_proxy 127.0.0.1:{backend}\n}}\n"
    )
received, is_open = request_through(
    ["package/usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", "Caddyfile"], port
)
assert received.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n") and is_open, "caddy has changed"

port = find_port()
with open("lighttpd.conf", "w") as config:
    config.write(
        'server.modules = ("mod_proxy")\nserver.document-root = "/tmp"\n'
        f'server.bind = "127.0.0.1"\nserver.port = {port}\n'
        f'proxy.server = ("" => (("host" => "127.0.0.1", "port" => {backend})))\n'
    )
received, is_open = request_through(
    ["package/usr/sbin/lighttpd", "-D", "-m", "package/usr/lib/lighttpd", "-f", "lighttpd.conf"],
    port,
)
assert b"\r\ncontent-length: 5\r\n" in received and received.endswith(b"\r\n\r\nhello"), (
    "lighttpd has changed"
)
assert is_open, "lighttpd closes the connection now"
PYTHON
