/** How messages are written: the buffer of a connection, one write, and what breaks a message. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";
import { type App, Client, type Response, Server } from "@degu/degu";
import {
  BodyError,
  BodyIter,
  type BodyOut,
  type ByteSink,
  ConnectionClosedError,
} from "@degu/degu/base";
import { MessageWriter } from "@degu/internal/net/message_writer.ts";
import { Transport } from "@degu/internal/net/transport.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { type Portions, RecordingSocket } from "@degu/testing/recording_socket.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const PREAMBLE = "GET /\r\n\r\n";

interface Ends {
  readonly socket: RecordingSocket;
  readonly transport: Transport;
  readonly writer: MessageWriter;
}

function open(portions?: Portions, timeout: number | null = null): Ends {
  const socket = new RecordingSocket(portions);
  const transport = new Transport(socket, timeout);
  return { socket, transport, writer: new MessageWriter(transport) };
}

/** Begins a message with this preamble. */
function begin(writer: MessageWriter, preamble: string): void {
  const buffer = writer.beginMessage();
  buffer.set(latin1(preamble));
  writer.endPreamble(buffer, preamble.length);
}

/** Sends a message whose framing is the length of its body. */
async function send({ writer }: Ends, body: BodyOut): Promise<void> {
  begin(writer, PREAMBLE);
  const framing = body === null ? null : (body as Uint8Array).length ?? 5;
  const rest = writer.endSend(await writer.beginSend(PREAMBLE.length, body, framing));
  if (rest !== null) await rest;
}

/** A body of five bytes that writes itself in a way of its own. */
function bodyOf(writeTo: (sink: ByteSink) => Promise<void>): BodyOut {
  const body: unknown = { chunked: false, contentLength: 5, used: false, writeTo };
  return body as BodyIter;
}

Deno.test("a preamble is sent in one write with a body that fits after it", async () => {
  const most = 65536 - PREAMBLE.length;
  const ends = open();
  await send(ends, null);
  await send(ends, latin1("hello"));
  await send(ends, bodyOf(async (sink) => void await sink.write(latin1("hello"))));
  await send(ends, new Uint8Array(most));
  assertEquals(ends.socket.writes.map((write) => write.length), [9, 14, 14, 65536]);
  await send(ends, new Uint8Array(most + 1));
  assertEquals(ends.socket.writes.slice(4).map((write) => write.length), [65536, 1]);
});

Deno.test("a body that is too large is sent without copying, except for what fits after the preamble", async () => {
  const ends = open();
  await send(ends, new Uint8Array(70_000));
  assertEquals(ends.socket.writes.map((write) => write.length), [1024, 70_009 - 1024]);
});

Deno.test("messages of the same length are sent whole, also from another buffer and after a transfer", async () => {
  const ends = open();
  const bodies = [[1000, 1], [3000, 3], [1000, 5], [1000, 7], [1000, 8], [1000, 9]] as const;
  for (const [length, fill] of bodies) {
    await send(ends, new Uint8Array(length).fill(fill));
    assertEquals(ends.socket.writes.at(-1), PREAMBLE + String.fromCharCode(fill).repeat(length));
    // A socket of another kind may do this; the buffer is no shared one.
    if (fill % 2 === 0) (ends.writer.out.buffer as ArrayBuffer).transfer();
  }
});

Deno.test("the buffer of a writer adapts to what it sends, and to what it sent last", async () => {
  const ends = open();
  const sizes: number[] = [];
  for (const body of [null, 1015, 1016, 5000, 10, 10, 10, 65_527, 4096, 4096]) {
    await send(ends, body === null ? null : new Uint8Array(body));
    sizes.push(ends.writer.out.length);
  }
  assertEquals(sizes, [1024, 1024, 4096, 16384, 16384, 4096, 1024, 65536, 65536, 16384]);
});

Deno.test("simultaneous preambles do not mix, and one that fails leaves nothing", async () => {
  const [outer, inner, later] = [open(), open(), open()];
  const buffer = outer.writer.beginMessage();
  buffer.set(latin1("GET /out"));
  begin(inner.writer, "GET /in\r\n\r\n");
  buffer.set(latin1("er\r\n\r\n"), 8);
  outer.writer.endPreamble(buffer, 14);
  open().writer.beginMessage().set(latin1("half"));
  begin(later.writer, "GET /later\r\n\r\n");
  for (const { writer } of [outer, inner, later]) {
    const length = writer.out.indexOf(0);
    writer.endSend(await writer.beginSend(length, null, null));
  }
  const sent = [outer, inner, later].map(({ socket }) => socket.writes.join(""));
  assertEquals(sent, ["GET /outer\r\n\r\n", "GET /in\r\n\r\n", "GET /later\r\n\r\n"]);
  // What a socket is given has no bytes of another connection, not even behind the message.
  for (const { writer } of [outer, inner, later]) {
    assertEquals(writer.out.subarray(writer.out.indexOf(0)).some((byte) => byte !== 0), false);
  }
});

