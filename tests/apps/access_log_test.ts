/**
 * Access log lines, which no peer can end or forge; and the figures that onExchange gets, also of
 * interrupted exchanges.
 */
import fc from "fast-check";
import { accessLog } from "@degu/degu";
import { mkreq } from "@degu/degu/misc";
import type { App, Exchange, ServerOptions } from "@degu/degu/server";
import { makeTextArbitrary } from "../base/arbitraries.ts";
import { makeSession } from "@degu/testing/sessions.ts";
import { exchange, RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  Body,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBodyIter,
  ConnectionError,
  ProtocolError,
} from "@degu/degu/base";
import type { Connection } from "@degu/degu/client";
import { someRequestRows } from "../base/wire/requests.rows.ts";

/** Returns the log line for any request target, also invalid ones, and a user. */
type Options = Parameters<typeof accessLog>[0];

function formatLine(target: string, options?: Partial<Options>): string {
  const lines: string[] = [];
  const session = makeSession({ name: "a session", address: ["::1", 80, 0, 0] });
  const figures = {
    requestBytes: 1,
    responseBytes: 2,
    firstByteSeconds: 1,
    totalSeconds: 1,
    error: null,
  };
  const request = mkreq("GET", "/");
  const parts = { session, request, method: "GET", uri: target, status: 200 } as const;
  const exchange: Exchange = { ...parts, ...figures };
  accessLog({ print: (line) => lines.push(line), ...options })(exchange);
  assertEquals(lines.length, 1);
  return lines[0]!;
}

/** Asserts that the log entry for a target is one line with the target. */
function assertLogged(target: string): void {
  const { request, status, bytes } = readAccessLine(formatLine(target)) ?? {};
  assertEquals([request, status, bytes], [`GET ${target} HTTP/1.1`, 200, 2]);
}

const specials = ['"', "\\", "\n", "\r", "\0", "\x1b[2J", "\u2028", "\u202e", "é", "x", " "];
const specialText = fc.string({ unit: fc.constantFrom(...specials) });

Deno.test("a user's name can't end its field, or look like another name", () => {
  fc.assert(fc.property(fc.oneof(makeTextArbitrary(), specialText), (user) => {
    const { host, user: loggedUser, request } = readAccessLine(formatLine("/", {
      user: () => user,
    })) ??
      {};
    const expected = user === "" || user === "-" ? null : user;
    assertEquals([host, loggedUser, request], ["::1", expected, "GET / HTTP/1.1"]);
  }));
});

Deno.test("the server logs the error of an async print", async () => {
  const print = () => Promise.reject(new Error("the disk is full"));
  await using serving = serve(() => [200, "OK", {}, null], { onExchange: accessLog({ print }) });
  await serving.makeClient().get("/");
  const [line] = await serving.logger.waitFor("error");
  assertStringIncludes(line!, "an error of onExchange: Error: the disk is full");
});

