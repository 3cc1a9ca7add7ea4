/** Requests of HTTP/1.0: their responses have another framing, and the server closes after them. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Address, type BodyOut, ChunkedBodyIter } from "@degu/degu/base";
import type { App, AppFunction } from "@degu/degu/server";
import { formatErrorResponse } from "./error_answers.ts";
import { exchange, RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, serve } from "@degu/testing/serving.ts";
import { TrackedStream } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const GET = "GET / HTTP/1.0\r\n\r\n";
const KEEP_ALIVE_GET = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
const CLOSE = "connection: close\r\n";
const LONG = 65536;

const respond = (body: BodyOut): AppFunction => () => [200, "OK", {}, body];

async function* generate(...texts: readonly string[]) {
  for (const text of texts) yield encodeLatin1(text);
}

/** Sends bytes, and returns what a server sends before it ends the connection. */
async function receive(address: Address, bytes: string): Promise<string> {
  using peer = await RawPeer.connect(address, bytes);
  const { received, kind } = await peer.readToEnd();
  assertEquals(kind, "end");
  return received;
}

/** Returns the response to one request. */
async function request(app: App, bytes: string): Promise<string> {
  await using serving = serve(app);
  return await receive(serving.address, bytes);
}

Deno.test("a request of HTTP/1.0 gets a response of HTTP/1.1 with connection: close, also with keep-alive, and no other request is read", async (t) => {
  const rows: readonly (readonly [label: string, AppFunction, rest: string])[] = [
    ["null", respond(null), "content-length: 0\r\n\r\n"],
    ["bytes", respond(encodeLatin1("hello")), "content-length: 5\r\n\r\nhello"],
    ["text", () => [200, "OK", {}, "hello"], "content-length: 5\r\n\r\nhello"],
    ["204", () => [204, "No Content", {}, null], "\r\n"],
    ["304", () => [304, "Not Modified", {}, null], "\r\n"],
    ["404", () => [404, "Not Found", {}, null], "content-length: 0\r\n\r\n"],
  ];
  await testEachRow(t, rows, async (_label, app, rest) => {
    for (const bytes of [GET, KEEP_ALIVE_GET, GET + GET, KEEP_ALIVE_GET + GET]) {
      let callCount = 0;
      const received = await request((incoming, session, api) => {
        callCount++;
        return app(incoming, session, api);
      }, bytes);
      assertMatch(received, /^HTTP\/1\.1 \d{3} [A-Z][A-Za-z ]*\r\nconnection: close\r\n/);
      assertEquals(received.slice(received.indexOf(CLOSE) + CLOSE.length), rest);
      assertEquals(callCount, 1);
    }
  });
});

// ───────────────────────── bodies of unknown length

/** Bodies of unknown length. */
const BODIES: Readonly<Record<string, (text: string) => BodyOut>> = {
  "an async iterable": (text) => generate(...text === "" ? [] : [text]),
  "many items": (text) => generate(...text.match(/[^]{1,1000}/g) ?? []),
  "a stream": (text) => new Blob([text]).stream(),
  "chunks": (text) =>
    new ChunkedBodyIter([
      ...text === "" ? [] : [[["k", "v"], encodeLatin1(text)] as const],
      [null, new Uint8Array(0)],
    ]),
};

Deno.test("a body of unknown length ends with the connection", async (t) => {
  for (const [label, makeBody] of Object.entries(BODIES)) {
    for (const length of [0, 5, 200_000]) {
      await t.step(`${label}, ${length} bytes`, async () => {
        const text = "x".repeat(length);
        for (const bytes of [GET, KEEP_ALIVE_GET]) {
          const received = await request(respond(makeBody(text)), bytes);
          assertEquals(received === `HTTP/1.1 200 OK\r\n${CLOSE}\r\n${text}`, true);
        }
      });
    }
  }
});

