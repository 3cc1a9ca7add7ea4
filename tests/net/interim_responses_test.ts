/** Interim responses (RFC 9110 §15.2): a client skips them, and waits for the response. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { createFetch } from "@degu/degu";
import { EmptyPreambleError, ProtocolError, type Response } from "@degu/degu/base";
import { Client, ConnectionPool, isTransient } from "@degu/degu/client";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection, catchRejection } from "@degu/testing/expectations.ts";
import { serveProxy } from "@degu/testing/proxies.ts";
import { isBroken, type RawPeer, RawServer, waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

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
    assertInstanceOf(error, ProtocolError);
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
    assertInstanceOf(error, Deno.errors.TimedOut);
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
    let controller!: ReadableStreamDefaultController<Uint8Array>;
    const cancelReasons: unknown[] = [];
    const upload = new ReadableStream<Uint8Array>({
      start: (streamController) => void (controller = streamController),
      cancel: (reason) => void cancelReasons.push(reason),
    });
    let response: Response | null = null;
    const responding = pair.conn.put("/", {}, upload, { duplex })
      .then((received) => response = received);
    await pair.peer.readPreamble();
    for (const text of ["hello", "world"]) {
      await pair.peer.send(CONTINUE, ..."HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
      await waitForTick();
      assertEquals(response, null);
      controller.enqueue(encodeLatin1(text));
      assertEquals(await pair.peer.readUntil(`${text}\r\n`), `5\r\n${text}\r\n`);
    }
    controller.close();
    await pair.peer.readUntil("0\r\n\r\n");
    await pair.peer.send(CONTINUE);
    await waitForTick();
    assertEquals(response, null);
    await pair.peer.send(RESPONSE);
    assertEquals(await (await responding).text(), "hello");
    assertEquals([pair.conn.closed, cancelReasons], [false, []]);
    const nextResponse = await pair.answer(RESPONSE);
    assertEquals(await nextResponse.text(), "hello");
  });

  Deno.test(`duplex ${duplex}: an early response after an interim response is received`, async () => {
    using pair = await connect();
    const cancelReasons: unknown[] = [];
    const upload = new ReadableStream<Uint8Array>({
      cancel: (reason) => void cancelReasons.push(reason),
    });
    const responding = pair.conn.put("/", {}, upload, { duplex });
    const refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
    await pair.peer.respond(CONTINUE + refusal);
    const response = await responding;
    assertEquals([response.status, await response.text()], [413, "no"]);
    assertEquals(cancelReasons.length, 1);
  });

  Deno.test(`duplex ${duplex}: while an upload waits for its source, an interim response starts no time-out`, async () => {
    using pair = await connect({ timeout: 0.3 });
    let controller!: ReadableStreamDefaultController<Uint8Array>;
    const upload = new ReadableStream<Uint8Array>({
      start: (streamController) => void (controller = streamController),
    });
    const responding = pair.conn.put("/", {}, upload, { duplex });
    await pair.peer.respond(CONTINUE);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    controller.close();
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
