"""Uploads 20 MB with a Python library to each URL: upload.py LIBRARY AUTHORITY URL… Prints the statuses."""

import http.client
import importlib
import ssl
import sys
from urllib.parse import urlsplit

library, authority, *urls = sys.argv[1:]
body = b"x" * 20_000_000
context = ssl.create_default_context(cafile=authority)

for url in urls:
    if library == "httpx":
        print(importlib.import_module("httpx").put(url, content=body, verify=context).status_code)
        continue
    parts = urlsplit(url)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.netloc, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc)
    connection.request("PUT", parts.path, body)
    print(connection.getresponse().status)
