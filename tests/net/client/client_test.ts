/** Client: requests, headers, hidden secrets, connecting, options, timers, and `dial`. */
import { ConnectionPool, createFetch, reply, SSLClient } from "@degu/degu";
import {
  type Address,
  bodies,
  Body,
  ConnectionClosedError,
  ContentRange,
  EmptyPreambleError,
  type HeadersToSend,
  Range,
  type Socket,
} from "@degu/degu/base";
import {
  Client,
  type ClientOptions,
  Connection,
  ConnectionError,
  type ConnectLimits,
} from "@degu/degu/client";
import { connect, readSentRequest } from "./connected.ts";
import {
  assertRangeError,
  assertTypeError,
  catchRejection,
  catchThrown,
  constructWith,
} from "@degu/testing/expectations.ts";
import { RawPeer, RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { inspect } from "node:util";
import { assertReason, makeAbortController, reason } from "@degu/testing/aborts.ts";
import { recordIntervals } from "@degu/testing/clock.ts";
import { patch } from "@degu/testing/patching.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { connectionCoreOf } from "@degu/internal/net/client/connection.ts";
import { connectSocket } from "@degu/internal/net/transport/connect.ts";
import { TempPKI } from "@degu/degu/misc";

// Constructing a client: address, options, `host`. These tests don't connect.

const address = ["127.0.0.1", 8080] as const;
const abstractName = new TextEncoder().encode("\x0000022");

Deno.test("host is derived from the address", () => {
  const rows: readonly (readonly [address: Address, host: string | null])[] = [
    [["en.wikipedia.org", 80], "en.wikipedia.org"],
    [["en.wikipedia.org", 443], "en.wikipedia.org:443"],
    [["192.168.1.171", 5984], "192.168.1.171:5984"],
    [["2620:0:861:ed1a::1", 80, 0, 0], "[2620:0:861:ed1a::1]"],
    [["2620:0:861:ed1a::1", 8080], "[2620:0:861:ed1a::1]:8080"],
    [["fe80::e8b:fdff:fe75:402c", 80, 0, 3], "[fe80::e8b:fdff:fe75:402c]"],
    [["fe80::1%eth0", 8080], "[fe80::1]:8080"],
    ["/tmp/my.socket", null],
    [abstractName, null],
  ];
  for (const [address, host] of rows) {
    assertStrictEquals(new Client(address).host, host, Deno.inspect(address));
  }
});

Deno.test("an invalid host is a RangeError that names the likely mistake, without a password", () => {
  const make = () => new Client(["http://user:password@host/", 80]);
  const error = assertThrows(make, RangeError, "address[0]: ");
  assert(error.message.includes("a URL") && !error.message.includes("password"), error.message);
  for (const host of ["example.com/64", "127.0.0.1/24", "::1/", "::1/x", "::1/129", "[::1]/64"]) {
    assertThrows(() => new Client([host, 80, 0, 0]), RangeError, "address[0]: ");
  }
});

// `headers` of a client: sent with every request, or refused.

Deno.test("headers of a client are sent with every request that doesn't have them; host and authorization of a client replace those of the request", async () => {
  const headers = { "user-agent": "camera", "x-kind": "default" };
  using pair = await connect({ headers, host: "h", authorization: "a" });
  const { conn } = pair;
  assertEquals(conn.baseHeaders, { host: "h", authorization: "a" });
  assert(Object.isFrozen(conn.baseHeaders));
  const callerHeaders = { "x-kind": "caller", host: "mine", authorization: "mine" };
  const caller = Object.freeze({ accept: "b", zeta: "1", ...callerHeaders });
  for (const method of ["get", "head", "delete"] as const) {
    assertEquals(
      await readSentRequest(pair, conn[method]("/", caller)),
      `${method.toUpperCase()} / HTTP/1.1\r\naccept: b\r\nauthorization: a\r\nhost: h\r\n` +
        "user-agent: camera\r\nx-kind: caller\r\nzeta: 1\r\n\r\n",
    );
  }
  // The object is frozen: a change would throw.
  await readSentRequest(pair, conn.post("/", caller, null));
  await readSentRequest(pair, conn.getRange("/", caller, 0, 5));
});

Deno.test("a header of the call replaces a header of the client, and undefined leaves it out", async (t) => {
  const headers = { "x-kind": "default", accept: "a" };
  using pair = await connect({ headers, host: null });
  const rows: [label: string, headers: HeadersToSend, lines: string][] = [
    ["nothing", {}, "accept: a\r\nx-kind: default\r\n"],
    ["another name", { b: "c" }, "accept: a\r\nb: c\r\nx-kind: default\r\n"],
    ["a value", { "x-kind": "own" }, "accept: a\r\nx-kind: own\r\n"],
    ["undefined", { "x-kind": undefined }, "accept: a\r\n"],
    ["undefined for both", { "x-kind": undefined, accept: undefined }, ""],
    [
      "headers without a prototype",
      Object.assign(Object.create(null), { "x-kind": "own" }),
      "accept: a\r\nx-kind: own\r\n",
    ],
    [
      "a header named constructor",
      { constructor: "own" } as unknown as HeadersToSend,
      "accept: a\r\nconstructor: own\r\nx-kind: default\r\n",
    ],
  ];
  await testEachRow(t, rows, async (_label, callHeaders, lines) => {
    assertEquals(
      await readSentRequest(pair, pair.conn.get("/", callHeaders)),
      `GET / HTTP/1.1\r\n${lines}\r\n`,
    );
  });
});

Deno.test("a header of the call in another spelling than the client's is refused, not sent twice", async () => {
  using pair = await connect({ headers: { "x-kind": "default" }, host: null });
  for (const name of ["X-Kind", "x-kind ", "x-kınd"]) {
    const error = await catchRejection(pair.conn.get("/", { [name]: "own" }), name);
    assertInstanceOf(error, RangeError);
    assertStringIncludes(error.message, "the name must be");
  }
  assertEquals(pair.conn.closed, false);
});

Deno.test("headers of a client are sent with one-shot requests, over a pool, and by fetch", async () => {
  const receivedHeaders: HeadersToSend[] = [];
  await using serving = serve(({ headers }) => {
    receivedHeaders.push({ ...headers });
    return [200, "OK", {}, null];
  });
  const client = serving.makeClient({ headers: { "x-kind": "default" }, host: null });
  await using pool = new ConnectionPool(client);
  for (const headers of [{}, { "x-kind": "caller" }]) {
    await client.request("GET", "/", headers);
    await pool.request("GET", "/", headers);
    await createFetch(client)("/", { headers });
  }
  assertEquals(
    receivedHeaders.map((headers) => headers["x-kind"]),
    ["default", "default", "default", "caller", "caller", "caller"],
  );
});

Deno.test("headers of a client are validated when the client is constructed", () => {
  const wrongTypes: readonly unknown[] = [
    ...[null, "a: b", [], new Headers(), new Map([["a", "b"]])],
    ...[1, null, ["b"]].map((a) => ({ a })),
  ];
  const wrongValues: readonly HeadersToSend[] = [
    { A: "b" },
    { ["a".repeat(257)]: "b" },
    { a: "b\r\nc: d" },
    { a: "\u0100" },
    { a: " b" },
    { a: "x".repeat(20000), b: "x".repeat(20000) },
  ];
  for (const Class of [Client, SSLClient]) {
    const make = (headers: unknown) =>
      Class === Client
        ? constructWith(Client, address, { headers })
        : constructWith(SSLClient, {}, address, { headers });
    for (const headers of wrongTypes) assertTypeError(() => make(headers), Deno.inspect(headers));
    for (const headers of wrongValues) assertRangeError(() => make(headers), Deno.inspect(headers));
  }
});

Deno.test("headers of a client can't contain a header that has its own option or describes a single message", () => {
  const elsewhere: readonly (readonly [HeadersToSend, string])[] = [
    [{ host: "a" }, "option host"],
    [{ authorization: "secret" }, "option authorization"],
    [{ "content-length": 5 }, "one message"],
    [{ "transfer-encoding": "chunked" }, "one message"],
    [{ range: new Range(0, 5) }, "one message"],
    [{ "content-range": new ContentRange(0, 5, 5) }, "one message"],
  ];
  for (const [headers, message] of elsewhere) {
    const error = assertThrows(() => new Client(address, { headers }), RangeError, message);
    assert(!error.message.includes("secret"), error.message);
  }
});

Deno.test("headers of a client are copied when the client is constructed", async () => {
  using server = new RawServer();
  const headers: HeadersToSend = { a: "b" };
  const options: ClientOptions = { headers, host: null };
  const client = new Client(server.address, options);
  headers["a"] = "changed";
  headers["c"] = "added";
  assertEquals(client.options.headers, { a: "b" });
  assert(Object.isFrozen(client.options.headers));
  const responding = client.request("GET", "/");
  const peer = await server.accept();
  assertEquals(await peer.readPreamble(), "GET / HTTP/1.1\r\na: b\r\n\r\n");
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await responding;
});

// Credentials that a client sends appear neither in inspected objects nor in errors.

const SECRET = "Basic c2VjcmV0";

/** Returns all texts that result from printing a value. */
function formatAllWays(value: unknown): string {
  const inspectOptions = { depth: Infinity, showHidden: true };
  return [
    Deno.inspect(value, inspectOptions),
    Deno.inspect([{ value }], inspectOptions),
    inspect(value, inspectOptions),
    inspect({ value }),
    JSON.stringify({ value }),
  ].join("\n");
}

Deno.test("clients, connections, their options and headers are inspected, and are JSON, without secrets", async () => {
  const headers = { cookie: SECRET, "proxy-authorization": SECRET, "x-kind": "camera" };
  const options: ClientOptions = { authorization: SECRET, timeout: 5, headers };
  const clients = [new Client(address, options), new SSLClient({}, address, options)];
  using pair = await connect({ ...options, host: "example.com" });
  const { conn } = pair;
  assertEquals(conn.baseHeaders, { authorization: SECRET, host: "example.com" });
  for (const value of [conn, conn.baseHeaders]) {
    const text = formatAllWays(value);
    assert(!text.includes("c2VjcmV0"), text);
    assertStringIncludes(text, "authorization");
  }
  using ownConn = new Connection(new RecordingSocket(), { ...headers, authorization: SECRET });
  const inspected: unknown[] = [ownConn];
  for (const client of clients) {
    assertEquals({ ...client.options }, options);
    inspected.push(client, client.options, client.options.headers, { ...client.options }.headers);
    assertStringIncludes(formatAllWays(client), "127.0.0.1:8080");
    for (const inspectable of [client, client.options]) {
      assertStringIncludes(formatAllWays(inspectable), "timeout");
      assertStringIncludes(formatAllWays(inspectable), " authorization");
    }
  }
  for (const value of inspected) {
    const text = formatAllWays(value);
    assert(!text.includes("c2VjcmV0"), text);
    assertStringIncludes(text, "proxy-authorization");
    assertStringIncludes(text, "camera");
  }
  assertEquals(
    Deno.inspect(new Client(["127.0.0.1", 80], { timeout: 5 })),
    'Client(address=[ "127.0.0.1", 80 ], host="127.0.0.1", timeout=5, options={ timeout: 5 })',
  );
  assertStringIncludes(Deno.inspect(clients[1]), 'SSLClient(address=[ "127.0.0.1", 8080 ]');
  assertStringIncludes(Deno.inspect(clients[1]), 'sslHost="127.0.0.1"');
});

Deno.test("an invalid credential of a request or a connection is not quoted", async (t) => {
  for (const name of ["authorization", "proxy-authorization", "cookie"]) {
    await t.step(name, async () => {
      const invalidHeaders = { [name]: `${SECRET}\n` };
      using pair = await connect();
      using ownConn = new Connection(new RecordingSocket(), invalidHeaders);
      const errors = [
        await catchRejection(pair.conn.get("/", invalidHeaders), name),
        await catchRejection(pair.conn.getRange("/", invalidHeaders, 0, 1), name),
        await catchRejection(ownConn.get("/"), name),
        ...(name === "authorization" ? [] : [
          catchThrown(() => new Client(address, { headers: invalidHeaders }), name),
        ]),
      ];
      for (const error of errors) {
        assert(error instanceof RangeError);
        assert(!formatAllWays(error).includes("c2VjcmV0"), error.message);
        assertStringIncludes(error.message, `"${name}"`);
      }
    });
  }
});

/** Requests with a mistake in a header with a secret, or next to it. */
const brokenRequests: readonly string[] = [
  ...[
    `Authorization: ${SECRET}\x00`,
    `authorization:${SECRET}\x7f`,
    `authorization: ${SECRET}\r\nAUTHORIZATION:${SECRET}`,
    `cookie: ${SECRET}\r\nhost: a b`,
    `Authorization : ${SECRET}`,
    `cookie: ${SECRET}\x01`,
    `proxy-authorization: ${SECRET}\x7f`,
    "authorization: Basic\r\n c2VjcmV0",
    `x: 1\nauthorization: ${SECRET}`,
    `authorization ${SECRET}`,
  ].map((lines) => `GET / HTTP/1.1\r\n${lines}\r\n\r\n`),
  ...[
    "http://user:c2VjcmV0@host/",
    "user:c2VjcmV0@host:80",
    "//user:c2VjcmV0@host/",
    "//user:c2VjcmV0@host/a#",
    "/a//user:c2VjcmV0@host/",
    "http:/user:c2VjcmV0@host/",
    "http://user:c2VjcmV0/x@host/",
  ].flatMap((target) => [
    `GET ${target} HTTP/1.1\r\n\r\n`,
    `GET ${target} HTTP/1.1 \r\n\r\n`,
    `GET ${target}\r\n\r\n`,
  ]),
  ...["user:c2VjcmV0@a", "c2VjcmV0@a", "user:c2VjcmV0/@a", "user:c2VjcmV0@a\x01"].map((host) =>
    `GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`
  ),
  `PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\nauthorization: ${SECRET}\r\n\r\n`,
  `authorization ${SECRET}\r\n\r\n`,
];

Deno.test("a server's log never shows a secret of a peer, even if the secret or a header beside it is invalid", async () => {
  for (const request of brokenRequests) {
    await using pair = await connectRawPeer(() => [200, "OK", {}, null], request);
    await pair.peer.readToEnd();
    const [message = ""] = await pair.logger.waitFor("info");
    assertStringIncludes(message, "ProtocolError: ");
    assert(!message.includes("c2VjcmV0"), message);
  }
});

Deno.test("requests and responses are inspected, and are JSON, without secrets", async () => {
  const outputs: string[] = [];
  await using serving = serve((request) => {
    outputs.push(formatAllWays(request));
    return [200, "OK", { "set-cookie": "c2VjcmV0", "hello": "world" }, null];
  });
  const response = await serving.makeClient({ authorization: SECRET }).request("GET", "/");
  assertEquals(response.headers["set-cookie"], ["c2VjcmV0"]);
  for (const text of [...outputs, formatAllWays(response)]) {
    assert(!text.includes("c2VjcmV0"), text);
  }
  assertStringIncludes(formatAllWays(response), "world");
});

// ───────────────────────── connecting

const encoder = new TextEncoder();

async function findDeadAddress(): Promise<readonly [string, number]> {
  return ["127.0.0.1", await findUnusedPort()];
}

Deno.test("an error of connecting has the code of its cause, and names the address", async (t) => {
  const [host, port] = await findDeadAddress();
  const name = crypto.randomUUID();
  const { ConnectionRefused, NotFound } = Deno.errors;
  const refused = "ECONNREFUSED";
  const path = "/tmp/degu-test-no-such.socket";
  const rows: readonly [Address, new () => Error, string | null, string, RegExp][] = [
    [[host, port], ConnectionRefused, refused, `${host}:${port}`, /refused/],
    [path, NotFound, "ENOENT", `unix:${path}`, /No such file/],
    [
      ["fe80::1%nowhere", port],
      Error,
      null,
      `[fe80::1%nowhere]:${port}`,
      /: this machine has no interface nowhere$/,
    ],
    [
      ["127.0.0.1", port, 0, 3],
      Error,
      null,
      `127.0.0.1%3:${port}`,
      /: the name can't be looked up$/,
    ],
    [encoder.encode(`\0${name}`), ConnectionRefused, refused, `unix:@${name}`, /refused/],
  ];
  for (const [address, Class, code, text, hint] of rows) {
    await t.step(text, async () => {
      const client = new Client(address);
      const calls: (() => Promise<unknown>)[] = [
        () => client.connect(),
        () => client.createSocket(),
        () => client.request("GET", "/"),
      ];
      for (const call of calls) {
        // Another call can't make the missing socket.
        const ErrorClass = Class === NotFound ? NotFound : ConnectionError;
        const error = await assertRejects(call, ErrorClass as new () => Error);
        assertEquals([error.constructor, (error as { code?: unknown }).code], [ErrorClass, code]);
        assert(error.message.startsWith(`can't connect to ${text}: `), error.message);
        assertMatch(error.message, hint);
        assert(error.cause instanceof Class);
        const { message } = error.cause;
        if (!message.includes("lookup")) assertStringIncludes(error.message, message);
      }
    });
  }
});

Deno.test("the error for a missing permission has advice, and names the address", async () => {
  // The tests may neither read nor write below /dev/null.
  const error = await assertRejects(() => new Client("/dev/null/a").connect());
  assert(error instanceof Deno.errors.NotCapable, "it keeps its class");
  assertMatch(error.message, /^Requires read access to "\/dev\/null\/a", run again/);
});

Deno.test("connect() fails and closes unless onConnect returns exactly true", async (t) => {
  for (const value of [false, 1, "true", null, undefined, {}, [], new Boolean(true)]) {
    await t.step(Deno.inspect(value), async () => {
      using server = new RawServer();
      const connections: Connection[] = [];
      const onConnect = (conn: Connection) => (connections.push(conn), value as true);
      const client = new Client(server.address, { onConnect });
      const refused = await assertRejects(() => client.connect(), ConnectionClosedError);
      assertEquals(refused.code, "REFUSED");
      assertEquals(connections.map(({ closed }) => closed), [true]);
      await (await server.accept()).assertClosedSilently();
      await assertRejects(() => client.request("GET", "/"), ConnectionClosedError);
      await (await server.accept()).assertClosedSilently();
    });
  }
  const failure = new Error("no");
  const throwFailure = () => {
    throw failure;
  };
  for (const onConnect of [() => Promise.reject(failure), throwFailure]) {
    using server = new RawServer();
    const connecting = new Client(server.address, { onConnect }).connect();
    assertStrictEquals(await catchRejection(connecting, "the promise rejects"), failure);
    await (await server.accept()).assertClosedSilently();
  }
});

Deno.test("request() closes its connection after the body is read, or at once without a body", async (t) => {
  const responses = [
    ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""],
    ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello"],
    ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"],
  ] as const;
  for (const [response, text] of responses) {
    await t.step(JSON.stringify(response), async () => {
      using server = new RawServer();
      const responding = new Client(server.address).request("GET", "/");
      const peer = await server.respond(response);
      const { body } = await responding;
      if (text !== "") assertEquals(await body?.text(), text);
      assertEquals(await peer.readToEnd(), { received: "", kind: "end" });
    });
  }
});