Deno.test("a body of unknown length is sent as it comes", async () => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const app = respond((async function* () {
    yield encodeLatin1("1");
    await gates[0]!.promise;
    yield encodeLatin1("two ");
    await gates[1]!.promise;
    yield encodeLatin1("three");
  })());
  await using pair = await connectRawPeer(app, GET);
  const head = `HTTP/1.1 200 OK\r\n${CLOSE}\r\n`;
  assertEquals(await pair.peer.readUntil(`${head}1`), `${head}1`);
  gates[0]!.resolve();
  assertEquals(await pair.peer.readUntil("two "), "two ");
  gates[1]!.resolve();
  assertEquals(await pair.peer.readToEnd(), { received: "three", kind: "end" });
  await pair.sessionEnded;
  assertEquals(pair.logger.messagesOf("error"), []);
});

Deno.test("a source that doesn't wait doesn't stop other clients", async () => {
  let isEnded = false;
  const app: App = ({ uri }) => {
    if (uri !== "/") return [200, "OK", {}, "other"];
    return [
      200,
      "OK",
      {},
      (async function* () {
        while (!isEnded) yield encodeLatin1("x".repeat(8));
      })(),
    ];
  };
  await using serving = serve(app);
  using peer = await RawPeer.connect(serving.address, GET);
  const other = await receive(serving.address, "GET /other HTTP/1.0\r\n\r\n");
  assertEquals(other.endsWith("other"), true);
  await peer.readPreamble();
  await peer.readExactly(1);
  isEnded = true;
  assertMatch((await peer.readToEnd()).received, /^x+$/);
});

Deno.test("the response to a HEAD of HTTP/1.0 has no body, no chunks, and the length only if it is known", async () => {
  const rows: readonly (readonly [() => BodyOut, framing: string])[] = [
    [() => encodeLatin1("hello"), "content-length: 5\r\n"],
    [() => generate("hello"), ""],
    [() => generate("x".repeat(100_000)), ""],
  ];
  for (const [makeBody, framing] of rows) {
    const received = await request(respond(makeBody()), "HEAD / HTTP/1.0\r\n\r\n");
    assertEquals(received, `HTTP/1.1 200 OK\r\n${CLOSE}${framing}\r\n`);
  }
  // An app may announce the chunks that a GET would get.
  for (const [method, status] of [["HEAD", 200], ["HEAD", 304], ["GET", 304]] as const) {
    const app: App = () => [status, "OK", { "transfer-encoding": "chunked" }, null];
    const received = await request(app, `${method} / HTTP/1.0\r\n\r\n`);
    assertEquals(received, `HTTP/1.1 ${status} OK\r\n${CLOSE}\r\n`);
  }
  const source = new TrackedStream([encodeLatin1("hello")]);
  await request(respond(source.stream), "HEAD / HTTP/1.0\r\n\r\n");
  assert(source.isCanceled, "the source was not canceled");
});

// ───────────────────────── failures

Deno.test("a source that fails cuts the body", async () => {
  for (const length of [0, 5, LONG]) {
    const text = "x".repeat(length);
    const source = new TrackedStream(length === 0 ? [] : [encodeLatin1(text)], {
      failure: new Error("the disk has failed"),
    });
    await using serving = serve(respond(source.stream));
    const { received } = await exchange(serving.address, GET);
    assertEquals(`HTTP/1.1 200 OK\r\n${CLOSE}\r\n${text}`.startsWith(received), true);
    assertEquals((await serving.logger.waitFor("error")).length, 1);
  }
});

Deno.test("a response that isn't valid causes 500, and its source is canceled", async (t) => {
  const rows: readonly (readonly [string, number, string, Record<string, unknown>])[] = [
    ["status", 199, "OK", {}],
    ["204", 204, "No Content", {}],
    ["a length", 200, "OK", { "content-length": 5 }],
    ["another coding", 200, "OK", { "transfer-encoding": "gzip, chunked" }],
  ];
  await testEachRow(t, rows, async (_label, status, reason, headers) => {
    for (const method of ["GET", "HEAD"]) {
      const source = new TrackedStream([encodeLatin1("hello")]);
      const app = (() => [status, reason, headers, source.stream]) as unknown as App;
      await using serving = serve(app);
      const { received } = await exchange(serving.address, `${method} / HTTP/1.0\r\n\r\n`);
      assertEquals(received, formatErrorResponse(500));
      assert(source.isSettled, "the source was not canceled");
      assertEquals((await serving.logger.waitFor("error")).length, 1);
    }
  });
});

