"""The original Degu, spoken to line by line like the programs of peer.ts.

Arguments: `serve` or `drive`, and JSON with `endpoint` and `work`. It exchanges small messages and
answers a load generator; large bodies are not its part here.
"""

import json
import sys
import threading
import time

from degu.client import Client
from degu.server import Server

PAYLOAD = bytes(33 + (i * 7) % 90 for i in range(108))
CHECKED_HEADER = 'x-request-id'
CHECKED_VALUE = '4bf92f35-77b3-4da6-a3ce-929d0e0e4736'
SETTLING_MESSAGES = 20

REQUEST_HEADERS = {
    'accept': 'application/json, text/plain;q=0.9, */*;q=0.8',
    'accept-encoding': 'gzip, deflate, br',
    'accept-language': 'en-GB,en;q=0.7,de;q=0.3',
    'authorization': 'Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJkZXZpY2UtMTcifQ.c2lnbmF0dXJl',
    'cache-control': 'no-cache',
    'cookie': 'session=0f8b1f6c2d7a4be9; theme=dark',
    'if-modified-since': 'Wed, 21 Oct 2026 07:28:00 GMT',
    'if-none-match': '"33a64df551425fcc55e4d42a148795d9f25f89d4"',
    'origin': 'https://device-17.example',
    'referer': 'https://device-17.example/items/index.html',
    'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    'x-request-id': CHECKED_VALUE,
}

RESPONSE_HEADERS = {
    'accept-ranges': 'bytes',
    'age': '17',
    'cache-control': 'private, max-age=60',
    'content-language': 'en-GB',
    'content-type': 'application/json; charset=utf-8',
    'date': 'Wed, 21 Oct 2026 07:28:00 GMT',
    'etag': '"33a64df551425fcc55e4d42a148795d9f25f89d4"',
    'expires': 'Wed, 21 Oct 2026 07:29:00 GMT',
    'last-modified': 'Tue, 20 Oct 2026 19:01:44 GMT',
    'server': 'device-17 (example)',
    'vary': 'accept-encoding, accept-language',
    'x-request-id': CHECKED_VALUE,
}


def say(**message):
    print(json.dumps(message), flush=True)


def echo_app(session, request, api):
    return (200, 'OK', {}, request.body.read())


def headers_app(session, request, api):
    assert request.headers[CHECKED_HEADER] == CHECKED_VALUE
    return (200, 'OK', dict(RESPONSE_HEADERS), None)


def answer_app(session, request, api):
    return (200, 'OK', {}, PAYLOAD)


def choose_app(work):
    if work['kind'] == 'answer':
        return answer_app
    return echo_app if work['message'] == 'post' else headers_app


def make_server(address, app):
    # Releases differ in how many requests they let a connection have at most.
    for max_requests in (10 ** 9, 75000, 5000):
        try:
            return Server(address, app, max_connections=128, max_requests=max_requests)
        except ValueError:
            continue
    return Server(address, app)


def to_address(endpoint):
    if endpoint['transport'] == 'unix':
        return endpoint['path']
    return (endpoint['hostname'], endpoint['port'])


def serve(endpoint, work):
    server = make_server(to_address(endpoint), choose_app(work))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if endpoint['transport'] == 'tcp':
        endpoint['port'] = server.address[1]
    say(ready=endpoint)
    for _line in sys.stdin:
        say(error='a server runs no work')


def post(conn, index):
    payload = bytes([index & 0xff]) + PAYLOAD[1:]
    response = conn.request('POST', '/', {}, payload)
    assert response.status == 200
    assert response.body.read() == payload


def get(conn, _index):
    response = conn.request('GET', '/', dict(REQUEST_HEADERS), None)
    assert response.status == 200
    assert response.headers[CHECKED_HEADER] == CHECKED_VALUE


def repeat(conn, message, count):
    for index in range(count):
        message(conn, index)


def measure(client, work, amount):
    message = post if work['message'] == 'post' else get
    conns = [client.connect() for _ in range(work['connections'])]
    share = -(-amount // len(conns))
    for conn in conns:
        repeat(conn, message, SETTLING_MESSAGES)
    failures = []

    def run(conn):
        try:
            repeat(conn, message, share)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(conn,)) for conn in conns]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    for conn in conns:
        conn.close()
    if failures:
        raise failures[0]
    return seconds * amount / (share * len(conns))


def drive(endpoint, work):
    client = Client(to_address(endpoint))
    say(ready=True)
    for line in sys.stdin:
        try:
            say(seconds=measure(client, work, json.loads(line)['amount']))
        except Exception as error:
            say(error=repr(error))


if __name__ == '__main__':
    argument = json.loads(sys.argv[2])
    (serve if sys.argv[1] == 'serve' else drive)(argument['endpoint'], argument['work'])