Deno.test("a signal that is already aborted, the client's or the request's, prevents connecting", async () => {
  using server = new RawServer();
  const aborted = { signal: AbortSignal.abort(reason) };
  for (const [options, requestSignal] of [[aborted, undefined], [{}, aborted]] as const) {
    const client = new Client(server.address, options);
    await assertReason(client.connect(undefined, requestSignal), reason, "connect");
    await assertReason(client.createSocket(requestSignal), reason, "createSocket");
    const tracked = new TrackedStream([new Uint8Array(5)]);
    const request = client.request("PUT", "/", {}, new Body(tracked.stream, 5), requestSignal);
    await assertReason(request, reason, "request");
    assertEquals(tracked.cancelReasons, [reason]);
  }
  using plainPeer = await RawPeer.connect(server.address);
  // The accepted connection is this client's, because no other client has connected.
  const accepted = await server.accept();
  await plainPeer.send("x");
  assertEquals(await accepted.readExactly(1), "x");
});

// tests/net/client/request_signal_test.ts has signals of waiting requests.
Deno.test("a signal closes every idle connection of its client", async () => {
  using server = new RawServer();
  const { signal, abort } = makeAbortController();
  const client = new Client(server.address, { signal });
  const conns = [await client.connect(), await client.connect()];
  const peers = [await server.accept(), await server.accept()];
  abort(reason);
  for (const conn of conns) {
    assertEquals(conn.closed, true);
    await assertRejects(() => conn.get("/"));
  }
  for (const peer of peers) await peer.assertClosedSilently();
});

