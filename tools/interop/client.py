"""Sends a request with a Python library: client.py LIBRARY OPERATION URL [CA CERT KEY]. Prints status and body."""

import asyncio
import http.client
import importlib
import ssl
import sys
from urllib.parse import urlencode, urlsplit

library, operation, url, *tls = sys.argv[1:]
method = {"put": "PUT", "chunked": "PUT", "delete": "DELETE", "head": "HEAD"}.get(operation, "GET")
headers = {"range": {"Range": "bytes=2-4"}, "close": {"Connection": "close"}}.get(operation, {})
params = {"q": "a/b@c,d"} if operation == "query" else None
count = 2 if operation == "keep-alive" else 1


def make_body():
    return {"put": b"hello", "chunked": iter([b"hel", b"lo"])}.get(operation)


def make_context():
    context = ssl.create_default_context(cafile=tls[0])
    context.load_cert_chain(tls[1], tls[2])
    return context


def show(status, text):
    print(status, text)


def use_requests():
    session = importlib.import_module("requests").Session()
    options = {"verify": tls[0], "cert": (tls[1], tls[2])} if tls else {}
    for _ in range(count):
        response = session.request(method, url, params=params, data=make_body(), headers=headers, **options)
        show(response.status_code, response.text)


def use_urllib3():
    options = {"ssl_context": make_context()} if tls else {}
    pool = importlib.import_module("urllib3").PoolManager(**options)
    for _ in range(count):
        chunked = operation == "chunked"
        target = url + "?" + urlencode(params) if params else url
        response = pool.urlopen(method, target, body=make_body(), headers=headers, chunked=chunked, retries=False)
        show(response.status, response.data.decode())


def use_httpx():
    options = {"verify": make_context()} if tls else {}
    with importlib.import_module("httpx").Client(**options) as client:
        for _ in range(count):
            response = client.request(method, url, params=params, content=make_body(), headers=headers)
            show(response.status_code, response.text)


async def use_aiohttp():
    async def pieces():
        for piece in make_body():
            yield piece

    options = {"ssl": make_context()} if tls else {}
    async with importlib.import_module("aiohttp").ClientSession() as session:
        for _ in range(count):
            data = pieces() if operation == "chunked" else make_body()
            async with session.request(method, url, params=params, data=data, headers=headers, **options) as response:
                show(response.status, await response.text())


def use_http_client():
    parts = urlsplit(url)
    if tls:
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=make_context())
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
    for _ in range(count):
        target = parts.path + "?" + urlencode(params) if params else parts.path
        connection.request(method, target, make_body(), headers, encode_chunked=operation == "chunked")
        response = connection.getresponse()
        show(response.status, response.read().decode())


if operation == "version":
    module = importlib.import_module(library)
    print(getattr(module, "__version__", sys.version.split()[0]))
elif library == "aiohttp":
    asyncio.run(use_aiohttp())
else:
    {"requests": use_requests, "urllib3": use_urllib3, "httpx": use_httpx, "http.client": use_http_client}[library]()