Deno.test("a session without a user is logged with a dash", () => {
  for (const options of [undefined, {}, { user: undefined }, { user: () => null }]) {
    assertMatch(formatLine("/", options), /^::1 - - \[/);
  }
});

Deno.test("a line has the time in whole seconds, in UTC", () => {
  const rows = {
    "2026-01-02T03:04:05.999Z": "02/Jan/2026:03:04:05",
    "1999-12-31T23:59:59Z": "31/Dec/1999:23:59:59",
  };
  for (const [iso, time] of Object.entries(rows)) {
    using _time = new FakeTime(new Date(iso));
    assertStringIncludes(formatLine("/"), ` [${time} +0000] `);
  }
});

Deno.test("a request target can't end a line, its quotes or an escape", () => {
  fc.assert(fc.property(fc.oneof(makeTextArbitrary(), specialText), (target) => {
    assertLogged(target);
  }));
});

Deno.test("a line has the figures of an exchange over a socket, and a dash for each missing figure", async () => {
  const lines: string[] = [];
  const wait = Promise.withResolvers<void>();
  const onExchange = accessLog({
    print: (line) => {
      if (lines.push(line) === 3) wait.resolve();
    },
  });
  const app = (request: { uri: string }) => {
    if (request.uri === "/throws") throw new Error("no");
    return [200, "OK", {}, request.uri === "/five" ? new Uint8Array(5) : null] as const;
  };
  await using serving = serve(app, { onExchange });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(...["/five", '/?a="\\', "/throws"].map((path) => `GET ${path} HTTP/1.1\r\n\r\n`));
  await withTimeout(wait.promise, "three lines");
  assertEquals(lines.map((line) => line.replace(/\[.*?\]/, "[]")), [
    '127.0.0.1 - - [] "GET /five HTTP/1.1" 200 5',
    '127.0.0.1 - - [] "GET /?a=\\x22\\x5c HTTP/1.1" 200 -',
    '127.0.0.1 - - [] "GET /throws HTTP/1.1" 500 -',
  ]);
});

Deno.test("accessLog refuses invalid arguments", () => {
  const log = (options: unknown) => accessLog(options as Options);
  assertThrows(() => log({ print: 7 }), TypeError, "print: must be a function; got number");
  assertThrows(() => log({}), TypeError, "print: must be a function; got undefined");
  assertThrows(() => log(console.log), TypeError, "options");
  assertThrows(() => log({ print() {}, user: "me" }), TypeError, "user: must be a function");
  assertThrows(() => log({ users: () => "me" }), TypeError, 'unknown option "users"');
  assertThrows(() => log(null), TypeError, "options");
});

/** Matches a log line as strictly as a program that analyzes logs. */
const LINE = new RegExp(
  [
    /^(?<host>[^ ]+) - (?<user>(?:[!#-[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})+) /,
    /\[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] /,
    /"(?<request>(?:[ !#-[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})*)" /,
    /(?<status>\d{3}|-) (?<bytes>\d+|-)$/,
  ].map(({ source }) => source).join(""),
);

/** Parses a log line, and undoes its escapes; `null` for an invalid line. */
function readAccessLine(line: string) {
  const { host, user, request, status, bytes } = LINE.exec(line)?.groups ?? {};
  if (host === undefined || user === undefined || request === undefined) return null;
  return {
    host,
    /** `null` for a dash. */
    user: user === "-" ? null : unescape(user),
    request: unescape(request),
    status: status === "-" ? null : Number(status),
    bytes: bytes === "-" ? 0 : Number(bytes),
  };
}

function unescape(text: string): string {
  return text.replace(
    /\\(?:x(..)|u(....))/g,
    (_, byte, codeUnit) => String.fromCharCode(parseInt(byte ?? codeUnit, 16)),
  );
}

// ───────────────────────── onExchange

/** Buffers exchanges until a test reads them. */
function bufferExchanges() {
  /** The reported exchanges that the test has not read yet. */
  const exchanges: Exchange[] = [];
  let added = Promise.withResolvers<void>();
  const onExchange = (exchange: Exchange): void => {
    exchanges.push(exchange);
    added.resolve();
    added = Promise.withResolvers();
  };
  /** Resolves to the next exchange when it is reported. */
  const takeNext = async (): Promise<Exchange> => {
    while (exchanges.length === 0) await withTimeout(added.promise, "an exchange is reported");
    return exchanges.shift()!;
  };
  return { exchanges, next: takeNext, onExchange };
}

/** Starts a server whose exchanges are buffered. */
function serveWatched(app: App, options: ServerOptions = {}) {
  const { onExchange, ...recorder } = bufferExchanges();
  return Object.assign(serve(app, { onExchange, ...options }), recorder);
}

const echo: App = async (request) => {
  const data = request.body === null ? new Uint8Array() : await request.body.bytes();
  return [200, "OK", {}, data];
};
const largeArray = new Uint8Array(300_000).fill(7);
const BODIES: readonly (readonly [string, () => BodyOut, number])[] = [
  ["none", () => null, 0],
  ["a large array", () => largeArray, 300_000],
  ["pieces", () => new BodyIter([largeArray, largeArray], 600_000), 600_000],
  [
    "chunks",
    () =>
      new ChunkedBodyIter([[["key", "value"], largeArray] as const, [null, new Uint8Array(3)], [
        null,
        new Uint8Array(),
      ]]),
    300_003 + "493e0;key=value\r\n\r\n3\r\n\r\n0\r\n\r\n".length,
  ],
];

for (const [name, make, bytes] of BODIES) {
  Deno.test(`the bytes of bodies are counted in both directions: ${name}`, async () => {
    await using watched = serveWatched({
      async handle(request) {
        await request.body?.writeTo(new WritableStream());
        return [200, "OK", {}, make()];
      },
      onConnect(_session, sock) {
        const { write } = sock;
        // The socket takes only a part of most writes.
        sock.write = (bytes) => write.call(sock, bytes.subarray(0, 50_000));
        return true;
      },
    });
    const startTime = performance.now();
    const response = await watched.makeClient().request("PUT", "/a?b", {}, make());
    await response.body?.writeTo(new WritableStream());
    const { method, uri, status, error, ...measured } = await watched.next();
    assertEquals([method, uri, status, error], ["PUT", "/a?b", 200, null]);
    const { requestBytes, responseBytes, firstByteSeconds, totalSeconds } = measured;
    assertEquals([requestBytes, responseBytes], [bytes, bytes]);
    assert(firstByteSeconds !== null && firstByteSeconds >= 0 && firstByteSeconds <= totalSeconds);
    assert(totalSeconds * 1000 < performance.now() - startTime);
  });
}

const get = "GET / HTTP/1.1\r\n\r\n";
const head = "HEAD / HTTP/1.1\r\n\r\n";
const put = "PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\n1234567";
const failure = new Error("no more");

async function* makeBrokenChunks(): AsyncGenerator<Chunk> {
  yield [null, new Uint8Array(4)];
  await Promise.resolve();
  throw failure;
}

/**
 * The figures of a request: the status, the bytes in both directions, and the error or its class.
 */
type Row = readonly [string, request: string, figures: readonly unknown[], error: unknown, App];

const REPORTED: readonly Row[] = [
  ["a response to HEAD with a body has no bytes", head, [200, 0, 0], null, () => {
    return [200, "OK", {}, new Uint8Array(12)];
  }],
  [
    "the bytes of a body that the app doesn't read are counted if they are dropped before the response",
    put.replace("10", "7"),
    [200, 7, 2],
    null,
    async ({ body }) => {
      await (body as Body).read(3);
      return [200, "OK", {}, new Uint8Array(2)];
    },
  ],
  [
    "the bytes of a body that is dropped after a response from a source are counted",
    put.replace("10", "7"),
    [200, 7, 2],
    null,
    () => [200, "OK", {}, new BodyIter([new Uint8Array(2)], 2)],
  ],
  ["204 has no bytes", get, [204, 0, 0], null, () => [204, "No Content", {}, null]],
  ["the app throws", get, [500, 0, 0], failure, () => Promise.reject(failure)],
  ["the response breaks off", get, [200, 0, "4\r\n0000\r\n".length], failure, () => {
    return [200, "OK", {}, new ChunkedBodyIter(makeBrokenChunks())];
  }],
  ["the peer pauses for too long", put, [null, 7, 0], ConnectionError, echo],
  [
    "the session is closed during an upload",
    put,
    [null, 6, 0],
    failure,
    async ({ body }, session) => {
      await (body as Body).read(6);
      session.close(failure);
      return [200, "OK", {}, null];
    },
  ],
];

for (const [label, request, figures, expected, app] of REPORTED) {
  Deno.test(`an exchange is reported once, with its figures: ${label}`, async () => {
    await using watched = serveWatched(
      app,
      expected === ConnectionError ? { timeout: 0.3 } : {},
    );
    using peer = await RawPeer.connect(watched.address, request);
    const { method, status, requestBytes, responseBytes, error } = await watched.next();
    assert(request.startsWith(`${method} `));
    assertEquals([status, requestBytes, responseBytes], figures);
    if (typeof expected === "function") assertInstanceOf(error, expected as typeof Error);
    else assertStrictEquals(error, expected);
    peer.close();
    await watched[Symbol.asyncDispose]();
    assertEquals(watched.exchanges, []);
  });
}

Deno.test("an onExchange that throws, rejects or never resolves is logged and has no other effect", async () => {
  const failingCallbacks: readonly (() => unknown)[] = [
    () => {
      throw new Error("log is full");
    },
    () => Promise.reject(new Error("log is full")),
    () => new Promise(() => {}),
  ];
  for (const onExchange of failingCallbacks) {
    await using serving = serve(echo, { onExchange });
    using connection = await serving.makeClient().connect();
    for (let i = 0; i < 3; i++) assertEquals((await connection.get("/")).status, 200);
    if (onExchange !== failingCallbacks[2]) {
      assertMatch((await serving.logger.waitFor("error"))[0]!, /onExchange: Error: log is full/);
    }
  }
});

const drain: App = async (request) => {
  await request.body?.writeTo(new WritableStream());
  return [200, "OK", {}, null];
};

Deno.test("only a request with a valid preamble is an exchange", async () => {
  await using watched = serveWatched(drain, { hosts: "any" });
  const silent = { name: "nothing", bytes: "", accepted: [], broken: undefined };
  // A row of each outcome, and a fifth of the others.
  const outcomes = new Map(
    someRequestRows.map((row) =>
      [`${row.accepted.length} ${row.broken} ${row.lastResponse}`, row] as const
    ),
  );
  const rows = new Set([...outcomes.values(), ...someRequestRows.filter((_, i) => i % 5 === 0)]);
  for (const { name, bytes, accepted, broken } of [silent, ...rows]) {
    await exchange(watched.address, bytes);
    for (const { uri } of accepted) {
      const exchange = await watched.next();
      assertEquals([exchange.uri, exchange.status, exchange.error], [uri, 200, null], name);
    }
    if (broken !== undefined) {
      const { uri, status, error } = await watched.next();
      assertEquals([uri, status === null || status === 400], [broken, true], name);
      assert(error instanceof ProtocolError || error instanceof ConnectionError, name);
    }
    assertEquals(watched.exchanges, [], name);
  }
});

// ───────────────────────── interrupted exchanges

const MiB = 1048576;
const TOTAL = 1024 * MiB;

function* makeEndlessPieces() {
  const piece = new Uint8Array(MiB);
  for (let i = 0; i < TOTAL / MiB; i++) yield piece;
}

/** Reads this many bytes of a response's body. */
async function readPart(connection: Connection, bytes: number): Promise<void> {
  const { body } = await connection.get("/");
  assertInstanceOf(body, Body);
  let missing = bytes;
  while (missing > 0) missing -= (await body.read(missing)).length;
}

Deno.test("a peer that disconnects during a download is reported with an error", async () => {
  await using watched = serveWatched(
    () => [200, "OK", {}, new BodyIter(makeEndlessPieces(), TOTAL)],
  );
  const connection = await watched.makeClient().connect();
  await readPart(connection, 3 * MiB);
  connection.close();
  const { status, responseBytes, firstByteSeconds, totalSeconds, error } = await watched.next();
  assertEquals(status, 200);
  assert(responseBytes >= 3 * MiB && responseBytes < TOTAL, `${responseBytes} bytes`);
  assert(firstByteSeconds !== null && firstByteSeconds <= totalSeconds);
  assertInstanceOf(error, Error);
});