Deno.test("close() and session.close() cut a response without framing", async () => {
  for (const length of [0, 5, LONG]) {
    for (const end of ["server", "session"] as const) {
      const canceled = Promise.withResolvers<void>();
      const source = new ReadableStream<Uint8Array>({
        start: (controller) => {
          if (length > 0) controller.enqueue(new Uint8Array(length));
        },
        cancel: () => canceled.resolve(),
      });
      await using pair = await connectRawPeer(respond(source), GET);
      await pair.appCalled;
      if (length > 0) await pair.peer.readExactly(length);
      if (end === "server") pair.serving.server.close();
      else pair.session.close();
      await withTimeout(canceled.promise, "the source is canceled", 30);
      await pair.peer.readToEnd();
      await pair.sessionEnded;
      assertEquals(pair.logger.messagesOf("error"), []);
    }
  }
});

// ───────────────────────── refusals, and requests that stop

Deno.test("transfer-encoding in a request of HTTP/1.0 is refused", async () => {
  const rows = ["chunked", "Chunked", "gzip", "identity", "chunked, chunked"];
  for (const coding of rows) {
    const bytes = `PUT / HTTP/1.0\r\ntransfer-encoding: ${coding}\r\n\r\n0\r\n\r\n`;
    assertEquals(await request(respond(null), bytes), formatErrorResponse(400), coding);
  }
});

Deno.test("a request of HTTP/1.0 that is cut after any byte reaches no app, or an app that sees the cut", async () => {
  const bytes = "PUT / HTTP/1.0\r\ncontent-length: 5\r\n\r\nhello";
  const texts: string[] = [];
  await using serving = serve(async (incoming) => {
    texts.push(await incoming.text());
    return [200, "OK", {}, null];
  });
  for (let at = 0; at < bytes.length; at++) {
    const { received } = await exchange(serving.address, bytes.slice(0, at));
    assertEquals(received.includes("200"), false, `cut after ${at}`);
  }
  assertEquals(texts, []);
});

Deno.test("a client of HTTP/1.0 gets no 100, also with expect: 100-continue", async () => {
  const app: App = async (incoming) => [200, "OK", {}, await incoming.text()];
  await using pair = await connectRawPeer(
    app,
    "PUT / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
  );
  await pair.appCalled;
  await waitForTick();
  await waitForTick();
  assertEquals(pair.peer.text, "");
  await pair.peer.send("hello");
  const { received } = await pair.peer.readToEnd();
  assertEquals(received, `HTTP/1.1 200 OK\r\n${CLOSE}content-length: 5\r\n\r\nhello`);
});

Deno.test("two clients of HTTP/1.0 at once get their own bodies", async () => {
  const bodies = new Map<string, PromiseWithResolvers<void>>();
  await using serving = serve(({ uri }) => {
    const gate = Promise.withResolvers<void>();
    bodies.set(uri, gate);
    return [
      200,
      "OK",
      {},
      (async function* () {
        yield encodeLatin1(uri.repeat(LONG));
        await gate.promise;
        yield encodeLatin1(uri);
      })(),
    ];
  });
  const texts = ["/a", "/b"].map((uri) => receive(serving.address, `GET ${uri} HTTP/1.0\r\n\r\n`));
  while (bodies.size < 2) await waitForTick();
  for (const gate of [...bodies.values()].reverse()) gate.resolve();
  for (const [i, uri] of ["/a", "/b"].entries()) {
    const received = await texts[i]!;
    const body = received.slice(received.indexOf("\r\n\r\n") + 4);
    assertEquals(body === uri.repeat(LONG + 1), true);
  }
});