Deno.test("over TLS, only a close before the first response counts as a refusal", async () => {
  using server = new RawServer();
  class EncryptingClient extends Client {
    override async createSocket(): Promise<Socket> {
      return Object.assign(await super.createSocket(), { protocol: "TLSv1.3" });
    }
  }
  using connection = await new EncryptingClient(server.address).connect();
  const rejection = assertRejects(() => connection.get("/"), EmptyPreambleError);
  (await server.accept()).close();
  assertEquals((await rejection as ConnectionError).isRefusal, true);
  // A server that has responded doesn't refuse the client.
  using later = await new EncryptingClient(server.address).connect();
  const responding = later.get("/");
  const peer = await server.respond("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await responding;
  const failed = catchRejection(later.get("/"), "a later request");
  await peer.readPreamble();
  peer.close();
  const failure = await failed;
  assertEquals((failure as ConnectionError).isRefusal, false);
});

Deno.test("timeout limits connecting", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const address = ["127.0.0.1", listener.addr.port] as const;
  const waiting = [];
  try {
    // The server doesn't accept, and these connections fill its queue.
    for (let i = 0; i < 2; i++) waiting.push(await RawPeer.connect(address));
    const start = performance.now();
    const client = new Client(address, { timeout: 0.3 });
    const error = await assertRejects(() => client.connect(), ConnectionError);
    assertEquals(error.fault, "timed out");
    const seconds = (performance.now() - start) / 1000;
    assert(seconds >= 0.3 && seconds < 30, `${seconds} s`);

    const { signal, abort } = makeAbortController();
    const patient = new Client(address, { timeout: null, signal });
    const connecting = catchRejection(patient.connect(), "connect");
    abort(reason);
    assertStrictEquals(await withTimeout(connecting, "connect() rejects"), reason);
  } finally {
    for (const peer of waiting) peer.close();
  }
});

