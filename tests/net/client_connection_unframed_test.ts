/** Responses without a length, and `connection: close`, at both ends and in the modules above. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { createFetch } from "@degu/degu";
import { ProtocolError } from "@degu/degu/base";
import { Client, Connection, type Response } from "@degu/degu/client";
import type { Session } from "@degu/degu/server";
import { connect, type Connected } from "@degu/testing/connected.ts";
import { assertProtocolRejection, rejectionOf, shown } from "@degu/testing/expectations.ts";
import { serveProxy } from "@degu/testing/proxies.ts";
import { RawPeer, RawServer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const CLOSES = [
  "close",
  "Close",
  "CLOSE",
  "keep-alive, close",
  "close, keep-alive",
  "x,cLoSe,y",
  "upgrade ,  close  , x",
];
const DOES_NOT_CLOSE = [
  "keep-alive",
  "closed",
  "not-close",
  "close-not",
  "close:",
  '"close"',
  "close x",
  "x close",
];

function closing(value: string, status = "200 OK"): string {
  return `HTTP/1.1 ${status}\r\nconnection: ${value}\r\n\r\n`;
}

/** Makes a request and answers it; returns the response to be, once this has arrived and more may be sent. */
async function beginAnswer({ conn, peer }: Connected, bytes: string) {
  const response = conn.get("/");
  response.catch(() => {});
  await peer.readPreamble();
  await peer.send(bytes);
  await turnOfEventLoop();
  // In an object, so that nobody waits for it yet.
  return { response };
}

Deno.test("bytes after a response without a length are a ProtocolError, UNFRAMED_BODY", async (t) => {
  const preambles = [
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 205 Reset Content\r\nx: y\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\n\r\n",
    ...[...CLOSES, ...DOES_NOT_CLOSE].map((value) => closing(value)),
  ];
  for (const preamble of preambles) {
    for (const bytes of ["h", "hello", "HTTP/1.1 200 Forged\r\n\r\n"]) {
      await t.step(shown(preamble + bytes), async () => {
        using ends = await connect();
        const answer = ends.answer(preamble + bytes);
        await assertProtocolRejection(answer, ["UNFRAMED_BODY"], "a body without a length");
        assertEquals(ends.conn.closed, true);
        await ends.peer.assertClosedSilently();
      });
    }
  }
});

Deno.test("a body without a length that comes after the preamble is not seen, and the next request rejects", async (t) => {
  const preamble = "HTTP/1.1 200 OK\r\n\r\n";
  for (const bytes of ["h", "hello", "HTTP/1.1 200 Forged\r\n\r\n"]) {
    await t.step(`${shown(bytes)}, over a connection that is kept`, async () => {
      using ends = await connect();
      const { status, body } = await ends.answer(preamble);
      assertEquals([status, body], [200, null]);
      // Only now, so that no delay on the way puts the two together.
      await ends.peer.send(bytes);
      await turnOfEventLoop();
      await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the next request");
      assertEquals(ends.conn.closed, true);
    });
    await t.step(`${shown(bytes)}, over a connection for one request`, async () => {
      using server = new RawServer();
      const answer = new Client(server.address).request("GET", "/");
      using peer = await server.accept();
      await peer.readPreamble();
      await peer.send(preamble);
      const { status, body } = await answer;
      await peer.send(bytes);
      assertEquals([status, body], [200, null]);
    });
  }
});

Deno.test("with connection: close the end of the connection ends a response without a length", async (t) => {
  for (const value of CLOSES) {
    await t.step(value, async () => {
      using ends = await connect();
      const { response: answer } = await beginAnswer(ends, closing(value));
      assertEquals(ends.conn.closed, false);
      await ends.peer.closeWrite();
      const { status, headers, body } = await answer;
      assertEquals([status, headers["connection"], body], [200, value, null]);
      assertEquals(ends.conn.closed, true);
      await ends.peer.assertClosedSilently();
    });
    await t.step(`${value}, and bytes that come later`, async () => {
      using ends = await connect();
      const { response: answer } = await beginAnswer(ends, closing(value));
      await ends.peer.send("h");
      const error = await rejectionOf(answer, "a body without a length");
      assertInstanceOf(error, ProtocolError);
      assertEquals([error.code, ends.conn.closed], ["UNFRAMED_BODY", true]);
    });
  }
});

Deno.test("a response without a length or connection: close is complete at once, and the connection stays usable", async () => {
  using ends = await connect();
  for (const value of DOES_NOT_CLOSE) {
    assertStrictEquals((await ends.answer(closing(value))).body, null);
    assertEquals(ends.conn.closed, false, value);
  }
});

Deno.test("the wait for the end after connection: close is limited by timeout", async () => {
  using ends = await connect({ timeout: 0.2 });
  const error = await rejectionOf(ends.answer(closing("close")), "a peer that does not close");
  assertInstanceOf(error, Deno.errors.TimedOut);
  assertEquals(ends.conn.closed, true);
});

Deno.test("a reset instead of the end after connection: close is passed on, and is not a missing response", async () => {
  const socket = new RecordingSocket();
  using conn = new Connection(socket, null);
  const written = socket.written();
  const answer = rejectionOf(conn.get("/"), "a reset");
  await written;
  socket.give(closing("close"));
  await turnOfEventLoop();
  const reset = new Deno.errors.ConnectionReset("reset");
  socket.fail(reset);
  assertStrictEquals(await answer, reset);
  assertEquals([conn.closed, socket.closings], [true, 1]);
});

Deno.test("close() ends the wait for the end after connection: close", async () => {
  using ends = await connect();
  const { response: answer } = await beginAnswer(ends, closing("close"));
  const another = await rejectionOf(ends.conn.get("/"), "a request while the first is in flight");
  assert(`${another}`.includes("in flight"), `${another}`);
  ends.conn.close();
  const error = await rejectionOf(answer, "a closed connection");
  assertEquals((error as Error).name, "ConnectionClosedError");
});

