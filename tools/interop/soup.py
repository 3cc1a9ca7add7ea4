"""A server of libsoup: the files of a directory, with the ranges that the library makes of them."""

import mimetypes
import os
import sys

import gi

gi.require_version("Soup", "3.0")
from gi.repository import GLib, Soup

if len(sys.argv) == 1:
    print(f"libsoup {Soup.get_major_version()}.{Soup.get_minor_version()}")
    sys.exit()
root, port = sys.argv[1], int(sys.argv[2])


def answer(_server, message, path, _query):
    if message.get_method() not in ("GET", "HEAD"):
        return message.set_status(501, None)
    try:
        with open(os.path.join(root, path.lstrip("/")), "rb") as file:
            content = file.read()
    except OSError:
        return message.set_status(404, None)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    message.set_status(200, None)
    message.set_response(kind, Soup.MemoryUse.COPY, content)


server = Soup.Server(server_header="soup")
server.add_handler("/", answer)
server.listen_local(port, Soup.ServerListenOptions.IPV4_ONLY)
GLib.MainLoop().run()
