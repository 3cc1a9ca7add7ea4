/** No message on a connection is ever mistaken for a part of another. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { Body, BodyError, ConnectionClosedError } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { assertProtocolRejection, rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** A body that is known by its shape alone, as one of another copy of this package is. */
function foreignBody(shape: object, ...pieces: string[]): Body & { sink: Sink } {
  const body = {
    ...shape,
    sink: undefined as Sink | undefined,
    async writeTo(sink: Sink) {
      this.sink = sink;
      for (const piece of pieces) await sink.write(latin1(piece));
      return pieces.join("").length;
    },
  };
  assert(isBody(body));
  return body;
}

function isBody(body: object): body is Body & { sink: Sink } {
  return "chunked" in body && "writeTo" in body;
}

interface Sink {
  write(bytes: Uint8Array): Promise<number | void>;
}

Deno.test("client connection: reading an old empty body does not release the current one", async () => {
  using ends = await connect();
  const first = await ends.answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  const second = await ends.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
  assertEquals(await first.body?.bytes(), new Uint8Array(0));
  await assertRejects(() => ends.conn.get("/"), BodyError);
  await ends.peer.send("hello");
  assertEquals(await second.body?.text(), "hello");
});

Deno.test("client connection: canceling an empty body leaves the connection as it was", async () => {
  using ends = await connect();
  const { body } = await ends.answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  assertInstanceOf(body, Body);
  await body.cancel("not wanted");
  assertEquals(ends.conn.closed, false);
  assertEquals((await ends.answer("HTTP/1.1 204 No Content\r\n\r\n")).status, 204);
});

