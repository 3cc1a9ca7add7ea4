/**
 * Interim responses (RFC 9110 §15.2): a client skips them, and waits for the response. A server
 * sends one 100 at most (§10.1.1), before the response, and only when the app reads a body of which
 * no byte has arrived.
 */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { ConnectionPool, createFetch, ProxyApp } from "@degu/degu";
import {
  BodyIter,
  type BodyOut,
  ConnectionError,
  EmptyPreambleError,
  type Response,
} from "@degu/degu/base";
import { Client, Connection, isTransient } from "@degu/degu/client";
import { connect } from "./connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { connectThrough, serveProxy } from "../../apps/proxies.ts";
import { isBroken, RawPeer, RawServer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import type { App, ResponseTuple } from "@degu/degu/server";
import { captureIntervals, recordIntervals } from "@degu/testing/clock.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { endpointKinds } from "../endpoints.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { makeServerConnection, serve } from "@degu/testing/serving.ts";
import { ignoreUnlessInstalled, runWithInput } from "../tls/tls_openssl.ts";
import { Upload } from "./upload.ts";

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const RESPONSE = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const MAX_COUNT = 32;

const ACCEPTED: readonly (readonly [name: string, bytes: string])[] = [
  ["100", CONTINUE],
  ["102", "HTTP/1.1 102 Processing\r\n\r\n"],
  ["103 with headers", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n"],
  ["199 with an empty reason", "HTTP/1.1 199 \r\n\r\n"],
  ["content-length: 0, as icecast sends", "HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n"],
  ["connection: close", "HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n"],
  ["version 1.0", "HTTP/1.0 100 Continue\r\n\r\n"],
  ["several", CONTINUE + "HTTP/1.1 103 Early Hints\r\n\r\n" + CONTINUE],
  [`${MAX_COUNT}`, CONTINUE.repeat(MAX_COUNT)],
  ["32 KiB", `HTTP/1.1 100 Continue\r\nx: ${"y".repeat(32768 - 30)}\r\n\r\n`],
];

Deno.test("interim responses are skipped, and the connection is used again", async (t) => {
  await testEachRow(t, ACCEPTED, async (_name, bytes) => {
    using pair = await connect();
    for (const sent of [bytes + RESPONSE, RESPONSE]) {
      const response = await pair.answer(sent);
      assertEquals([response.status, await response.text()], [200, "hello"]);
    }
    const [headResponse] = await Promise.all([
      pair.conn.head("/"),
      pair.peer.respond(`${bytes}HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n`),
    ]);
    assertEquals(headResponse.headers["content-length"], 5);
    assertEquals(pair.conn.closed, false);
  });
});

Deno.test("interim responses are skipped byte by byte, and a close between or within them is an error", async () => {
  const early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
  const bytes = CONTINUE + early;
  using whole = await connect();
  const [response] = await Promise.all([
    whole.conn.get("/"),
    whole.peer.respond(...bytes + RESPONSE),
  ]);
  assertEquals(await response.text(), "hello");
  const boundaries = [0, CONTINUE.length, bytes.length];
  for (let end = 0; end <= bytes.length; end++) {
    using pair = await connect();
    const failure = catchRejection(pair.conn.get("/"), `cut after ${end} bytes`);
    await pair.peer.respond(bytes.slice(0, end));
    await pair.peer.closeWrite();
    const error = await failure;
    assertInstanceOf(error, ConnectionError);
    const code = boundaries.includes(end) ? "EMPTY_PREAMBLE" : "PREAMBLE_INCOMPLETE";
    assertEquals(error.code, code, `cut after ${end} bytes`);
    assertEquals(pair.conn.closed, true);
    await pair.peer.assertClosedSilently();
  }
});

Deno.test("an interim response is refused if it switches protocols, has content, is invalid, or is the thirty-third", async (t) => {
  const rows: readonly (readonly [bytes: string, code: string])[] = [
    ["HTTP/1.1 101 Switching Protocols\r\n\r\n", "UNEXPECTED_STATUS"],
    [CONTINUE + "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n", "UNEXPECTED_STATUS"],
    ["HTTP/1.1 100 Continue\r\ncontent-length: 1\r\n\r\nx", "UNEXPECTED_STATUS"],
    ["HTTP/1.1 103 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "UNEXPECTED_STATUS"],
    [
      "HTTP/1.1 100 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n",
      "CONFLICTING_HEADERS",
    ],
    ["HTTP/1.1 100 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n", "DUPLICATE_HEADER"],
    ["HTTP/1.1 099 OK\r\n\r\n", "BAD_STATUS"],
    ["HTTP/1.1 100\r\n\r\n", "BAD_STATUS_LINE"],
    ["HTTP/1.1 100 Continue\r\nx : y\r\n\r\n", "BAD_HEADER_NAME"],
    ["\r\n" + CONTINUE, "BAD_STATUS_LINE"],
    [CONTINUE + "\r\n", "BAD_STATUS_LINE"],
    [CONTINUE.repeat(MAX_COUNT + 1), "UNEXPECTED_STATUS"],
    [`HTTP/1.1 100 OK\r\nx: ${"y".repeat(32768)}\r\n\r\n`, "PREAMBLE_TOO_LARGE"],
  ];
  for (const [bytes, code] of rows) {
    await t.step(JSON.stringify(bytes).slice(0, 70), async () => {
      using pair = await connect();
      const answer = pair.answer(bytes + RESPONSE);
      await assertProtocolRejection(answer, [code], bytes.slice(0, 70));
      assertEquals(pair.conn.closed, true);
    });
  }
});

/** Sends pieces with pauses, until the other side closes. Returns the number of sent pieces. */
async function sendSlowly(peer: RawPeer, pieces: Iterable<string>): Promise<number> {
  let count = 0;
  try {
    for (const piece of pieces) {
      await new Promise((resolve) => setTimeout(resolve, 150));
      await peer.send(piece);
      count++;
    }
  } catch (error) {
    if (!isBroken(error)) throw error;
  }
  return count;
}

Deno.test("one time-out bounds all interim responses", async (t) => {
  await testEachRow(t, [
    ["one after the other", Array(MAX_COUNT).fill(CONTINUE)],
    ["byte by byte", [...CONTINUE.repeat(MAX_COUNT)]],
  ], async (_name, pieces: string[]) => {
    using pair = await connect({ timeout: 1 });
    const failure = catchRejection(pair.conn.get("/"), "interim responses without end");
    await pair.peer.readPreamble();
    const [error, sentCount] = await Promise.all([failure, sendSlowly(pair.peer, pieces)]);
    assertInstanceOf(error, ConnectionError);
    assertEquals(error.fault, "timed out");
    assert(sentCount < pieces.length, `${sentCount} pieces`);
  });
});

Deno.test("a request that fails after an interim response was maybe processed, unless it is safe", async () => {
  for (const method of ["GET", "POST"] as const) {
    using server = new RawServer();
    await using pool = new ConnectionPool(new Client(server.address, { host: null, timeout: 60 }));
    const body = method === "POST" ? "x" : null;
    const failure = catchRejection(pool.request(method, "/", {}, body), "a closed connection");
    const peer = await server.respond(CONTINUE);
    if (body !== null) await peer.readExactly(body.length);
    await peer.closeWrite();
    const error = await failure;
    assertInstanceOf(error, EmptyPreambleError);
    assertEquals(isTransient(error), method === "GET");
  }
});

// ───────────────────────── during an upload

for (const duplex of ["half", "full"] as const) {
  Deno.test(`duplex ${duplex}: an interim response during an upload is no early response, and the upload goes on`, async () => {
    using pair = await connect();
    const upload = new Upload();
    let response: Response | null = null;
    const responding = pair.conn.put("/", {}, upload.stream, { duplex })
      .then((received) => response = received);
    await pair.peer.readPreamble();
    for (const text of ["hello", "world"]) {
      await pair.peer.send(CONTINUE, ..."HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
      await waitForTick();
      assertEquals(response, null);
      upload.send(text);
      assertEquals(await pair.peer.readUntil(`${text}\r\n`), `5\r\n${text}\r\n`);
    }
    upload.end();
    await pair.peer.readUntil("0\r\n\r\n");
    await pair.peer.send(CONTINUE);
    await waitForTick();
    assertEquals(response, null);
    await pair.peer.send(RESPONSE);
    assertEquals(await (await responding).text(), "hello");
    assertEquals([pair.conn.closed, upload.cancelReasons], [false, []]);
    const nextResponse = await pair.answer(RESPONSE);
    assertEquals(await nextResponse.text(), "hello");
  });

  Deno.test(`duplex ${duplex}: an early response after an interim response is received`, async () => {
    using pair = await connect();
    const upload = new Upload();
    const responding = pair.conn.put("/", {}, upload.stream, { duplex });
    const refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
    await pair.peer.respond(CONTINUE + refusal);
    const response = await responding;
    assertEquals([response.status, await response.text()], [413, "no"]);
    assertEquals(upload.cancelReasons.length, 1);
  });

  Deno.test(`duplex ${duplex}: while an upload waits for its source, an interim response starts no time-out`, async () => {
    using pair = await connect({ timeout: 0.3 });
    const upload = new Upload();
    const responding = pair.conn.put("/", {}, upload.stream, { duplex });
    await pair.peer.respond(CONTINUE);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    upload.end();
    await pair.peer.readUntil("0\r\n\r\n");
    await pair.peer.send(RESPONSE);
    assertEquals(await (await responding).text(), "hello");
  });
}

Deno.test("createFetch skips interim responses, and ProxyApp doesn't forward them", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { host: null, timeout: 60 });
  await using proxy = serveProxy(server.address);
  const requesters = [
    async () => await (await createFetch(client)("/")).text(),
    async () => await (await proxy.makeClient().request("GET", "/")).text(),
  ];
  for (const request of requesters) {
    const [text] = await Promise.all([request(), server.respond(CONTINUE + CONTINUE + RESPONSE)]);
    assertEquals(text, "hello");
  }
});

// ───────────────────────── 100 Continue

const EXPECT = "expect: 100-continue\r\n";
const LENGTH = "content-length: 5\r\n";
const CHUNKED = "transfer-encoding: chunked\r\n";
const CHUNKS = "5\r\nhello\r\n0\r\n\r\n";
const CLOSE = "connection: close\r\n";

const put = (...headers: string[]) => `PUT / HTTP/1.1\r\n${headers.join("")}\r\n`;

/** Formats a response of an app with a text. */
const ok = (text: string, close = "") =>
  `HTTP/1.1 200 OK\r\n${close}content-length: ${text.length}\r\n\r\n${text}`;
const empty = (statusLine: string, close = "") =>
  `HTTP/1.1 ${statusLine}\r\n${close}content-length: 0\r\n\r\n`;

const respond = (body: BodyOut): ResponseTuple => [200, "OK", {}, body];
const readText: App = async (request) => respond(await request.text());

/**
 * Starts a server of each kind, and one behind a proxy; `connect` opens a connection for raw bytes.
 */
const places = [
  ...["IPv4", "Unix path", "abstract name", "TLS over IPv4", "TLS over a Unix path"].map((name) =>
    [name, false] as const
  ),
  ["IPv4", true] as const,
];

async function start(app: App, [name, isProxied]: (typeof places)[number]) {
  const stack = new AsyncDisposableStack();
  const kind = endpointKinds.find((kind) => kind.name === name)!;
  const upstream = stack.use(await kind.start(app));
  let { client } = upstream;
  if (isProxied) {
    const proxyApp = stack.use(new ProxyApp(client));
    client = stack.use(serve((request, session) => proxyApp.handle(request, session)))
      .makeClient() as typeof client;
  }
  return {
    async connect() {
      const connection = await client.connect();
      // A connection that is garbage collected closes its socket.
      stack.defer(() => connection.close());
      return new RawPeer(connection.sock as Deno.Conn);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Sends text in one write, or byte by byte. */
const WAYS = {
  "in one piece": (text: string) => [text],
  "byte by byte": (text: string) => [...text],
};

/** What a client sends and then receives, step by step; and whether the session then ends. */
interface Dialog {
  readonly app: App;
  readonly steps: readonly (readonly [sent: string, received: string])[];
  readonly isLast?: boolean;
  /** Steps through a proxy, whose own app reads every body. */
  readonly proxied?: readonly (readonly [sent: string, received: string])[] | null;
}

const whole = [[put(EXPECT, LENGTH), CONTINUE], ["hello", ok("hello")]] as const;

/** Makes a dialog whose only response arrives before the body, and ends the session. */
function makeUnreadDialog(app: App, received: string): Dialog {
  return { app, steps: [[put(EXPECT, LENGTH), received]], isLast: true, proxied: null };
}

const dialogs: Readonly<Record<string, Dialog>> = {
  "the app reads a body of known length": { app: readText, steps: whole },
  "the app reads chunks": {
    app: readText,
    steps: [[put(EXPECT, CHUNKED), CONTINUE], [CHUNKS, ok("hello")]],
  },
  "each request of a session": {
    app: readText,
    steps: [
      ...whole,
      [put(LENGTH) + "hello", ok("hello")],
      ...whole,
      ["GET / HTTP/1.1\r\n\r\n", ok("")],
      ...whole,
    ],
  },
  "the last request": {
    app: readText,
    steps: [[put(EXPECT, LENGTH, CLOSE), CONTINUE], ["hello", ok("hello", CLOSE)]],
    isLast: true,
  },
  // No 100.
  "the body came with the preamble": {
    app: readText,
    steps: [[put(EXPECT, LENGTH) + "hello", ok("hello")], [
      put(EXPECT, CHUNKED) + CHUNKS,
      ok("hello"),
    ]],
  },
  "a part of the body came with the preamble": {
    app: readText,
    steps: [[put(EXPECT, LENGTH) + "h", ""], ["ello", ok("hello")]],
  },
  "an app that never reads": makeUnreadDialog(() => respond(null), empty("200 OK", CLOSE)),
  "an app that refuses the announced length": makeUnreadDialog(
    async (request) => respond(await request.text({ maxBytes: 4 })),
    empty("413 Content Too Large", CLOSE),
  ),
  "an app that reads after its response has begun": {
    app: (request) => {
      const read = async function* () {
        yield "a";
        yield await request.text();
      };
      return respond(read());
    },
    steps: [
      [put(EXPECT, LENGTH), `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n1\r\na\r\n`],
      ["hello", "5\r\nhello\r\n0\r\n\r\n"],
    ],
    proxied: null,
  },
  "no body": {
    app: readText,
    steps: [
      [put(EXPECT, "content-length: 0\r\n"), ok("")],
      [put(EXPECT), ok("")],
      [`GET / HTTP/1.1\r\n${EXPECT}\r\n${put(LENGTH)}`, ok("")],
      ["hello", ok("hello")],
    ],
  },
  "a pipelined request after it": {
    app: readText,
    steps: [[`${put(EXPECT, LENGTH)}helloGET / HTTP/1.1\r\n\r\n`, ok("hello") + ok("")]],
  },
  "another expectation": {
    app: readText,
    steps: [
      ...["200-ok", "100", "100-continue, 100-continue", "100-continue;q=1", "x=100-continue"],
      ...['"100-continue"', "x, 100-continue", "100-continue,", "100 continue"],
    ].flatMap((value) =>
      [[put(`expect: ${value}\r\n`, LENGTH), ""], ["hello", ok("hello")]] as const
    ),
  },
};

for (const place of places) {
  const [name, isProxied] = place;
  const label = isProxied ? `${name}, through a proxy` : name;
  Deno.test(`a server sends 100 exactly once if the app reads a body of which no byte has arrived, over ${label}`, async (t) => {
    const rows = Object.entries(dialogs);
    await testEachRow(t, rows, async (_name, dialog) => {
      const { app, steps, isLast, proxied = steps } = dialog;
      const ownSteps = isProxied ? proxied : steps;
      if (ownSteps === null) return;
      await using ends = await start(app, place);
      for (const [way, cut] of Object.entries(WAYS)) {
        using peer = await ends.connect();
        for (const [sent, received] of ownSteps) {
          // Byte by byte, the start of a body that follows its preamble at once might be too late.
          const preambleEnd = sent.indexOf("\r\n\r\n");
          const isCut = preambleEnd < 0 || preambleEnd === sent.length - 4;
          await peer.send(...(isCut ? cut(sent) : [sent]));
          if (received === "") await waitForTick();
          else assertEquals(await peer.readExactly(received.length), received, way);
        }
        if (!isLast) await peer.closeWrite();
        assertEquals((await peer.readToEnd()).received, "", way);
      }
    });
  });
}

Deno.test("a 100 that the socket takes byte by byte is complete before the response", async () => {
  const socket = new RecordingSocket({ perWrite: 1 });
  const { connection } = makeServerConnection(socket, ({ body }) => {
    body!.read().catch(() => {});
    return [403, "Forbidden", {}, null];
  });
  socket.receive(put(EXPECT, LENGTH));
  const serving = connection.serve();
  const expected = CONTINUE + empty("403 Forbidden", CLOSE);
  while (socket.writes.length < expected.length) await waitForTick();
  socket.end();
  await serving;
  assertEquals(socket.writes.join(""), expected);
});

/** A socket that tells when its second read begins. */
class TwiceReadSocket extends RecordingSocket {
  readonly secondRead = Promise.withResolvers<void>();
  #readCount = 0;

  override read(into: Uint8Array): Promise<number | null> {
    if (++this.#readCount === 2) this.secondRead.resolve();
    return super.read(into);
  }
}

Deno.test("a read that waits for a probe of the peer sends 100, unless the probe has found bytes", async (t) => {
  using _intervals = recordIntervals(10);
  for (
    const [label, early] of [["no bytes", ""], ["a part", "h"], ["all bytes", "hello"]] as const
  ) {
    await t.step(label, async () => {
      const bodyWanted = Promise.withResolvers<void>();
      const socket = new TwiceReadSocket();
      const { connection } = makeServerConnection(socket, async (request, session) => {
        assertEquals(session.signal.aborted, false); // starts the probes
        await bodyWanted.promise;
        return respond(await request.text());
      });
      socket.receive(put(EXPECT, LENGTH));
      const serving = connection.serve();
      await withTimeout(socket.secondRead.promise, "a probe");
      socket.receive(early);
      await waitForTick();
      assertEquals(socket.writes, []);
      bodyWanted.resolve();
      const expected = early === "" ? CONTINUE : "";
      for (const byte of "hello".slice(early.length)) {
        await waitForTick();
        assertEquals(socket.writes.join(""), expected);
        socket.receive(byte);
      }
      await waitForTick();
      socket.end();
      await serving;
      assertEquals(socket.writes.join(""), expected + ok("hello"));
    });
  }
});

/** A socket whose writes end when the test lets them. */
class SlowlyWrittenSocket extends RecordingSocket {
  readonly written = Promise.withResolvers<void>();

  override async write(bytes: Uint8Array): Promise<number> {
    const count = await super.write(bytes);
    await this.written.promise;
    return count;
  }
}

Deno.test("bytes that arrive while a 100 is written are read at once, also if another probe of the peer waits", async () => {
  using probes = captureIntervals(300);
  const socket = new SlowlyWrittenSocket();
  const { connection } = makeServerConnection(socket, async (request, session) => {
    assertEquals(session.signal.aborted, false); // starts the probes
    probes.tick();
    return respond(await request.text());
  });
  const writeStarted = socket.waitForWrite();
  socket.receive(put(EXPECT, LENGTH));
  const serving = connection.serve();
  await withTimeout(writeStarted, "a 100", 60);
  socket.receive("hello");
  await waitForTick();
  probes.tick();
  const responseStarted = socket.waitForWrite();
  socket.written.resolve();
  await withTimeout(responseStarted, "the response", 60);
  socket.end();
  await serving;
  assertEquals(socket.writes.join(""), CONTINUE + ok("hello"));
});

Deno.test("a session whose 100 can't be written ends, and its app gets the error, also beside a probe", async () => {
  using _intervals = recordIntervals(10);
  for (const isProbing of [false, true]) {
    const socket = new TwiceReadSocket();
    const errors: unknown[] = [];
    const { connection } = makeServerConnection(socket, async (request, session) => {
      if (isProbing) {
        assertEquals(session.signal.aborted, false);
        await withTimeout(socket.secondRead.promise, "a probe");
      }
      socket.writeFailure = new Deno.errors.BrokenPipe("gone");
      errors.push(await catchRejection(request.text(), "the read"));
      return respond("");
    });
    socket.receive(put(EXPECT, LENGTH));
    await connection.serve();
    const causes = errors.map((error) => (error as ConnectionError).cause);
    assertEquals([causes, socket.writes], [[socket.writeFailure], []]);
  }
});

Deno.test("a proxy answers expect itself: it sends 100 when it forwards the body, and none if it can't connect", async () => {
  await using chain = await connectThrough();
  const { clientPeer, upstream } = chain;
  await clientPeer.send(put(EXPECT, LENGTH));
  const upstreamPeer = await upstream.accept();
  assertEquals(await upstreamPeer.readPreamble(), put(LENGTH));
  assertEquals(await clientPeer.readPreamble(), CONTINUE);
  await clientPeer.send("hello");
  assertEquals(await upstreamPeer.readExactly(5), "hello");
  await upstreamPeer.send(ok("fine"));
  assertEquals(await clientPeer.readExactly(ok("fine").length), ok("fine"));

  await using proxy = serveProxy(["127.0.0.1", await findUnusedPort()]);
  using peer = await RawPeer.connect(proxy.address, put(EXPECT, LENGTH));
  assertEquals((await peer.readToEnd()).received, empty("503 Service Unavailable", CLOSE));
});

Deno.test({
  name: "curl -T uploads at once, with and without expect, and doesn't upload what is refused",
  ...await ignoreUnlessInstalled("curl"),
  async fn() {
    await using dir = await createTempDir();
    const content = new Uint8Array(3_000_000).fill(120);
    await Deno.writeFile(`${dir.path}/file`, content);
    await using serving = serve(async (request) => {
      if (request.path[0] === "refused") return [403, "Forbidden", {}, null];
      return respond(`${(await request.bytes()).length}`);
    });
    const [, port] = serving.address as [string, number];
    // Without an answer to expect, curl would wait for a minute.
    const flags = ["--silent", "--show-error", "--noproxy", "*", "--expect100-timeout", "60"];
    const rows: [uri: string, printed: string, ...args: string[]][] = [
      ["accepted", "3000000 200 3000000"],
      ["accepted", "3000000 200 3000000", "-H", "Expect: 100-continue"],
      ["accepted", "3000000 200 3000000", "-H", "Expect:"],
      ["accepted", "3000000 200 3000000", "-H", "Transfer-Encoding: chunked"],
      ["refused", " 403 0"],
      ["refused", " 403 0", "-H", "Expect: 100-continue"],
    ];
    for (const [uri, printed, ...args] of rows) {
      const url = `http://127.0.0.1:${port}/${uri}`;
      const format = ["--write-out", " %{http_code} %{size_upload}"];
      const upload = ["-T", `${dir.path}/file`];
      const { code, stdout } = await withTimeout(
        runWithInput("curl", [...flags, ...format, ...args, ...upload, url], ""),
        "curl ends",
        30,
      );
      // A chunked upload has a few bytes more.
      const isChunked = args.includes("Transfer-Encoding: chunked");
      assertEquals([code, isChunked ? stdout.slice(0, 11) : stdout], [
        0,
        isChunked ? printed.slice(0, 11) : printed,
      ], `${uri} ${args}`);
    }
  },
});

// ───────────────────────── the client

Deno.test("a client refuses to send expect, before it connects or sends a byte", async (t) => {
  let connections = 0;
  await using serving = serve({ handle: readText, onConnect: () => ++connections > 0 });
  const client = serving.makeClient();
  await using pool = new ConnectionPool(client);
  const message = /^headers\["expect"\]: must be left out, because .* 100 Continue; .* forward$/;
  const rows: Record<string, () => unknown> = {
    "a client": () => client.request("PUT", "/", { expect: "100-continue" }, "hello"),
    "another value": () => client.request("GET", "/", { expect: "x" }),
    "a pool": () => pool.request("PUT", "/", { expect: "100-Continue" }, "hello"),
    "headers of a client": () => serving.makeClient({ headers: { expect: "100-continue" } }),
  };
  await testEachRow(t, Object.entries(rows), async (label, request) => {
    const error = await catchRejection((async () => await request())(), label);
    assertInstanceOf(error, RangeError);
    assertMatch(error.message, message);
  });
  await t.step("fetch", async () => {
    const fetch = createFetch(client);
    const headers = { expect: "100-continue" };
    const error = await catchRejection(fetch("/", { method: "PUT", body: "a", headers }), "fetch");
    assertInstanceOf(error, TypeError);
    assertMatch((error.cause as Error).message, message);
  });
  assertEquals(connections, 0);
  await t.step("a connection, which stays usable", async () => {
    using conn = await client.connect();
    assertInstanceOf(await catchRejection(conn.put("/", { expect: "x" }, "a"), "put"), RangeError);
    assertEquals(await (await conn.put("/", { expect: undefined }, "a")).text(), "a");
    using inner = await client.connect();
    using based = new Connection(inner.sock, { expect: "100-continue" });
    assertInstanceOf(await catchRejection(based.get("/"), "base headers"), RangeError);
  });
});

Deno.test("once a request was sent, one time-out limits all that comes before the response's end, also after an interim response", async () => {
  using intervals = captureIntervals(1000);
  const socket = new RecordingSocket();
  using connection = new Connection(socket, {}, undefined, 8);
  const { promise, resolve } = Promise.withResolvers<void>();
  async function* source() {
    await promise;
    yield new Uint8Array(1);
  }
  const response = connection.put("/", {}, new BodyIter(source(), 1));
  const steps = [
    () => socket.receive("HTTP/1.1 100 Continue\r\n\r\n"),
    resolve,
    ...Array(8).fill(intervals.tick),
    () => socket.receive("HTTP/1.1 2"),
  ];
  for (const step of steps) {
    await waitForTick();
    step();
  }
  await waitForTick();
  assertEquals(connection.closed, false);
  intervals.tick();
  const { fault } = await assertRejects(() => response, ConnectionError);
  assertEquals(fault, "timed out");
});