// Refused options of a client, and their errors.

/** Values of a wrong type, and disallowed values, of each option. */
const OPTIONS: Record<string, { types: readonly unknown[]; values?: readonly unknown[] }> = {
  host: {
    types: [5, ["example.com"]],
    values: ["a\r\nb: c", "ä", " a", "a ", "a b", ":", "u@a", "a/b", "[::1"],
  },
  timeout: { types: ["5", true, 5n], values: [0, -1, NaN, Infinity, 3600.1] },
  bodies: { types: [5, {}, { ...bodies, Body: undefined }, { ...bodies, ChunkedBodyIter: {} }] },
  authorization: {
    types: [null, 5],
    values: ["", "Basic \r\n", "Basic\x7f", "Basic ", " Basic"],
  },
  onConnect: { types: [true, null] },
  signal: { types: [null, {}, new AbortController()] },
};

Deno.test("an option that is unknown or of a wrong type is a TypeError, a wrong value a RangeError", () => {
  const make = (options: unknown) => () => constructWith(Client, ["127.0.0.1", 80], options);
  for (const options of [null, 5, "host"]) assertTypeError(make(options), `${options}`);
  for (const name of ["Host", "timeOut", "sslHost", "maxRequests", "toString", ""]) {
    assertThrows(make({ [name]: undefined }), TypeError, name);
  }
  for (const [name, { types, values = [] }] of Object.entries(OPTIONS)) {
    for (const value of types) {
      assertThrows(make({ [name]: value }), TypeError, name, Deno.inspect(value));
    }
    for (const value of values) assertThrows(make({ [name]: value }), RangeError, name, `${value}`);
  }
  make({ timeout: 3600 })();
});