Deno.test("connection: close closes the connection after every kind of response", async (t) => {
  const rows: readonly (readonly [method: "GET" | "HEAD", status: string, rest: string])[] = [
    ["HEAD", "200 OK", "\r\n"],
    ["HEAD", "200 OK", "content-length: 5\r\n\r\n"],
    ["GET", "204 No Content", "\r\n"],
    ["GET", "304 Not Modified", "content-length: 5\r\n\r\n"],
    ["GET", "200 OK", "content-length: 0\r\n\r\n"],
    ["GET", "200 OK", "content-length: 5\r\n\r\nhello"],
    ["GET", "200 OK", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
  ];
  for (const [method, status, rest] of rows) {
    await t.step(`${method}: ${status} ${shown(rest)}`, async () => {
      using ends = await connect();
      const responding = ends.conn.request(method, "/", {}, null);
      await ends.peer.readPreamble();
      await ends.peer.send(`HTTP/1.1 ${status}\r\nconnection: close\r\n${rest}`);
      const { body } = await responding;
      const hasBytes = rest.includes("hello");
      assertEquals(ends.conn.closed, !hasBytes);
      if (body !== null) assertEquals(await body.text(), hasBytes ? "hello" : "");
      assertEquals(ends.conn.closed, true);
      await ends.peer.assertClosedSilently();
    });
  }
});

Deno.test("an invalid status is reported before a body without a length", async () => {
  for (const status of ["100 Continue", "103 Early Hints"]) {
    for (const bytes of ["", "hello"]) {
      using ends = await connect();
      const answer = ends.answer(closing("close", status) + bytes);
      await assertProtocolRejection(answer, ["UNEXPECTED_STATUS"], `${status} ${bytes}`);
    }
  }
});

Deno.test("a reset after a response with connection: close that refuses an upload counts as its end", async () => {
  const socket = new RecordingSocket();
  using conn = new Connection(socket, null);
  socket.writeFailure = new Deno.errors.BrokenPipe("the peer has closed");
  const tried = socket.written();
  const upload = conn.put("/", {}, latin1("hello"));
  await tried;
  await turnOfEventLoop();
  socket.give(closing("close", "413 Content Too Large"));
  await turnOfEventLoop();
  socket.fail(new Deno.errors.ConnectionReset("reset"));
  const { status, body } = await upload;
  assertEquals([status, body, conn.closed], [413, null, true]);
});

// ───────────────────────── what stands on a connection

/** A server that answers every request with these bytes, and then closes or waits. */
async function answerAll(server: RawServer, bytes: string, closes: boolean): Promise<void> {
  for (;;) {
    let peer: RawPeer;
    try {
      peer = await server.accept();
    } catch {
      return;
    }
    await peer.readPreamble();
    await peer.send(bytes);
    if (closes) peer.close();
  }
}

/** What a promise resolves or rejects with. */
async function outcome(promise: Promise<{ readonly status: number }>): Promise<unknown> {
  try {
    const response = await promise;
    return [response.status, (response as Response).body === null ? null : "a body"];
  } catch (error) {
    const thrown = error instanceof TypeError ? error.cause : error;
    return thrown instanceof ProtocolError ? thrown.code : (thrown as Error).name;
  }
}

Deno.test("client.request, createFetch and ProxyApp handle a response without a length", async (t) => {
  const rows: readonly [bytes: string, closes: boolean, client: unknown, proxy: unknown][] = [
    [closing("close") + "hello", true, "UNFRAMED_BODY", [502, "a body"]],
    [closing("close"), true, [200, null], [200, null]],
    [closing("close"), false, "TimedOut", [504, "a body"]],
    ["HTTP/1.1 200 OK\r\n\r\nhello", true, "UNFRAMED_BODY", [502, "a body"]],
  ];
  for (const [bytes, closes, client, proxy] of rows) {
    await t.step(`${shown(bytes)}, ${closes ? "and closes" : "and stays"}`, async () => {
      const server = new RawServer();
      const answering = answerAll(server, bytes, closes);
      try {
        const upstream = new Client(server.address, { timeout: 0.3 });
        assertEquals(await outcome(upstream.request("GET", "/")), client);
        assertEquals(await outcome(createFetch(upstream)("/")), client);
        await using relay = serveProxy(server.address, { timeout: 0.3 });
        assertEquals(await outcome(relay.makeClient().request("GET", "/")), proxy);
      } finally {
        server[Symbol.dispose]();
        await within(answering, "the server ends");
      }
    });
  }
});

// ───────────────────────── the server

Deno.test("connection: close from an app ends the session after that response", async (t) => {
  for (const [values, ends] of [[CLOSES, true], [DOES_NOT_CLOSE, false]] as const) {
    for (const value of values) {
      await t.step(value, async () => {
        const sessions: Session[] = [];
        await using serving = serve((_request, session) => {
          sessions.push(session);
          return [200, "OK", { connection: value }, latin1("hello")];
        });
        using peer = await RawPeer.connect(serving.address);
        await peer.send("GET / HTTP/1.1\r\n\r\n".repeat(3));
        // Its end is told while this side is still open.
        if (!ends) await peer.closeWrite();
        const { received, how } = await peer.readToEnd();
        assertEquals([received.split("hello").length - 1, how], [ends ? 1 : 3, "end"]);
        assertEquals(sessions[0]?.requests, ends ? 1 : 3);
        const message = sessions[0]?.message ?? "";
        assertEquals(message.includes("connection: close"), ends, message);
        assertEquals(serving.logger.at("error"), []);
      });
    }
  }
});
