/** Client: requests, headers, and hidden secrets. */
import { ConnectionPool, createFetch } from "@degu/degu";
import { type Address, ContentRange, type HeadersToSend, Range } from "@degu/degu/base";
import { Client, type ClientOptions, Connection, SSLClient } from "@degu/degu/client";
import { connect, readSentRequest } from "@degu/testing/connected.ts";
import {
  assertRangeError,
  assertTypeError,
  catchRejection,
  catchThrown,
  constructWith,
} from "@degu/testing/expectations.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { inspect } from "node:util";

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
  for (const host of ["example.com/64", "127.0.0.1/24", "::1/", "::1/x", "::1/1000", "[::1]/64"]) {
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
  ].join("\n");
}

Deno.test("clients, connections, their options and headers are inspected without secrets", async () => {
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
  "GET http://user:c2VjcmV0@host/ HTTP/1.1\r\n\r\n",
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

Deno.test("requests and responses are inspected without secrets", async () => {
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
