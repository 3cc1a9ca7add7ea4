/** Bodies of other classes: what they can read of a connection, and what they may write. */
import * as arbitrary from "@degu/testing/arbitraries.ts";
import fc from "fast-check";
import {
  bodies,
  Body,
  BodyError,
  type ByteSink,
  type ByteSource,
  ChunkedBody,
  ProtocolError,
} from "@degu/degu/base";
import { formatChunk } from "@degu/degu/misc";
import type { BodyOut } from "@degu/internal/base/body/bodies.ts";
import { BodySource } from "@degu/internal/base/body/body_source.ts";
import { ByteReader } from "@degu/internal/base/body/byte_io.ts";
import { CodingCheck, sourceFor } from "@degu/internal/base/body/foreign_bodies.ts";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf, thrownBy } from "@degu/testing/expectations.ts";
import { RawPeer, turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { lawless, serve } from "@degu/testing/serving.ts";
import { concat, cut, PieceSource, RecordingSink } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";

/** A body that writes itself in its own way. */
function foreign(
  framing: number | "chunked",
  writeTo: (sink: ByteSink) => Promise<unknown>,
  cancel: (reason?: unknown) => unknown = () => {},
): BodyOut {
  const body: unknown = framing === "chunked"
    ? { chunked: true, writeTo, cancel }
    : { chunked: false, contentLength: framing, writeTo, cancel };
  return body as BodyOut;
}

const half = latin1("x".repeat(50_000));

/** What a body may do wrong with its sink, all of 100,000 bytes or as chunks. */
const careless: Readonly<Record<string, (sink: ByteSink) => Promise<unknown>>> = {
  "does not await its first write": async (sink) => {
    sink.write(half)?.catch(() => {});
    await sink.write(half);
  },
  "does not await its last write": async (sink) => {
    await sink.write(half);
    sink.write(half)?.catch(() => {});
  },
  "awaits no write": (sink) => {
    sink.write(half)?.catch(() => {});
    sink.write(half)?.catch(() => {});
    return Promise.resolve();
  },
  "awaits two writes at once": (sink) => Promise.allSettled([sink.write(half), sink.write(half)]),
  "hides the failure of a write, and never ends": async (sink) => {
    sink.write(half)?.catch(() => {});
    await sink.write(half)?.catch(() => {});
    await new Promise(() => {});
  },
};

/** What was sent is the beginning of one message, and at most the whole of it. */
function assertNoMore(received: string): void {
  const [, body = ""] = received.split("\r\n\r\n");
  assert(/^x*$/.test(body) && body.length <= 100_000, `${body.length} bytes`);
}

for (const [what, writeTo] of Object.entries(careless)) {
  Deno.test(`a body that ${what} rejects the request, and closes the connection`, async () => {
    using connected = await connect();
    const body = foreign(100_000, writeTo);
    const error = await rejectionOf(connected.conn.put("/", {}, body), "the request");
    assertInstanceOf(error, BodyError);
    assertStringIncludes(error.message, "await each write");
    assert(connected.conn.closed);
    const { received } = await connected.peer.readToEnd();
    assertNoMore(received);
  });

  Deno.test(`a response whose body ${what} ends the session, and the next request is not answered`, async () => {
    await using serving = serve(lawless(() => [200, "OK", {}, foreign(100_000, writeTo)]));
    using peer = await RawPeer.connect(serving.address);
    await peer.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
    const { received } = await peer.readToEnd();
    assertEquals(received.match(/HTTP\/1\.1/g)?.length ?? 0, received === "" ? 0 : 1);
    assertNoMore(received);
    const [message] = await serving.logger.waitFor("error");
    assertStringIncludes(message ?? "", "await each write");
  });
}

Deno.test("a body that throws, and whose cancel() fails too, ends only its own session", async (t) => {
  using unhandled = unhandledRejections();
  const failure = new Error("no body today");
  const fail = () => {
    throw failure;
  };
  const ways = { throws: fail, rejects: () => Promise.reject(failure) };
  for (const [how, cancel] of Object.entries(ways)) {
    await t.step(`cancel() ${how}`, async () => {
      await using serving = serve(lawless(() => [200, "OK", {}, foreign(5, fail, cancel)]));
      using peer = await RawPeer.connect(serving.address);
      await peer.send("GET / HTTP/1.1\r\n\r\n");
      await peer.assertClosedSilently();
      const [message] = await serving.logger.waitFor("error");
      assertStringIncludes(message ?? "", "no body today");
    });
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("the bodies of an answer that can't be read are canceled", async (t) => {
  const answers: Record<string, (body: unknown) => unknown> = {
    "five items": (body) => [200, "OK", {}, body, null],
    "three items": (body) => [200, "OK", body],
    "no headers": (body) => ({ status: 200, reason: "OK", body }),
    "headers that throw": (body) => ({
      status: 200,
      reason: "OK",
      get headers(): unknown {
        throw new Error("no headers");
      },
      body,
    }),
    "headers of a wrong type": (body) => [200, "OK", "none", body],
  };
  await eachRow(t, Object.entries(answers), async (_name, make) => {
    const cancelled: unknown[] = [];
    const source = new ReadableStream({ cancel: (reason) => void cancelled.push(reason) });
    await using serving = serve(
      lawless((_request, _session, { Body }) => make(new Body(source, 5))),
    );
    using peer = await RawPeer.connect(serving.address);
    await peer.send("GET / HTTP/1.1\r\n\r\n");
    await peer.assertClosedSilently();
    assertEquals(cancelled.length, 1);
    assertEquals(serving.logger.at("error").length, 1);
  });
});

Deno.test("a chunked body that changes its array after it was checked sends what was checked", async () => {
  using connected = await connect();
  const data = 70_000;
  const encoded = latin1(`${data.toString(16)}\r\n${"x".repeat(data)}\r\n0\r\n\r\n`);
  const body = foreign("chunked", async (sink) => {
    const writing = sink.write(encoded);
    // The preamble is on its way; another chunk size would be another message.
    encoded.set(latin1("0\r\n\r\n"));
    await writing;
  });
  const putting = connected.conn.put("/", {}, body);
  await connected.peer.readPreamble();
  assertEquals(await connected.peer.readExactly(7), "11170\r\n");
  assertEquals(await connected.peer.readExactly(data), "x".repeat(data));
  assertEquals(await connected.peer.readExactly(7), "\r\n0\r\n\r\n");
  await connected.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
  assertEquals((await putting).status, 204);
});

Deno.test("a body of another class that reads twice at once gets nothing of the next message", async (t) => {
  for (const framing of ["content-length: 4", "transfer-encoding: chunked"]) {
    await t.step(framing, async () => {
      const sources: ByteSource[] = [];
      class Foreign {
        constructor(source: ByteSource) {
          sources.push(source);
        }
      }
      const foreignBodies: unknown = { ...bodies, Body: Foreign, ChunkedBody: Foreign };
      using connected = await connect({ bodies: foreignBodies as typeof bodies });
      const content = framing.includes("chunked") ? "4\r\n1111\r\n0\r\n\r\n" : "1111";
      await connected.answer(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
      const [source] = sources;
      const first = source!.read(new Uint8Array(100));
      const second = rejectionOf(source!.read(new Uint8Array(100)), "the second read");
      await connected.peer.send(content);
      assert(await first !== null);
      assertInstanceOf(await second, BodyError);
    });
  }
});

class Foreign {}

/** A connection with the given pieces, whose first ones may be buffered. */
class Connected extends BodySource {
  readonly reader: ByteReader;
  readonly isShared = false;
  readonly told: string[] = [];
  readonly #pieces: ByteSource;

  constructor(pieces: Uint8Array[]) {
    super();
    this.#pieces = new PieceSource(pieces);
    this.reader = new ByteReader(this);
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#pieces.read(into);
  }

  override consumed(): void {
    this.told.push("consumed");
  }

  override failed(): void {
    this.told.push("failed");
  }

  override incomplete(missing: number): Error {
    return new RangeError(`${missing} missing`);
  }
}

/** All that a source has, in reads of so many bytes. */
async function readAll(source: ByteSource, room: number): Promise<string> {
  let text = "";
  for (;;) {
    const into = new Uint8Array(room);
    const count = await source.read(into);
    if (count === null) return text;
    text += fromLatin1(into.subarray(0, count));
  }
}

Deno.test("a body of known length is written with what has arrived of it, and no more", async () => {
  for (const lengths of [[5], [2], [1], [30]]) {
    const connection = new Connected(cut(latin1("hello, worldGET / HTTP/1.1"), ...lengths));
    await connection.reader.fill();
    const sink = new RecordingSink();
    assertEquals(await new Body(connection, 12).writeTo(sink), 12);
    assertEquals([fromLatin1(sink.bytes), connection.told], ["hello, world", ["consumed"]]);
  }
});

Deno.test("what has arrived of a body is written in the turn in which its writing begins, with its preamble", async () => {
  const connection = new Connected(cut(latin1("hello, world"), 5));
  await connection.reader.fill();
  const pieces: string[] = [];
  const write = (bytes: Uint8Array) => Promise.resolve(void pieces.push(fromLatin1(bytes)));
  const written = new Body(connection, 12).writeTo({ write });
  assertEquals(pieces, ["hello"]);
  assertEquals([await written, pieces.join("")], [12, "hello, world"]);
});

Deno.test("the connection of a canceled body is not told of a read that fails later", async () => {
  const connection = new Connected([]);
  const pending = Promise.withResolvers<number>();
  connection.read = () => pending.promise;
  const body = new Body(connection, 5);
  const read = body.read();
  const reason = new Error("not wanted");
  await body.cancel(reason);
  assertStrictEquals(await read.catch((error) => error), reason);
  pending.reject(new Error("reset"));
  await turnOfEventLoop();
  assertEquals(connection.told, []);
});

Deno.test("one of our body classes, or a class that extends it, reads the connection directly", () => {
  const source = new Connected([]);
  class Extended extends Body {}
  class Twice extends Extended {}
  for (const used of [Body, Extended, Twice]) {
    assertStrictEquals(sourceFor(used, Body, source, 5), source);
  }
  const others = [Foreign, ChunkedBody, Object, { prototype: Body }, { prototype: null }];
  for (const used of others) {
    assert(!(sourceFor(used, Body, source, 5) instanceof BodySource));
  }
});

Deno.test("the source of a foreign body exposes nothing of the connection", () => {
  for (const framing of [5, "chunked"] as const) {
    const source = sourceFor(Foreign, Body, new Connected([]), framing);
    assertEquals(Reflect.ownKeys(source), []);
  }
});

Deno.test("a foreign body of known length reads its own bytes, in any portions, and then the end", async () => {
  const args = [
    fc.nat(40),
    arbitrary.pieceLengths,
    fc.integer({ min: 1, max: 50 }),
    fc.boolean(),
  ] as const;
  await fc.assert(
    fc.asyncProperty(...args, async (length, lengths, room, buffered) => {
      const bytes = latin1("x".repeat(length) + "GET / HTTP/1.1\r\n\r\n");
      const connection = new Connected(cut(bytes, ...lengths));
      if (buffered) await connection.reader.fill();
      const source = sourceFor(Foreign, Body, connection, length);
      assertEquals(await readAll(source, room), "x".repeat(length));
      assertEquals([connection.told, await source.read(new Uint8Array(9))], [["consumed"], null]);
    }),
  );
});

Deno.test("a foreign body of length 0 is at its end from the start", async () => {
  const source = sourceFor(Foreign, Body, new Connected([latin1("GET /")]), 0);
  for (let i = 0; i < 2; i++) assertEquals(await source.read(new Uint8Array(9)), null);
});

Deno.test("a foreign chunked body reads its own coding, in any portions, and then the end", async () => {
  const args = [arbitrary.chunks, arbitrary.pieceLengths, fc.integer({ min: 1, max: 50 })] as const;
  await fc.assert(
    fc.asyncProperty(...args, async (chunks, lengths, room) => {
      const coding = fromLatin1(concat(chunks.map(formatChunk)));
      const bytes = latin1(coding + "GET / HTTP/1.1\r\n\r\n");
      const connection = new Connected(cut(bytes, ...lengths));
      const source = sourceFor(Foreign, ChunkedBody, connection, "chunked");
      assertEquals(await readAll(source, room), coding);
      assertEquals([connection.told, await source.read(new Uint8Array(9))], [["consumed"], null]);
    }),
  );
});

Deno.test("a foreign body fails if the connection ends or breaks before its end", async () => {
  const cutShort = new Connected([latin1("abc")]);
  const error = await rejectionOf(readAll(sourceFor(Foreign, Body, cutShort, 5), 9), "a cut body");
  assertEquals([(error as Error).message, cutShort.told], ["2 missing", ["failed"]]);
  const broken = new Connected([latin1("5\r\nhello\r\nx")]);
  const reading = readAll(sourceFor(Foreign, ChunkedBody, broken, "chunked"), 9);
  assertInstanceOf(await rejectionOf(reading, "a broken body"), ProtocolError);
  assertEquals(broken.told, ["failed"]);
});

Deno.test("CodingCheck returns a copy, and reports an invalid coding with its cause", () => {
  const check = new CodingCheck();
  const bytes = latin1("1\r\nx\r\n");
  const valid = check.check(bytes);
  bytes.fill(0x79);
  assertEquals(fromLatin1(valid), "1\r\nx\r\n");
  for (const call of [() => check.end(), () => check.check(latin1("x\r\n"))]) {
    const error = thrownBy(call, "a broken coding");
    assertInstanceOf(error, BodyError);
    assertInstanceOf(error.cause, ProtocolError);
  }
});