Deno.test("a connection refuses invalid constructor arguments", () => {
  const sock = {
    read: () => Promise.resolve(null),
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    close() {},
  };
  const wrongTypes: readonly (readonly unknown[])[] = [
    [{ ...sock, read: undefined }, null],
    [sock],
    [sock, []],
    [sock, null, null],
    [sock, null, bodies, "5"],
  ];
  for (const args of wrongTypes) {
    assertTypeError(() => constructWith(Connection, ...args), Deno.inspect(args));
  }
  assertRangeError(() => constructWith(Connection, sock, null, bodies, 0), "a timeout of 0");
  const headers = { host: "a" };
  using conn = new Connection(sock, headers);
  assertStrictEquals(conn.sock, sock);
  assertStrictEquals(conn.baseHeaders, headers);
  assertStrictEquals(conn.bodies, bodies);
  assertEquals(conn.closed, false);
});

// The timers of a client.

// Attempts with a time limit.

Deno.test("an attempt that fails at once waits for a turn of the event loop, which other attempts would block", async () => {
  const turn = Promise.withResolvers<string>();
  setTimeout(turn.resolve, 0, "a turn");
  const limits = { timeout: null, signal: undefined };
  const failing = connectSocket("/tmp/degu-test-no-such.socket", limits).catch(() => "an error");
  assertEquals(await Promise.race([failing, turn.promise]), "a turn");
  await failing;
});

