/** Which bytes a client's connection accepts as a response, and what it does with all others. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import {
  ChunkedBody,
  EmptyPreambleError,
  ProtocolError,
  type Response,
  TlsError,
} from "@degu/degu/base";
import { Client, Connection, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { Server } from "@degu/degu/server";
import { explainRefusal } from "@degu/internal/net/client_connection.ts";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection, rejectionOf, shown } from "@degu/testing/expectations.ts";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";

const lengthResponse = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello";
const chunkedResponse =
  "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3;k=v\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const bareResponse = "HTTP/1.1 404 Not Found\r\nx: y\r\n\r\n";

/** Everything that a response says. */
async function told({ status, reason, headers, body }: Response): Promise<unknown> {
  const chunks = [];
  if (body instanceof ChunkedBody) {
    for await (const [extension, data] of body) chunks.push([extension, [...data]]);
  } else if (body !== null) {
    chunks.push(await body.text());
  }
  return { status, reason, headers: { ...headers }, chunks };
}

Deno.test("a response is parsed the same however its bytes were split", async (t) => {
  for (const bytes of [lengthResponse, chunkedResponse, bareResponse]) {
    await t.step(shown(bytes), async () => {
      using whole = await connect();
      const expected = await told(await whole.answer(bytes));
      for (let at = 1; at < bytes.length; at++) {
        const socket = new RecordingSocket();
        using conn = new Connection(socket, null);
        const written = socket.written();
        const telling = conn.get("/").then(told);
        await written;
        socket.give(bytes.slice(0, at));
        await turnOfTasks();
        socket.give(bytes.slice(at));
        assertEquals(await telling, expected, `split at ${at}`);
      }
      const socket = new RecordingSocket({ perRead: 1 });
      using conn = new Connection(socket, null);
      const written = socket.written();
      const telling = conn.get("/").then(told);
      await written;
      socket.give(bytes);
      assertEquals(await telling, expected, "byte by byte");
    });
  }
});