Deno.test("a preamble is sent even if the body waits for its source", async () => {
  const ends = open();
  const source = Promise.withResolvers<Uint8Array>();
  async function* items() {
    yield await source.promise;
  }
  const sending = send(ends, new BodyIter(items(), 5));
  await turnOfEventLoop();
  assertEquals(ends.socket.writes, [PREAMBLE]);
  source.resolve(latin1("hello"));
  await sending;
  assertEquals(ends.socket.writes, [PREAMBLE, "hello"]);
});

Deno.test("begun tells whether the socket was given a byte of the message", async () => {
  const ends = open();
  const write = ends.socket.write.bind(ends.socket);
  ends.socket.write = (bytes) => {
    assertEquals(ends.writer.begun, true, "during the write");
    return write(bytes);
  };
  for (const body of [null, latin1("hello"), new BodyIter([latin1("hello")], 5)]) {
    begin(ends.writer, PREAMBLE);
    assertEquals(ends.writer.begun, false);
    await send(ends, body);
    assertEquals([ends.writer.begun, ends.writer.failed], [true, false]);
  }
});

Deno.test("an error of the socket breaks the connection, and a body's own error does not", async () => {
  const failure = new Error("broken");
  const bodies: (() => BodyOut)[] = [
    () => null,
    () => latin1("hello"),
    () => new Uint8Array(100_000),
    () => new BodyIter([latin1("hello")], 5),
  ];
  for (const makeBody of bodies) {
    const ends = open();
    ends.socket.writeFailure = failure;
    const error = await rejectionOf(send(ends, makeBody()), "sending");
    assertStrictEquals(ends.writer.failureOf(error), failure);
    assertStrictEquals(ends.transport.failure, failure);
    assertEquals(ends.writer.failed, true);
  }
  const ends = open();
  const body = bodyOf(() => Promise.reject(failure));
  assertStrictEquals(
    ends.writer.failureOf(await rejectionOf(send(ends, body), "sending")),
    failure,
  );
  assertEquals([ends.transport.failure, ends.writer.failed], [null, false]);
});

Deno.test("a body that has failed can't write any more, whenever it failed", async () => {
  const failure = new Error("no more");
  const ways: ((written: Promise<void>) => Promise<void>)[] = [
    () => {
      throw failure;
    },
    () => Promise.reject(failure),
    async (written) => {
      await written;
      throw failure;
    },
  ];
  for (const fail of ways) {
    const ends = open();
    let sink: ByteSink | undefined;
    const body = bodyOf((given) => {
      sink = given;
      return fail(Promise.resolve());
    });
    assertStrictEquals(await rejectionOf(send(ends, body), "sending"), failure);
    const before = ends.socket.writes.join("");
    assert(before === "" || before === PREAMBLE);
    assertStrictEquals(await rejectionOf(sink!.write(latin1("hello")), "a late write"), failure);
    assertEquals(ends.socket.writes.join(""), before);
  }
});

Deno.test("a body that is canceled before its first byte sends nothing, not even the preamble", async () => {
  const ends = open();
  const reason = new Error("aborted");
  let sink: ByteSink | undefined;
  const body = bodyOf((given) => {
    sink = given;
    ends.writer.cancelBody(reason);
    return new Promise(() => {});
  });
  assertStrictEquals(await rejectionOf(send(ends, body), "sending"), reason);
  assertStrictEquals(await rejectionOf(sink!.write(latin1("hello")), "a late write"), reason);
  assertEquals(ends.socket.writes, []);
  assertEquals([ends.writer.begun, ends.transport.closed], [false, false]);
});

Deno.test("closing the connection ends the wait for a body", async () => {
  for (const failure of [null, new Error("broken")]) {
    const ends = open();
    const sending = rejectionOf(send(ends, bodyOf(() => new Promise(() => {}))), "sending");
    await turnOfEventLoop();
    ends.transport.close(failure);
    const error = await within(sending, "the message fails");
    if (failure === null) assertInstanceOf(error, ConnectionClosedError);
    else assertStrictEquals(error, failure);
  }
});

Deno.test("a body that has been sent is not canceled with the connection", async () => {
  const ends = open();
  await send(ends, new BodyIter([latin1("hello")], 5));
  ends.transport.close();
  ends.writer.cancelBody(new Error("too late"));
  assertEquals(ends.socket.writes.join(""), `${PREAMBLE}hello`);
});