Deno.test("an error of connecting ends with the text of the system", async () => {
  const { TimedOut } = Deno.errors;
  const error = Object.assign(new TimedOut("late"), { code: "ETIMEDOUT" });
  const fail = () => Promise.reject(error);
  using _failing = patch(Deno, "connect", () => fail as typeof Deno.connect);
  const call = () => new Client(["127.0.0.1", 1]).connect();
  const { message } = await assertRejects(call, Error);
  assertEquals(message, "can't connect to 127.0.0.1:1: late");
});

Deno.test("a closed connection tells each new listener of its close", () => {
  const conn = new Connection(new RecordingSocket(), null);
  conn.close();
  let calls = 0;
  connectionCoreOf(conn)!.addCloseListener(() => calls++);
  assertEquals(calls, 1);
});

Deno.test("without a time-out, a connection starts no timer", () => {
  using intervals = recordIntervals();
  new Connection(new RecordingSocket(), null, undefined, null).close();
  assertEquals(intervals.started, []);
});

Deno.test("an abort at the moment at which a socket is connected leaves no socket open", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = ["127.0.0.1", listener.addr.port] as const;
  for (let round = 0; round < 20; round++) {
    const { signal, abort } = makeAbortController();
    const connecting = connectSocket(address, { timeout: 10, signal });
    setTimeout(abort, 1, reason);
    // In the next tick of the event loop the socket is connected and the timer is due.
    const until = performance.now() + 3;
    while (performance.now() < until);
    await connecting.then((socket) => socket.close(), () => {});
    using peer = await listener.accept();
    await peer.read(new Uint8Array(1)).catch(() => {});
  }
});