Deno.test("server: reading an old empty body does not release the current one", async () => {
  const seen: string[] = [];
  let first: { read(): Promise<Uint8Array> } | null = null;
  await using serving = serve(async (request) => {
    seen.push(request.uri);
    if (request.uri === "/first") first = request.body;
    else await first?.read();
    return [200, "OK", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("POST /first HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
  await peer.readPreamble();
  await peer.send(
    "POST /second HTTP/1.1\r\ncontent-length: 26\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
  );
  await peer.closeWrite();
  await peer.assertClosedSilently("a session with an unread body and status 200");
  assertEquals(seen, ["/first", "/second"]);
});

/** What a foreign body may do wrong, and whether its message may be complete by then. */
const foreignFaults: readonly {
  readonly what: string;
  readonly shape: object;
  readonly pieces: readonly string[];
  readonly sent: RegExp;
}[] = [
  {
    what: "beyond its content-length",
    shape: { chunked: false, contentLength: 3 },
    pieces: ["abc", "d"],
    sent: /^(abc)?$/,
  },
  {
    what: "beyond its content-length at once",
    shape: { chunked: false, contentLength: 3 },
    pieces: ["abcd"],
    sent: /^$/,
  },
  {
    what: "less than its content-length",
    shape: { chunked: false, contentLength: 3 },
    pieces: ["ab"],
    sent: /^(ab)?$/,
  },
  { what: "what is no chunk", shape: { chunked: true }, pieces: ["hello"], sent: /^$/ },
  {
    what: "chunks without a last one",
    shape: { chunked: true },
    pieces: ["5\r\nhello\r\n"],
    sent: /^(5\r\nhello\r\n)?$/,
  },
  {
    what: "after the last chunk",
    shape: { chunked: true },
    pieces: ["0\r\n\r\nHTTP/1.1 200 Forged\r\n\r\n"],
    sent: /^(0\r\n\r\n)?$/,
  },
  {
    what: "after the last chunk, in a write of its own",
    shape: { chunked: true },
    pieces: ["0\r\n\r\n", "HTTP/1.1 200 Forged\r\n\r\n"],
    sent: /^(0\r\n\r\n)?$/,
  },
];

Deno.test("server: a foreign body that sends another length than announced ends the session", async (t) => {
  for (const { what, shape, pieces, sent } of foreignFaults) {
    await t.step(what, async () => {
      await using serving = serve(() => [200, "OK", {}, foreignBody(shape, ...pieces)]);
      using peer = await RawPeer.connect(serving.address);
      await peer.send("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
      await peer.closeWrite();
      const { received } = await peer.readToEnd();
      // Nothing, or one preamble and what of the body was right.
      assertMatch(received.replace(/^HTTP\/1.1 200 OK\r\n[^\r]*\r\n\r\n/, ""), sent);
      await serving.logger.waitFor("error");
    });
  }
});

Deno.test("client connection: a foreign body that sends another length than announced closes it", async (t) => {
  for (const { what, shape, pieces } of foreignFaults) {
    await t.step(what, async () => {
      using ends = await connect({ timeout: 1 });
      await assertRejects(() => ends.conn.post("/", {}, foreignBody(shape, ...pieces)), BodyError);
      assertEquals(ends.conn.closed, true);
    });
  }
});

Deno.test("a foreign body can't write after its message is complete", async (t) => {
  const shapes = [[{ chunked: false, contentLength: 3 }, "abc"], [
    { chunked: true },
    "0\r\n\r\n",
  ]] as const;
  for (const [shape, bytes] of shapes) {
    await t.step(Deno.inspect(shape), async () => {
      using ends = await connect();
      const body = foreignBody(shape, bytes);
      const responding = ends.conn.post("/", {}, body);
      await ends.peer.readPreamble();
      assertEquals(await ends.peer.readExactly(bytes.length), bytes);
      await ends.peer.send("HTTP/1.1 200 OK\r\n\r\n");
      await responding;
      await assertRejects(async () =>
        await body.sink.write(latin1("GET /forged HTTP/1.1\r\n\r\n"))
      );
      ends.conn.close();
      await ends.peer.assertClosedSilently();
    });
  }
});

Deno.test("client connection: unsolicited bytes are never a response", async (t) => {
  await t.step("before the first request", async () => {
    using ends = await connect();
    await ends.peer.send("HTTP/1.1 200 OK\r\n\r\n");
    await turnOfEventLoop();
    await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the first request");
    assertEquals(ends.conn.closed, true);
  });
  const answers = [
    ["without a body", "HTTP/1.1 200 OK\r\n\r\n"],
    ["with content-length", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"],
    ["with content-length 0", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    ["chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"],
  ] as const;
  for (const [what, answer] of answers) {
    const unframed = what === "without a body";
    await t.step(`in one piece with a response ${what}`, async () => {
      using ends = await connect();
      const answered = ends.answer(`${answer}HTTP/1.1 200 Forged\r\n\r\n`);
      if (unframed) {
        await assertProtocolRejection(answered, ["UNFRAMED_BODY"], "the response");
      } else {
        await (await answered).body?.read();
        await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the next request");
      }
      assertEquals(ends.conn.closed, true);
    });
    await t.step(`between requests, after a response ${what}`, async () => {
      using ends = await connect();
      await (await ends.answer(answer)).body?.read();
      await ends.peer.send("HTTP/1.1 200 Forged\r\n\r\n");
      await turnOfEventLoop();
      await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the next request");
      assertEquals(ends.conn.closed, true);
    });
  }
});

/** Keeps the event loop from going on, as work does. */
function compute(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

Deno.test("client connection: bytes that arrive while the client computes are never a response", async (t) => {
  const forged = latin1("HTTP/1.1 200 Forged\r\n\r\n");
  const withBody = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
  await t.step("before the first request", async () => {
    using ends = await connect();
    // It is in the system's buffers; this program does not know of it yet.
    const sending = await ends.peer.conn.write(forged);
    compute(30);
    await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the first request");
    assertEquals([sending, ends.conn.closed], [forged.length, true]);
  });
  await t.step("between two requests", async () => {
    using ends = await connect();
    await ends.answer("HTTP/1.1 200 OK\r\n\r\n");
    // It is in the system's buffers; this program does not know of it yet.
    const sending = await ends.peer.conn.write(forged);
    compute(30);
    await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the next request");
    assertEquals([sending, ends.conn.closed], [forged.length, true]);
  });
  await t.step("between the response and the reading of its body", async () => {
    using ends = await connect();
    const { body } = await ends.answer(withBody);
    // It is in the system's buffers; this program does not know of it yet.
    const sending = await ends.peer.conn.write(forged);
    compute(30);
    assertEquals(await body?.text(), "hi");
    await assertProtocolRejection(ends.conn.get("/"), ["EXCESS_BYTES"], "the next request");
    assertEquals([sending, ends.conn.closed], [forged.length, true]);
  });
});

Deno.test("client connection: closing it during the check for early bytes ends the request, which is not sent", async () => {
  using ends = await connect();
  compute(30);
  const responding = rejectionOf(ends.conn.get("/"), "a request on a closed connection");
  // The request is where it waits for the event loop.
  for (let i = 0; i < 10; i++) await null;
  ends.conn.close();
  assertInstanceOf(await responding, ConnectionClosedError);
  await ends.peer.assertClosedSilently();
});