Deno.test("an array that shrinks while it is sent is a BodyError that says so", async () => {
  for (const length of [5, 100_000]) {
    const buffer = new ArrayBuffer(length, { maxByteLength: length });
    const ends = open();
    begin(ends.writer, PREAMBLE);
    buffer.resize(1);
    await assertRejects(
      async () => await ends.writer.beginSend(9, new Uint8Array(buffer), length),
      BodyError,
      "don't resize",
    );
    assertEquals(ends.socket.writes, []);
  }
});

Deno.test("an array of any size is sent whole and in order", async () => {
  for (const length of [65_400, 65_500, 65_527, 65_528, 65_536, 70_000, 1_000_000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => 97 + i % 26);
    const ends = open();
    await send(ends, bytes);
    assert(ends.socket.writes.join("") === PREAMBLE + new TextDecoder().decode(bytes), `${length}`);
  }
});

Deno.test("a large array that shrinks while its beginning is sent is not sent to its end", async () => {
  for (const left of [0, 60_000, 80_000]) {
    const buffer = new ArrayBuffer(100_000, { maxByteLength: 100_000 });
    let writes = 0;
    const transport = new Transport({
      read: () => Promise.resolve(null),
      write(bytes) {
        if (writes++ === 0) buffer.resize(left);
        return Promise.resolve(bytes.length);
      },
      close() {},
    }, null);
    const writer = new MessageWriter(transport);
    begin(writer, PREAMBLE);
    await assertRejects(
      async () => await writer.beginSend(9, new Uint8Array(buffer, 0, 100_000), 100_000),
      BodyError,
    );
    assertEquals(writes, 1);
  }
});

Deno.test("no write has a time limit after its message was sent", async () => {
  for (const perWrite of [3, Infinity]) {
    for (const body of [null, latin1("hello"), new BodyIter([latin1("hello")], 5)]) {
      const ends = open({ perWrite }, 1000);
      await send(ends, body);
      assertEquals(ends.transport.deadline.writing.since, -1);
      ends.transport.close();
    }
  }
});

Deno.test("nothing is pending after a small message was written whole", async () => {
  const { writer } = open();
  begin(writer, PREAMBLE);
  assertEquals(writer.endSend(await writer.beginSend(5, null, null)), null);
});

Deno.test("a body that fails is canceled, even one that closes the connection before it throws", async () => {
  const failure = new Error("failed");
  for (const isClosing of [false, true]) {
    const ends = open();
    const reasons: unknown[] = [];
    const body = bodyOf(() => {
      if (isClosing) ends.transport.close();
      throw failure;
    });
    Object.assign(body as object, { cancel: (reason: unknown) => reasons.push(reason) });
    const error = await rejectionOf(send(ends, body), "sending");
    if (!isClosing) assertStrictEquals(error, failure);
    assertEquals(reasons.length, 1);
    assertStrictEquals(reasons[0], error);
    assertEquals(ends.socket.writes, []);
    await turnOfEventLoop();
  }
});

Deno.test("an error after a message was sent is not attributed to the socket", async () => {
  const ends = open();
  await send(ends, latin1("hello"));
  const error = new Error("of the app");
  assertStrictEquals(ends.writer.failureOf(error), error);
  assertEquals([ends.transport.failure, ends.writer.failed], [null, false]);
});

/** Answers with what arrived. */
const tell: App = ({ uri, headers }) => [
  200,
  "OK",
  { "x-seen": `${uri} ${headers["x-name"]}` },
  null,
];

Deno.test("a header getter that makes a request over another connection affects neither message", async () => {
  await using server = new Server(["127.0.0.1", 0], tell);
  server.serveForever();
  const client = new Client(server.address);
  using outer = await client.connect();
  using inner = await client.connect();
  let other: Promise<Response> | null = null;
  const headers = {
    get "x-name"() {
      other ??= inner.get("/inner", { "x-name": "a longer value than the other one has" });
      return "outer";
    },
  };
  for (let count = 0; count < 3; count++) {
    other = null;
    const response = await outer.get("/outer", headers);
    assertEquals(response.headers["x-seen"], "/outer outer");
    const { headers: seen } = await other!;
    assertEquals(seen["x-seen"], "/inner a longer value than the other one has");
  }
});

Deno.test("a header getter that throws leaves nothing for the next message of any connection", async () => {
  await using server = new Server(["127.0.0.1", 0], tell);
  server.serveForever();
  const client = new Client(server.address);
  using conn = await client.connect();
  using other = await client.connect();
  const failure = new Error("no value");
  const headers = {
    "x-name": "secret",
    get "x-other"(): string {
      throw failure;
    },
  };
  assertEquals(await conn.get("/secret", headers).catch((error) => error), failure);
  for (const each of [other, conn]) {
    const response = await each.get("/", { "x-name": "next" });
    assertEquals(response.headers["x-seen"], "/ next");
  }
});
