"""Starts a program for each connection, which is its standard input and output."""

import socket
import subprocess
import sys

with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        conn, _ = listener.accept()
        with conn:
            subprocess.run(sys.argv[2:], stdin=conn, stdout=conn, timeout=60)