// ───────────────────────── the option dial

const ADDRESS = ["camera.invalid", 80] as const;

function makeDial(port: number): NonNullable<ClientOptions["dial"]> {
  return () => Deno.connect({ hostname: "127.0.0.1", port });
}

Deno.test("a client sends its requests over the sockets of dial, which gets the address and the limits", async () => {
  await using serving = serve(({ headers }) => reply(200, `${headers.host}`), { hosts: "any" });
  const calls: unknown[] = [];
  const dial = (address: unknown, limits: ConnectLimits) => {
    calls.push([address, limits]);
    return Deno.connect({ hostname: "127.0.0.1", port: serving.server.port! });
  };
  const client = new Client(ADDRESS, { dial, timeout: 7 });
  assertEquals(await (await client.get("/")).text(), "camera.invalid");
  using conn = await client.connect();
  assertEquals((await conn.get("/")).status, 200);
  assertEquals(calls, Array(2).fill([ADDRESS, { timeout: 7, signal: undefined }]));
});

Deno.test("the scheme of a client with dial is http, unless its option names https", async () => {
  await using serving = serve(() => reply(204));
  const dial = makeDial(serving.server.port!);
  for (const options of [{ dial }, { dial, scheme: "http" }, { dial, scheme: "https" }] as const) {
    const { scheme = "http" } = options as ClientOptions;
    const client = new Client(ADDRESS, options);
    assertEquals([client.scheme, client.host], [
      scheme,
      "camera.invalid" + (scheme === "http" ? "" : ":80"),
    ]);
    assertEquals((await createFetch(client)("/a")).url, `${scheme}://${client.host}/a`);
  }
});