/** Resolves once everything that can go on without an event has gone on. */
async function turnOfTasks(): Promise<void> {
  await new Promise<void>((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      port2.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

Deno.test("a response that is cut after any byte is an error, and closes the connection", async (t) => {
  for (const bytes of [lengthResponse, chunkedResponse, bareResponse]) {
    await t.step(shown(bytes), async () => {
      const preambleEnd = bytes.indexOf("\r\n\r\n") + 4;
      for (let at = 0; at < bytes.length; at++) {
        using ends = await connect();
        const telling = rejectionOf(ends.conn.get("/").then(told), `cut after ${at} bytes`);
        await ends.peer.readPreamble();
        await ends.peer.send(bytes.slice(0, at));
        await ends.peer.closeWrite();
        const error = await telling;
        assertInstanceOf(error, ProtocolError);
        const code = at < preambleEnd ? "PREAMBLE_INCOMPLETE" : "BODY_INCOMPLETE";
        assertEquals(error.code, at === 0 ? "EMPTY_PREAMBLE" : code, `cut after ${at} bytes`);
        assertEquals(error instanceof EmptyPreambleError, at === 0);
        assertEquals(ends.conn.closed, true);
        await ends.peer.assertClosedSilently();
      }
    });
  }
});

Deno.test("a reset before the first byte of a response is an EmptyPreambleError", async (t) => {
  await t.step("after the request was read", async () => {
    using ends = await connect();
    const error = rejectionOf(ends.conn.get("/"), "a request");
    await ends.peer.readUntil("GET / HTTP");
    // Bytes that nobody has read make it a reset.
    await ends.conn.sock.write(new Uint8Array(1));
    await turnOfEventLoop();
    ends.peer.close();
    assertInstanceOf(await error, EmptyPreambleError);
    assertEquals(ends.conn.closed, true);
  });
  await t.step("between requests", async () => {
    using ends = await connect();
    await ends.answer("HTTP/1.1 200 OK\r\n\r\n");
    ends.peer.close();
    await turnOfEventLoop();
    await assertRejects(() => ends.conn.get("/"), EmptyPreambleError);
    assertEquals(ends.conn.closed, true);
  });
});

Deno.test("only a reset, an abort and a broken pipe before a response mean that the peer has left", async (t) => {
  const { ConnectionReset, ConnectionAborted, BrokenPipe, TimedOut, BadResource, Interrupted } =
    Deno.errors;
  const left = [ConnectionReset, ConnectionAborted, BrokenPipe].map((Class) => new Class("x"));
  const others = [TimedOut, BadResource, Interrupted, Error].map((Class) => new Class("reset"));
  for (const failure of [...left, ...others, "ConnectionReset"]) {
    await t.step(Deno.inspect(failure).split("\n")[0]!, async () => {
      using conn = new Connection({
        read: () => Promise.reject(failure),
        write: (bytes) => Promise.resolve(bytes.length),
        close: () => {},
      }, null);
      const error = await conn.get("/").catch((error) => error);
      if (left.includes(failure as Error)) assertInstanceOf(error, EmptyPreambleError);
      else assertStrictEquals(error, failure);
      assertEquals(conn.closed, true);
    });
  }
});

Deno.test("an interim response is refused, and so is a 204 that announces a body", async () => {
  const framings = [
    "",
    "content-length: 0\r\n",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
  ];
  for (let status = 100; status < 600; status++) {
    for (const framing of framings) {
      const socket = new RecordingSocket();
      using conn = new Connection(socket, null);
      const written = socket.written();
      const responding = conn.get("/").then(({ status }) => status, ({ code }) => code);
      await written;
      socket.give(`HTTP/1.1 ${status} OK\r\n${framing}\r\n`);
      const isPossible = status >= 200 && (status !== 204 || framing === "");
      assertEquals(await responding, isPossible ? status : "UNEXPECTED_STATUS");
    }
  }
});

Deno.test("errors of a socket are passed on unchanged, and close the connection", async () => {
  const failure = new Error("the cable was cut");
  const reading = new RecordingSocket();
  using first = new Connection(reading, null);
  const written = reading.written();
  const responding = rejectionOf(first.get("/"), "a read that fails");
  await written;
  reading.fail(failure);
  assertStrictEquals(await responding, failure);
  assertEquals([first.closed, reading.closings], [true, 1]);

  const inBody = new RecordingSocket();
  using second = new Connection(inBody, null);
  const asked = inBody.written();
  const response = second.get("/");
  await asked;
  inBody.give("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
  const { body } = await response;
  const reads = rejectionOf(body!.read(), "a read in the body");
  inBody.fail(failure);
  assertStrictEquals(await reads, failure);
  assertEquals(second.closed, true);
});

Deno.test("a response to HEAD, and one with status 304, has headers and no body", async (t) => {
  const rows = [
    ["HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", { "content-length": 5 }],
    ["HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", {
      "transfer-encoding": "chunked",
    }],
    ["HEAD", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", { "content-length": 0 }],
    ["HEAD", "HTTP/1.1 204 No Content\r\n\r\n", {}],
    ["HEAD", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", { "content-length": 9 }],
    ["GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", { "content-length": 5 }],
    ["PUT", "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", {
      "transfer-encoding": "chunked",
    }],
    ["GET", "HTTP/1.1 304 Not Modified\r\n\r\n", {}],
    ["GET", "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", { x: "y" }],
    ["GET", "HTTP/1.1 200 OK\r\n\r\n", {}],
    ["GET", "HTTP/1.1 599 xx\r\n\r\n", {}],
  ] as const;
  for (const [method, bytes, expected] of rows) {
    await t.step(`${method}: ${shown(bytes)}`, async () => {
      using ends = await connect();
      for (let i = 0; i < 2; i++) {
        const responding = ends.conn.request(method, "/", {}, null);
        await ends.peer.readPreamble();
        await ends.peer.send(bytes);
        const { headers, body } = await responding;
        assertEquals({ ...headers }, { ...expected });
        assertStrictEquals(body, null);
      }
    });
  }
});

Deno.test("a body that is not allowed is never read as the answer to a later request", async (t) => {
  const forged = "HTTP/1.1 200 Forged\r\n\r\n";
  const rows = [
    ["HEAD", `HTTP/1.1 200 OK\r\ncontent-length: ${forged.length}\r\n\r\n${forged}`],
    ["GET", `HTTP/1.1 304 Not Modified\r\ncontent-length: ${forged.length}\r\n\r\n${forged}`],
    ["GET", `HTTP/1.1 204 No Content\r\n\r\n${forged}`],
  ] as const;
  for (const [method, bytes] of rows) {
    await t.step(`${method}: ${shown(bytes)}`, async () => {
      using ends = await connect();
      const responding = ends.conn.request(method, "/", {}, null);
      await ends.peer.readPreamble();
      await ends.peer.send(bytes);
      await responding;
      await turnOfEventLoop();
      await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the next request");
      assertEquals(ends.conn.closed, true);
      await ends.peer.assertClosedSilently("a connection with excess bytes");
    });
  }
});

// tests/base/wire/framing_test.ts has the rules of first lines and headers.
Deno.test("an invalid response closes the connection, and the peer is sent nothing", async (t) => {
  const rows: readonly (readonly [method: "GET" | "HEAD", bytes: string, ...codes: string[]])[] = [
    ["GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "UNEXPECTED_STATUS"],
    ["HEAD", "HTTP/1.1 100 Continue\r\n\r\n", "UNEXPECTED_STATUS"],
    ["HEAD", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", "UNEXPECTED_STATUS"],
    ["GET", "\r\n\r\n", "EMPTY_PREAMBLE"],
    ["GET", "\r\nHTTP/1.1 200 OK\r\n\r\n", "BAD_STATUS_LINE", "BAD_PROTOCOL"],
    ["GET", `HTTP/1.1 200 OK\r\na: ${"b".repeat(32768)}`, "PREAMBLE_TOO_LARGE"],
    ["GET", `HTTP/1.1 200 OK\r\na: ${"b".repeat(32768)}\r\n\r\n`, "PREAMBLE_TOO_LARGE"],
  ];
  for (const [method, bytes, ...codes] of rows) {
    await t.step(`${method}: ${shown(bytes)}`, async () => {
      using ends = await connect();
      const responding = rejectionOf(ends.conn.request(method, "/", {}, null), bytes);
      await ends.peer.readPreamble();
      await ends.peer.send(bytes);
      const error = await responding;
      assertInstanceOf(error, ProtocolError);
      assert(codes.includes(error.code), `${error.code} is none of ${codes.join(", ")}`);
      assertEquals(ends.conn.closed, true);
      await ends.peer.assertClosedSilently();
    });
  }
});

Deno.test("an invalid first byte of a response is an error at once, without waiting for the rest", async () => {
  for (let byte = 0; byte < 256; byte++) {
    const first = String.fromCharCode(byte);
    if ("H\r".includes(first)) continue;
    using ends = await connect({ timeout: null });
    const error = rejectionOf(ends.answer(first), `a response that begins with ${shown(first)}`);
    const rejected = await within(error, `an error for ${shown(first)}`);
    assertInstanceOf(rejected, ProtocolError);
    assertEquals(rejected.code, "BAD_STATUS_LINE");
    assertEquals(rejected.message.includes("TLS"), byte === 0x15 || byte === 0x16);
    assertEquals(ends.conn.closed, true);
  }
});

Deno.test("a response preamble of 32768 bytes is read, with its body after it", async () => {
  const start = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\na: ";
  const preamble = `${start}${"b".repeat(32768 - start.length - 4)}\r\n\r\n`;
  assertEquals(preamble.length, 32768);
  using ends = await connect();
  assertEquals(await (await ends.answer(`${preamble}hello`)).body?.text(), "hello");
  const bare = await ends.answer(preamble.replace("content-length", "content-lengtx"));
  assertEquals(String(bare.headers["a"]).length, 32768 - start.length - 4);
});

const HINT = "your membership has ended: renew it";
const noContent = () => [204, "No Content", {}, null] as const;

/** Requests something over a connection, explained or not. */
function ask(connection: Connection, isExplained: boolean): () => Promise<unknown> {
  if (isExplained) explainRefusal(connection, HINT);
  return () => connection.get("/");
}

Deno.test("an alert keeps its code, followed by an explanation", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent);
  const client = new SSLClient(pki.anonymousClientSslconfig, endpoint.server.address);
  for (const isExplained of [false, true]) {
    using connection = await client.connect();
    const error = await assertRejects(ask(connection, isExplained), TlsError);
    assertEquals(error.code, "REFUSED_BY_PEER");
    const alert =
      "received fatal alert: CertificateRequired; it wants a certificate: give certFile and keyFile";
    assertEquals(error.message, isExplained ? `${alert}; ${HINT}` : alert);
  }
});

Deno.test("a server that closes without a response is explained, or the error refers to its log", async () => {
  await using pki = await TempPKI.create();
  await using other = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent);
  const { certFile, keyFile } = other.clientSslconfig;
  const sslconfig = { ...pki.clientSslconfig, certFile: certFile!, keyFile: keyFile! };
  const client = new SSLClient(sslconfig, endpoint.server.address);
  for (const isExplained of [false, true]) {
    using connection = await client.connect();
    const error = await assertRejects(ask(connection, isExplained), EmptyPreambleError);
    assertMatch(error.message, /refuse this client's certificate: /);
    assertEquals(error.message.endsWith(HINT), isExplained);
    assertEquals(
      error.message.endsWith("the server's log says why, from level info on"),
      !isExplained,
    );
  }
});

Deno.test("after the first response, the end of a connection is not reported as a refusal", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent);
  using connection = await endpoint.client.connect();
  await ask(connection, true)();
  endpoint.server.close();
  const error = await assertRejects(() => connection.get("/"), Error);
  assertEquals(error.message.includes(HINT), false);
});

Deno.test("a plain server refuses a request: the error of the client refers to the log of the server, which says why", async () => {
  const logger = new RecordingLogger();
  await using server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, "text" as never], {
    logger,
  });
  server.serveForever();
  using connection = await new Client(server.address).connect();
  const error = await assertRejects(() => connection.get("/"), EmptyPreambleError);
  const what = "the server closed the connection before it answered anything";
  assertEquals(error.message, `${what}; the server's log says why, from level info on`);
  assertMatch(logger.at("error")[0] ?? "", /body: must be null, a Uint8Array/);
});
