/**
 * A server: parsing split requests, responses of apps, errors that apps throw, and closing a session
 * at every moment.
 */
import { formatErrorResponse } from "./error_answers.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  Body,
  type BodyIn,
  BodyIter,
  type BodyOut,
  type Chunk,
  ChunkedBodyIter,
  ConnectionClosedError,
  ConnectionError,
  ContentRange,
  Response,
  type Socket,
} from "@degu/degu/base";
import { ProxyApp } from "@degu/degu";
import type { App, AppFunction, Request, ResponseTuple, Session } from "@degu/degu/server";
import { makePendingPromise } from "@degu/testing/aborts.ts";
import { catchRejection, formatLabel } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  connectRawPeer,
  makeServerConnection,
  makeUntypedApp,
  serve,
  type ServedRawPeer,
} from "@degu/testing/serving.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { describeApp } from "../../base/wire/requests.rows.ts";

const get = "GET / HTTP/1.1\r\n\r\n";
const head = "HEAD / HTTP/1.1\r\n\r\n";
const last = "GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
const put = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
const hello = encodeLatin1("hello");
const CHUNKED = { "transfer-encoding": "chunked" };
const bothFramings = { "content-length": 5, "transfer-encoding": "chunked" };

/** Sends two requests; returns the responses, and the lines of level error. */
async function exchange(
  handle: (request: Request) => unknown,
  request: string,
): Promise<{ received: string; errors: string[] }> {
  await using pair = await connectRawPeer(makeUntypedApp(handle), request + get);
  await pair.peer.closeWrite();
  const { received } = await pair.peer.readToEnd();
  return { received, errors: pair.logger.messagesOf("error") };
}

/**
 * An invalid response for each rule. tests/base/ tests every value of each part;
 * sent_messages_test.ts has the rules that a client shares.
 */
const invalidResponses: readonly (readonly [label: string, answer: unknown, request?: string])[] = [
  ["nothing", undefined],
  ["text", "200"],
  ["an object without a body", { status: 200, reason: "OK", headers: {} }],
  ["status 101", [101, "Switching Protocols", { upgrade: "a", connection: "upgrade" }, null]],
  ["status 600", [600, "OK", {}, null]],
  ["name in upper case", [200, "OK", { A: "b" }, null]],
  ["a cookie with a line end", [200, "OK", { "set-cookie": ["a", "b\r\nc: d"] }, null]],
  ["content-length without a body", [200, "OK", { "content-length": 1 }, null]],
  ["content-length with 204", [204, "No Content", { "content-length": 0 }, null]],
  ["chunked with 204", [204, "No Content", CHUNKED, null]],
  ["both framings with 304", [304, "xx", bothFramings, null]],
  ["body undefined", [200, "OK", {}, undefined]],
  ["body of a lone surrogate", [200, "OK", {}, "a\ud800"]],
  ["body over 16 MiB", [200, "OK", {}, new Uint8Array(16777217)]],
  ["empty body with 204", [204, "No Content", {}, encodeLatin1("")]],
  ["body with 304", [304, "Not Modified", {}, hello]],
  ["body with 304 to HEAD", [304, "Not Modified", {}, hello], head],
  ["preamble over 32768 bytes", [200, "OK", { a: "b".repeat(32768) }, null]],
  // The server adds the content-length.
  ["128 header lines", [200, "OK", { a: new Array(127).fill("b") }, null]],
  [
    "128 header lines, and a last request",
    [200, "OK", { a: new Array(127).fill("b") }, null],
    last,
  ],
  ["128 header lines of cookies", [200, "OK", { "set-cookie": new Array(127).fill("b") }, null]],
];

Deno.test("an invalid response of an app is logged as an error, and replaced by 500", async (t) => {
  await testEachRow(t, invalidResponses, async (_label, response, request = get) => {
    const { received, errors } = await exchange(() => response, request);
    assertEquals(received, formatErrorResponse(500));
    assertEquals(errors.length, 1);
  });
});

