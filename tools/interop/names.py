"""Puts, gets and lists files with a Python library: names.py LIBRARY URL FILE. The file has a name in each line.

Prints the statuses and the text of each file, and then the list of the directory.
"""

import importlib
import sys
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

library, directory, names_file = sys.argv[1:]


def use_urllib(method, name, body=None):
    request = Request(directory + quote(name), data=body, method=method)
    try:
        with urlopen(request) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, ""


def use_requests(method, name, body=None):
    requests = importlib.import_module("requests")
    # The library escapes all characters but those with a meaning in a URL.
    url = directory + "".join(quote(c) if c in "%?#" else c for c in name)
    response = requests.request(method, url, data=body)
    response.encoding = "utf-8"
    return response.status_code, response.text


send = {"urllib": use_urllib, "requests": use_requests}[library]
with open(names_file, encoding="utf-8") as file:
    for name in file.read().split("\n"):
        status, _ = send("PUT", name, f"={name}".encode())
        print(status, *send("GET", name))
print(send("GET", "")[1])