Deno.test("dial and scheme are refused where they would have no effect", async (t) => {
  await using pki = await TempPKI.create();
  const sslconfig = pki.clientSslconfig;
  const dial = () => Promise.reject(new Error("unused"));
  const rows: [label: string, make: () => unknown, problem: string][] = [
    ["scheme alone", () => constructWith(Client, ADDRESS, { scheme: "https" }), "only with"],
    [
      "an SSLClient with dial",
      () => constructWith(SSLClient, sslconfig, ADDRESS, { dial }),
      "dial",
    ],
    ["no function", () => constructWith(Client, ADDRESS, { dial: {} }), "dial"],
  ];
  await testEachRow(t, rows, (_label, make, problem) => {
    assertThrows(make, TypeError, problem);
  });
  assertThrows(() => constructWith(Client, ADDRESS, { dial, scheme: "ftp" }), RangeError, "scheme");
});

Deno.test("a result of dial that is not a new socket rejects the call", async (t) => {
  const rows: [label: string, result: unknown][] = [
    ["nothing", undefined],
    ["a boolean", true],
    ["an object without write", { read() {}, close() {} }],
  ];
  await testEachRow(t, rows, async (_label, result) => {
    const client = new Client(ADDRESS, { dial: (() => result) as ClientOptions["dial"] });
    await assertRejects(() => client.request("GET", "/"), TypeError, "dial(): must be");
  });
});

Deno.test("a socket that dial returns twice is refused, and its first connection continues", async () => {
  await using serving = serve(() => reply(204), { hosts: "any" });
  const socket = await makeDial(serving.server.port!)(ADDRESS, { timeout: 1, signal: undefined });
  const options = { dial: () => Promise.resolve(socket) };
  using conn = await new Client(ADDRESS, options).connect();
  await assertRejects(() => new Client(ADDRESS, options).connect(), TypeError, "a new socket");
  assertEquals((await conn.get("/")).status, 204);
});

Deno.test("the error of dial rejects the call unchanged", async () => {
  const error = new Error("the tunnel is closed");
  const failing: NonNullable<ClientOptions["dial"]>[] = [
    () => Promise.reject(error),
    () => {
      throw error;
    },
  ];
  for (const dial of failing) {
    const client = new Client(ADDRESS, { dial });
    assertStrictEquals(await assertRejects(() => client.connect()), error);
    assertStrictEquals(await assertRejects(() => client.get("/")), error);
  }
});

Deno.test("an abort rejects at once, and a socket that dial returns later is closed", async () => {
  const dialed = Promise.withResolvers<Socket>();
  const closed = Promise.withResolvers<void>();
  const fail = () => Promise.reject(new Error("unused"));
  const client = new Client(ADDRESS, { dial: () => dialed.promise });
  const controller = new AbortController();
  const rejection = assertRejects(() => client.connect({ signal: controller.signal }));
  const reason = new Error("no longer wanted");
  controller.abort(reason);
  assertStrictEquals(await rejection, reason);
  dialed.resolve({ read: fail, write: fail, close: () => closed.resolve() });
  await closed.promise;
});

Deno.test("the trust of a socket of dial ends its connection", async () => {
  await using serving = serve(() => reply(204), { hosts: "any" });
  const controller = new AbortController();
  const dial = async () => {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: serving.server.port! });
    return Object.assign(conn, { trust: controller.signal });
  };
  using conn = await new Client(ADDRESS, { dial }).connect();
  assertEquals((await conn.get("/")).status, 204);
  controller.abort(new Error("not trusted"));
  assert(conn.closed);
  await assertRejects(() => conn.get("/"), ConnectionClosedError, "not trusted");
  const trust = AbortSignal.abort(new Error("not trusted"));
  const untrusted = Object.assign(new RecordingSocket(), { trust });
  const late = new Client(ADDRESS, { dial: () => Promise.resolve(untrusted) });
  await assertRejects(() => late.get("/"), Error, "not trusted");
  assertEquals([untrusted.writes, untrusted.closeCount], [[], 1]);
});