Deno.test("valid responses at the limits are sent", async (t) => {
  const headers = Object.freeze({ a: "b" });
  const abc = encodeLatin1("abc");
  const withHeader = "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 0\r\n\r\n";
  const rows: readonly (readonly [answer: unknown, received: string, request?: string])[] = [
    [[200, "OK", {}, null], "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    [[200, "", {}, null], "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n"],
    [[204, "No Content", {}, null], "HTTP/1.1 204 No Content\r\n\r\n"],
    [[200, "OK", { "content-length": 0 }, null], "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    [[205, "xx", {}, null], "HTTP/1.1 205 xx\r\ncontent-length: 0\r\n\r\n"],
    [[205, "xx", {}, "hello"], "HTTP/1.1 205 xx\r\ncontent-length: 5\r\n\r\nhello"],
    [[200, "OK", {}, ""], "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    // A text is encoded as UTF-8, and a header that is undefined is omitted.
    [[200, "OK", { a: undefined }, "öl"], "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nÃ¶l"],
    [[200, "OK", {}, "\x80"], "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xc2\x80"],
    [new Response(200, "OK", {}, "hi"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"],
    [new Response(200, "OK", headers, null), withHeader],
    [{ status: 200, reason: "OK", headers, body: null }, withHeader],
    [Promise.resolve([200, "OK", {}, null]), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    [Object.freeze([200, "OK", headers, null]), withHeader],
    [
      [206, "Partial Content", { "content-range": new ContentRange(2, 5, 10) }, abc],
      "HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\ncontent-range: bytes 2-4/10\r\n\r\nabc",
    ],
    // In a response to HEAD a body sets the same header as for GET.
    [[200, "OK", {}, hello], "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", head],
    [
      [206, "xx", { "content-length": 3, "content-range": new ContentRange(2, 5, 10) }, abc],
      "HTTP/1.1 206 xx\r\ncontent-length: 3\r\ncontent-range: bytes 2-4/10\r\n\r\n",
      head,
    ],
    // Responses to HEAD and with 304 keep the framing header of the app.
    ...[[head, 200], [head, 404], [head, 304], [get, 304]].flatMap(([request, status]) =>
      Object.entries({ "content-length": 7, "transfer-encoding": "chunked" }).map((header) => {
        const response = [status, "xx", Object.fromEntries([header]), null];
        const sent = `HTTP/1.1 ${status} xx\r\n${header.join(": ")}\r\n\r\n`;
        return [response, sent, `${request}`] as const;
      })
    ),
  ];
  for (const [response, expected, request = get] of rows) {
    await t.step(JSON.stringify(expected), async () => {
      const { received, errors } = await exchange(() => response, request);
      if (request === get || expected.includes(" 304 ")) {
        assertEquals([received, errors], [expected + expected, []]);
      } else {
        // The next request is a GET, whose response has the body, or is invalid.
        assert(received.startsWith(expected), received);
        assertMatch(received.slice(expected.length), /^($|HTTP\/1\.1 )/);
      }
    });
  }
});

Deno.test("a response body that was used before, also of a request, is an error, and the response is replaced by 500", async (t) => {
  let earlierBody: unknown = null;
  type Handle = (request: Request) => unknown;
  const returnReadBody = async () => {
    const body = new Body(streamOf(hello), 5);
    await body.read();
    return [200, "OK", {}, body];
  };
  const rows: readonly (readonly [string, sent: string, received: string, Handle])[] = [
    ["read before, in a response to HEAD", head, "", returnReadBody],
    ["read before", get, "", returnReadBody],
    [
      "of an earlier request of the session",
      put,
      "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
      async ({ body }) => {
        if (body === null) return [200, "OK", {}, earlierBody];
        earlierBody = body;
        await body.read();
        return [200, "OK", {}, null];
      },
    ],
  ];
  await testEachRow(t, rows, async (_label, sent, expected, handle) => {
    const { received, errors } = await exchange(handle, sent);
    assertEquals([received, errors.length], [expected + formatErrorResponse(500), 1]);
  });
  await t.step("of another connection that is closed", async () => {
    await using serving = serve(makeUntypedApp(({ body }) => {
      if (body === null) return [200, "OK", {}, earlierBody];
      earlierBody = body;
      return [400, "Bad Request", {}, null];
    }));
    using first = await RawPeer.connect(serving.address, put);
    await first.closeWrite();
    await first.readToEnd();
    using second = await RawPeer.connect(serving.address, get);
    const { received } = await second.readToEnd();
    assert(!received.includes("hello"), received);
  });
});

Deno.test("every value that an app throws is logged as an error and causes 500; an error of onConnect causes no response", async (t) => {
  const thrown: readonly unknown[] = [
    ...[new Error("secret"), "text", null, undefined, 0, Symbol("symbol"), Object.create(null)],
    { toString: () => fail() },
    Object.defineProperty(new Error("x"), "stack", { get: () => fail() }),
  ];
  function fail(): never {
    throw new Error("can't be shown");
  }
  for (const [i, value] of thrown.entries()) {
    for (const hook of ["handle", "onConnect"] as const) {
      await t.step(`value ${i}, by ${hook}`, async () => {
        const throwValue = () => {
          throw value;
        };
        const onConnect = () => hook === "handle" || throwValue();
        await using pair = await connectRawPeer({ handle: throwValue, onConnect }, get);
        const { peer, logger } = pair;
        const { received } = await peer.readToEnd();
        assertEquals(received, hook === "handle" ? formatErrorResponse(500) : "");
        const [message = ""] = await logger.waitFor("error");
        const { port } = peer.conn.localAddr as Deno.NetAddr;
        assert(message.startsWith(`127.0.0.1:${port}: `), message);
      });
    }
  }
});

Deno.test("a response with an error status whose body reads the request's body waits no longer than the time-out", async () => {
  async function* relay(pieces: AsyncIterable<Uint8Array>) {
    for await (const piece of pieces) yield piece;
  }
  await using serving = serve(
    ({ readable }) => [400, "Bad Request", {}, relay(readable)],
    { timeout: 0.2 },
  );
  async function* upload() {
    yield hello;
    await makePendingPromise();
  }
  const response = await serving.makeClient({ timeout: null }).post("/", {}, upload());
  assertEquals(response.status, 400);
  const reading = withTimeout(response.bytes(), "the end of the response");
  assertInstanceOf(await catchRejection(reading, "the response's body"), ConnectionError);
  const [line = ""] = await serving.logger.waitFor("info");
  assertStringIncludes(line, "ConnectionError: the peer kept the connection waiting");
  assertEquals(serving.logger.messagesOf("error"), []);
});

Deno.test("an error status keeps the connection if the app has read the request's body, whatever the response's body is, also through a proxy", async (t) => {
  const bytes = encodeLatin1("x");
  const bodies: Record<string, () => BodyOut> = {
    "nothing": () => null,
    "bytes": () => bytes,
    "a BodyIter": () => new BodyIter([bytes], 1),
    "a ChunkedBodyIter": () => new ChunkedBodyIter([[null, bytes], [null, new Uint8Array()]]),
    "a stream": () => new Blob([bytes]).stream(),
    "a Blob": () => new Blob([bytes]),
  };
  await testEachRow(t, Object.entries(bodies), async (_label, makeBody) => {
    for (const status of [200, 404, 500]) {
      for (const isIterated of [false, true]) {
        await using serving = serve(async ({ body }) => {
          if (isIterated) { for await (const _ of body ?? []); }
          else await body?.bytes();
          return [status, "Status", {}, makeBody()];
        });
        await using proxy = serve(new ProxyApp(serving.makeClient()));
        for (const { makeClient, logger } of [serving, proxy]) {
          using conn = await makeClient().connect();
          for (const text of ["hello", "", "hello"]) {
            const response = await conn.post("/", {}, text);
            assertEquals([response.status, response.headers["connection"]], [status, undefined]);
            await response.bytes();
          }
          assertEquals(logger.messagesOf("info"), []);
        }
      }
    }
  });
});

Deno.test("a body that fails while its cancellation closes the server causes no unhandled rejection", async (t) => {
  const failure = new Error("the disk is full");
  const failures: Record<string, () => Promise<IteratorResult<Chunk>>> = {
    "throws": () => {
      throw failure;
    },
    "rejects": () => Promise.reject(failure),
    "gives no chunk": () => Promise.resolve({ done: false, value: null as never }),
  };
  for (const [label, next] of Object.entries(failures)) {
    await t.step(`its source ${label}`, async () => {
      using unhandled = recordUnhandledRejections();
      const close = () => serving.server.close();
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: () => {
            if (label !== "gives no chunk") close();
            return next();
          },
          return: () => {
            close();
            return Promise.reject(failure);
          },
        }),
      };
      await using serving = serve(() => [200, "OK", {}, new ChunkedBodyIter(source)]);
      using peer = await RawPeer.connect(serving.address, get);
      await peer.readToEnd();
      await withTimeout(serving.done, "serveForever() settles");
      await waitForTick();
      assertEquals(unhandled.reasons, []);
    });
  }
});

/** The methods by which an app reads a whole body. */
const READS: Readonly<Record<string, (body: NonNullable<BodyIn>) => Promise<unknown>>> = {
  "bytes": (body) => body.bytes(),
  "bytes of at most 4": (body) => body.bytes({ maxBytes: 4 }),
};
const MAX_BYTES = 16_777_216;

Deno.test("if a body is too long for its app, the server responds with 413, and the session ends", async (t) => {
  const piece = `100000\r\n${" ".repeat(0x100000)}\r\n`;
  const framings: Readonly<Record<string, string[]>> = {
    "announced": [`content-length: ${MAX_BYTES + 1}\r\n\r\n`],
    "in chunks": ["transfer-encoding: chunked\r\n\r\n", ...Array(16).fill(piece), "1\r\n \r\n"],
  };
  const smallBody = ["transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"];
  for (const [framing, parts] of Object.entries(framings)) {
    for (const [label, read] of Object.entries(READS)) {
      const isLimited = label.includes("4");
      // Send 16 MiB only for one of these methods.
      if (framing === "in chunks" && !isLimited && label !== "bytes") continue;
      await t.step(`${label}, ${framing}`, async () => {
        await using pair = await connectRawPeer(async ({ body }) => {
          await read(body!);
          return [200, "OK", {}, null];
        }, "PUT /upload HTTP/1.1\r\n");
        const { peer, logger } = pair;
        await peer.send(...framing === "in chunks" && isLimited ? smallBody : parts);
        const response =
          "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assertEquals(await peer.readPreamble(), response);
        const [line = ""] = await logger.waitFor("info");
        assertStringIncludes(line, "the body of a request was left unread (status 413)");
        assertEquals(logger.messagesOf("error"), []);
        await peer.closeWrite();
        assertEquals((await peer.readToEnd()).received, "");
      });
    }
  }
});

Deno.test("a response is written whole before the next response, however few bytes the socket accepts at a time", async () => {
  const socket = new RecordingSocket({ perWrite: 7 });
  const { connection } = makeServerConnection(socket, () => [200, "OK", {}, null]);
  socket.receive(get + get);
  socket.end();
  connection.serve();
  await withTimeout(connection.slotFreed, "the connection ends");
  assertEquals(socket.writes.join(""), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(2));
});

/** A socket that records the sizes of the arrays for its reads. */
class RoomRecordingSocket extends RecordingSocket {
  readonly rooms: number[] = [];

  override read(into: Uint8Array): Promise<number | null> {
    this.rooms.push(into.length);
    return super.read(into);
  }
}

Deno.test("after a large message, a connection soon waits with a small buffer again", async () => {
  const large = 1_000_000;
  const messages = [
    `GET / HTTP/1.1\r\nx: ${"y".repeat(20_000)}\r\n\r\n`,
    `PUT / HTTP/1.1\r\ncontent-length: ${large}\r\n\r\n${"x".repeat(large)}`,
  ];
  for (const message of messages) {
    const socket = new RoomRecordingSocket();
    const { connection } = makeServerConnection(socket, ({ body }) => [200, "OK", {}, body]);
    const serving = connection.serve();
    const countResponses = () => socket.writes.filter((bytes) => bytes.startsWith("HTTP/")).length;
    for (const [index, part] of [message, get, get, get].entries()) {
      socket.receive(part);
      while (countResponses() === index) await waitForTick();
      await waitForTick();
    }
    socket.end();
    await serving;
    assertEquals(socket.rooms.at(-1), socket.rooms[0]);
  }
});

// ───────────────────────── reading requests

const getRequest = "GET /a/b?c=d HTTP/1.1\r\nX-Mixed: AbC\r\n\r\n";
const lengthRequest = "PUT /length HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
const chunkedRequest =
  "POST /chunked HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;k=v\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const stream = getRequest + lengthRequest + chunkedRequest + getRequest;

/** Starts a server that counts the bytes that it has read. */
function serveCounting(app: App) {
  let readCount = 0;
  let nextRead = Promise.withResolvers<void>();
  const onConnect = (_session: Session, sock: Socket) => {
    const { read } = sock;
    sock.read = async (into) => {
      const count = await read.call(sock, into);
      readCount += count ?? 0;
      nextRead.resolve();
      return count;
    };
    return true;
  };
  /** Sends bytes, and waits until the server has read them. */
  const sendAndWait = async (peer: RawPeer, bytes: string) => {
    const expectedBytes = readCount + bytes.length;
    await peer.send(bytes);
    while (readCount < expectedBytes) {
      nextRead = Promise.withResolvers();
      await withTimeout(nextRead.promise, "the server takes what was sent");
    }
  };
  const handle = typeof app === "function" ? app : app.handle;
  return Object.assign(serve({ handle, onConnect }), { give: sendAndWait });
}

type CountingServing = ReturnType<typeof serveCounting>;

/**
 * Sends the parts, each once the server has read the previous one, and closes; returns the
 * responses.
 */
async function requestInParts(serving: CountingServing, ...parts: string[]): Promise<string> {
  using peer = await RawPeer.connect(serving.address);
  for (const part of parts.slice(0, -1)) await serving.give(peer, part);
  await peer.send(parts.at(-1)!);
  await peer.closeWrite();
  return (await peer.readToEnd()).received;
}

Deno.test("requests are parsed the same however their bytes are split, and complete requests get responses in order", async () => {
  await using serving = serveCounting(describeApp);
  const expected = await requestInParts(serving, stream);
  assertEquals(expected.match(/HTTP\/1\.1 200 OK/g)?.length, 4);
  const uris = [...expected.matchAll(/\["[A-Z]+","([^"]*)"/g)].map(([, uri]) => uri);
  assertEquals(uris, ["/a/b?c=d", "/length", "/chunked", "/a/b?c=d"]);
  const requests = [getRequest, lengthRequest, chunkedRequest, getRequest];
  const endPositions = requests.map((_, i) => requests.slice(0, i + 1).join("").length);
  for (let at = 1; at < stream.length; at++) {
    const [first, rest] = [stream.slice(0, at), stream.slice(at)];
    assertEquals(await requestInParts(serving, first, rest), expected, `split at ${at}`);
    const completeCount = endPositions.filter((end) => end <= at).length;
    const responses = (await requestInParts(serving, first)).match(/HTTP\/1\.1 200 OK/g) ?? [];
    assertEquals(responses.length, completeCount, `cut after ${at}`);
  }
  assertEquals(await requestInParts(serving, ...stream), expected, "byte by byte");
  assertEquals(serving.logger.messagesOf("error"), []);
});

Deno.test("an invalid first byte of a method closes the connection, without waiting for the rest", async () => {
  await using serving = serve(() => [200, "OK", {}, null], { timeout: null });
  for (let byte = 0; byte < 256; byte++) {
    const first = String.fromCharCode(byte);
    // An empty line may precede a request.
    if (/[-!#$%&'*+.^_`|~0-9A-Za-z\r]/.test(first)) continue;
    // The same byte is refused as the first byte of a later request.
    for (const earlierRequest of ["", "GET / HTTP/1.1\r\n\r\n"]) {
      using peer = await RawPeer.connect(serving.address);
      if (earlierRequest !== "") {
        await peer.send(earlierRequest);
        await peer.readPreamble();
      }
      await peer.send(first);
      await peer.assertClosedSilently(formatLabel(earlierRequest + first));
    }
  }
});

Deno.test("one empty line before each request is skipped, however its bytes are split", async () => {
  await using serving = serveCounting(describeApp);
  const expected = await requestInParts(serving, stream);
  const padded = [getRequest, lengthRequest, chunkedRequest, getRequest]
    .map((request) => `\r\n${request}`).join("");
  assertEquals(await requestInParts(serving, padded), expected);
  assertEquals(await requestInParts(serving, ...padded), expected, "byte by byte");
  for (let at = 1; at < 60; at++) {
    const parts = [padded.slice(0, at), padded.slice(at)];
    assertEquals(await requestInParts(serving, ...parts), expected, `split at ${at}`);
  }
  // Some clients send an empty line after the body.
  assertEquals(await requestInParts(serving, `${stream}\r\n`), expected);
  assertEquals(serving.logger.messagesOf("info"), []);
});

Deno.test("after an empty line, a close is no error, and any other line end closes the connection", async () => {
  const rows = [["\r\n", 0], ["\r", 1], ["\r\nGET", 1], ["\r\n\r\n", 1], ["\n", 1], ["\r\r\n", 1]];
  for (const [sent, count] of rows as [string, number][]) {
    for (const isLater of [false, true]) {
      await using serving = serve(() => [204, "No Content", {}, null]);
      using peer = await RawPeer.connect(serving.address);
      if (isLater) {
        await peer.send(getRequest);
        await peer.readPreamble();
      }
      await peer.send(...sent);
      await peer.closeWrite();
      await peer.assertClosedSilently(formatLabel(sent));
      assertEquals(serving.logger.messagesOf("info").length, count, formatLabel(sent));
    }
  }
});

// ───────────────────────── closing a session

const reason = new Error("revoked");
const ok: ResponseTuple = [200, "OK", {}, null];

/** Asserts that a session has ended with a reason, and that no error was logged. */
function assertClosed(
  { serving, session, logger }: ServedRawPeer,
  expectedReason: unknown = reason,
): void {
  assertStrictEquals(session.signal.reason, expectedReason);
  assertEquals(serving.server.sessions.has(session), false);
  assert(session.message?.startsWith("closed by the app"), `${session.message}`);
  assertEquals(logger.lines, [["debug", `${session}: ${session.message}`]]);
}

/** A moment at which a session is closed: by the app, or from outside once `until` has resolved. */
interface Moment {
  readonly when: string;
  /** The bytes that the peer sends; a GET by default. */
  readonly sent?: string;
  readonly onConnect?: (session: Session, released: Promise<boolean>) => boolean | Promise<boolean>;
  readonly handle?: AppFunction;
  /** The app's operation on the request's body, which must reject with the reason. */
  readonly read?: (body: NonNullable<BodyIn>, session: Session) => Promise<unknown>;
  readonly until?: (pair: ServedRawPeer) => unknown;
  /** The bytes that the peer receives after that. */
  readonly received?: string;
}

const bodies = {
  "a Body": "PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello",
  "a ChunkedBody": "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
};

async function* makeHalves(onEnd: () => void = () => {}) {
  try {
    yield encodeLatin1("hello");
    await makePendingPromise();
  } finally {
    await null;
    onEnd();
  }
}

async function* makeChunks(pieces: AsyncIterable<Uint8Array>) {
  for await (const piece of pieces) yield [null, piece] as const;
}

const moments: readonly Moment[] = [
  ...[true, false].map((returned): Moment => ({
    when: `in onConnect, which returns ${returned}`,
    onConnect: (session) => (session.close(reason), returned),
  })),
  {
    when: "while onConnect is pending",
    onConnect: (_, released) => released,
    until: waitForTick,
  },
  { when: "before a request", sent: "", until: waitForTick },
  { when: "inside a preamble", sent: "GET / HTTP/1.1\r\nx: ", until: waitForTick },
  { when: "between two requests", until: ({ peer }) => peer.readPreamble() },
  {
    when: "while a body is read",
    sent: bodies["a Body"],
    read: (body) => body.bytes(),
    until: ({ appCalled }) => appCalled,
  },
  {
    when: "by the reader of a chunked stream",
    sent: bodies["a ChunkedBody"],
    read: async (body, session) => {
      for await (const _ of body.readable) session.close(reason);
    },
  },
  {
    when: "before the app answers",
    sent: get + get,
    handle: async (_request, session) => {
      await null;
      session.close(reason);
      return [200, "OK", {}, new Uint8Array(200_000)];
    },
  },
  {
    when: "while its response waits",
    handle: () => [200, "OK", {}, new BodyIter(makeHalves(), 10)],
    until: ({ peer }) => peer.readUntil("hello"),
  },
  {
    when: "while its response waits for a chunk",
    handle: () => [200, "OK", {}, new ChunkedBodyIter(makeChunks(makeHalves()))],
    until: ({ peer }) => peer.readUntil("hello"),
    received: "\r\n",
  },
];

for (const { when, sent = get, onConnect, handle, read, until, received = "" } of moments) {
  Deno.test(`a session can be closed ${when}`, async () => {
    const released = Promise.withResolvers<boolean>();
    const bodyError = Promise.withResolvers<unknown>();
    await using pair = await connectRawPeer({
      handle: handle ?? (async ({ body }, session) => {
        if (read !== undefined) {
          bodyError.resolve(await catchRejection(read(body!, session), "the read"));
        }
        return ok;
      }),
      onConnect: (session) => onConnect?.(session, released.promise) ?? true,
    }, sent);
    const { session, peer } = pair;
    if (until !== undefined) {
      await until(pair);
      session.close(reason);
      assertClosed(pair);
    }
    if (read !== undefined) {
      assertStrictEquals(await withTimeout(bodyError.promise, "the promise rejects"), reason);
    }
    assertEquals((await peer.readToEnd()).received, received);
    released.resolve(true);
    await pair.sessionEnded;
    assertClosed(pair);
  });
}

Deno.test("the body of a response that an app returns too late is canceled", async () => {
  const returned = Promise.withResolvers<void>();
  const iterator = makeHalves(returned.resolve);
  await iterator.next();
  await using pair = await connectRawPeer((_request, session) => {
    session.close(reason);
    return [200, "OK", {}, new BodyIter(iterator, 5)];
  }, get);
  await withTimeout(returned.promise, "the generator returns");
  await pair.peer.assertClosedSilently();
  assertClosed(pair);
});

Deno.test("closing a session after its last response has no effect, and the response is received", async () => {
  await using pair = await connectRawPeer(
    (_request, session) => {
      // Closing the session right after the body has ended must not discard the response.
      session.signal.addEventListener("abort", () => session.close(reason));
      return [413, "Content Too Large", {}, new Uint8Array(1000)];
    },
    // Closing a socket with unread bytes makes the kernel send a reset, which overtakes the
    // response.
    `PUT / HTTP/1.1\r\ncontent-length: 300000\r\n\r\n${"x".repeat(200_000)}`,
  );
  const { peer, session, serving } = pair;
  await peer.readPreamble();
  const { received, kind: ending } = await peer.readToEnd();
  assertEquals([received.length, ending, serving.server.sessions.size], [1000, "end", 0]);
  const { message, signal } = session;
  assertEquals(message, "the body of a request was left unread (status 413)");
  const endReason = signal.reason;
  assertInstanceOf(endReason, ConnectionClosedError);
  session.close(reason);
  assertEquals(session.message, message);
  assertStrictEquals(signal.reason, endReason);
  assertEquals(serving.logger.lines, [["info", `${session}: ended after ${message}`]]);
});

Deno.test("closing a session that has ended, or closing again, has no effect", async () => {
  const endings: readonly ((pair: ServedRawPeer) => void)[] = [
    ({ peer }) => peer.close(),
    ({ serving }) => serving.server.close(),
  ];
  for (const end of endings) {
    await using endedPair = await connectRawPeer(() => ok, get);
    await endedPair.peer.readPreamble();
    end(endedPair);
    await endedPair.sessionEnded;
    const { message, signal } = endedPair.session;
    const endReason = signal.reason;
    endedPair.session.close(reason);
    assertEquals([endedPair.session.message, endedPair.logger.lines.length], [message, 1]);
    assertStrictEquals(signal.reason, endReason);
  }

  await using closed = await connectRawPeer(() => ok);
  closed.session.close(reason);
  closed.session.close(new Error("another reason"));
  await closed.sessionEnded;
  assertClosed(closed);
});

Deno.test("a reason may be any value, and without one it is a ConnectionClosedError", async () => {
  for (const value of ["text", 0, false, Symbol("reason"), { toString: null }, undefined, null]) {
    const bodyError = Promise.withResolvers<unknown>();
    await using pair = await connectRawPeer(async ({ body }) => {
      bodyError.resolve(await catchRejection(body!.bytes(), "the read"));
      return [400, "Bad Request", {}, null];
    }, bodies["a Body"]);
    await pair.appCalled;
    pair.session.close(value);
    const error = await withTimeout(bodyError.promise, "the read fails");
    if (value === undefined || value === null) assertInstanceOf(error, ConnectionClosedError);
    assertClosed(pair, value ?? error);
    await pair.peer.assertClosedSilently();
  }
});

Deno.test("a closed session releases its slot, even if its app never returns", async () => {
  let callCount = 0;
  await using first = await connectRawPeer(
    () => ++callCount === 1 ? makePendingPromise() : ok,
    get,
    { maxConnections: 1 },
  );
  using second = await RawPeer.connect(first.serving.address, get);
  await first.appCalled;
  first.session.close(reason);
  assertEquals(await second.readPreamble(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await first.peer.assertClosedSilently();
});

Deno.test("closing a session at any moment of a response is reported once", async () => {
  for (let microtasks = 0; microtasks < 40; microtasks++) {
    const socket = new RecordingSocket();
    const { connection, logger, session } = makeServerConnection(socket, (_request, session) => {
      (async () => {
        for (let i = 0; i < microtasks; i++) await null;
        session.close(reason);
      })();
      return ok;
    });
    socket.receive(get);
    connection.serve();
    await withTimeout(connection.slotFreed, "the connection ends");
    for (let i = 0; i < 40; i++) await null;
    const message = "closed by the app: Error: revoked";
    assertEquals(logger.lines, [["debug", `name: ${message}`]], `${microtasks} turns later`);
    assertEquals([session.message, socket.closeCount], [message, 1]);
    assertStrictEquals(session.signal.reason, reason);
  }
});
