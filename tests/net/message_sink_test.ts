/** MessageSink: what a body may write, and which bodies are trusted to produce valid chunks. */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { Body, BodyError, BodyIter, ChunkedBody, ChunkedBodyIter } from "@degu/degu/base";
import type { ByteSink, ByteSource, Chunk } from "@degu/degu/base";
import type { WritableBody } from "@degu/internal/base/body/bodies.ts";
import { MessageSink } from "@degu/internal/net/message_writer.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { countLines } from "@degu/testing/chunk_lines.ts";
import { collect, PieceSource, streamOf } from "@degu/testing/streams.ts";
import { fromLatin1, latin1 } from "@degu/testing/wire_grammar.ts";

const OUT_BYTES = 100;
const ENCODED = "5\r\nhello\r\n0\r\n\r\n";
const SMUGGLED = "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";

/** What a message goes out through; `preamble` bytes of it are at the beginning of `out`. */
class RecordingWriter {
  readonly out = new Uint8Array(OUT_BYTES).fill(0x70);
  /** What was written, an item per write. */
  readonly writes: string[] = [];
  /** What each write waits for. */
  ready: Promise<void> = Promise.resolve();

  join(preamble: number, bytes: Uint8Array): Uint8Array | null {
    const whole = preamble + bytes.length;
    if (whole > OUT_BYTES) return null;
    this.out.set(bytes, preamble);
    return this.out.subarray(0, whole);
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.writes.push(fromLatin1(bytes));
    await this.ready;
  }
}

/** Sends a body after a preamble of so many bytes; resolves to each write. */
async function send(
  body: WritableBody,
  framing: number | "chunked" = "chunked",
  preamble = 0,
  writer = new RecordingWriter(),
): Promise<string[]> {
  const sink = new MessageSink(writer, preamble, body, framing, () => {});
  await Promise.all([sink.writeBody(), sink.flush()]);
  return writer.writes;
}

/** A body with members of any kind. */
function foreign(writeTo: (sink: ByteSink) => unknown, members: object = { chunked: true }) {
  return { ...members, used: false, writeTo, cancel: () => {} } as unknown as WritableBody;
}

const smuggle = (sink: ByteSink) => sink.write(latin1(SMUGGLED));
const encodedBody = () => new ChunkedBody(streamOf(latin1(ENCODED)));
const iterBody = () =>
  new ChunkedBodyIter([[null, latin1("hello")], [null, new Uint8Array(0)]] as Chunk[]);
const makers = { ChunkedBody: encodedBody, ChunkedBodyIter: iterBody };

// ───────────────────────── which bodies are trusted

for (const [name, make] of Object.entries(makers)) {
  Deno.test(`a ${name} is sent as it is encoded, and not scanned again`, async () => {
    const lines = await countLines(async () => {
      assertEquals((await send(make())).join(""), ENCODED);
    });
    assertEquals(lines, name === "ChunkedBody" ? 2 : 0);
  });

  const impostors: Record<string, () => WritableBody> = {
    "with a writeTo of its own": () => Object.assign(make(), { writeTo: smuggle }),
    "with a getter for writeTo that changes its mind": () => {
      let reads = 0;
      const body = make();
      const { writeTo } = body;
      return Object.defineProperty(body, "writeTo", {
        get: () => reads++ === 0 ? writeTo : smuggle,
      });
    },
    "with another prototype": () =>
      Object.setPrototypeOf(make(), { writeTo: smuggle, chunked: true, used: false }),
    "behind an object that inherits from it": () =>
      Object.create(make(), { writeTo: { value: smuggle } }),
    "behind a Proxy": () =>
      new Proxy(make(), {
        get: (body, key) => key === "writeTo" ? smuggle : Reflect.get(body, key, body),
      }),
    "of a class that extends it": () => {
      const Base: typeof ChunkedBody = make().constructor as typeof ChunkedBody;
      return new class extends Base {
        override async writeTo(sink: ByteSink): Promise<number> {
          await smuggle(sink);
          return SMUGGLED.length;
        }
      }(streamOf() as never);
    },
  };
  for (const [how, makeImpostor] of Object.entries(impostors)) {
    Deno.test(`a ${name} ${how} smuggles nothing`, async () => {
      const writer = new RecordingWriter();
      const sent = send(makeImpostor(), "chunked", 10, writer).then(
        () => "",
        (error) => error instanceof BodyError ? "" : `${error}`,
      );
      assertEquals(await sent, "");
      assert(!writer.writes.join("").includes("HTTP/1.1"), writer.writes.join(""));
    });
  }

  Deno.test(`a ${name} whose prototype has another writeTo is checked`, async () => {
    const { prototype } = make().constructor as typeof ChunkedBody;
    const { writeTo } = prototype;
    prototype.writeTo = smuggle as typeof writeTo;
    try {
      assertInstanceOf(await rejectionOf(send(make()), "smuggling"), BodyError);
    } finally {
      prototype.writeTo = writeTo;
    }
  });

  Deno.test(`a ${name} of a derived class is checked, whatever it overrides`, async () => {
    const Base: typeof ChunkedBody = make().constructor as typeof ChunkedBody;
    const source = name === "ChunkedBody"
      ? streamOf(latin1(ENCODED))
      : [[null, latin1("hello")], [null, new Uint8Array(0)]];
    const bodies = [
      new class extends Base {}(source as never),
      Reflect.construct(Base, [source], class extends Base {}),
    ];
    const lines = await countLines(async () => {
      assertEquals((await send(bodies[0]!)).join(""), ENCODED);
    });
    assertEquals(lines, name === "ChunkedBody" ? 4 : 2);
  });
}

Deno.test("a body of known length that claims to be chunked is checked", async () => {
  for (
    const makeBody of [
      () => new Body(streamOf(latin1(SMUGGLED)), SMUGGLED.length),
      () => new BodyIter([latin1(SMUGGLED)], SMUGGLED.length),
    ]
  ) {
    const body = Object.defineProperty(makeBody(), "chunked", { value: true });
    assertInstanceOf(await rejectionOf(send(body), "smuggling"), BodyError);
  }
});

Deno.test("a byte source that changes its array after it was checked changes nothing", async () => {
  const pieces = new PieceSource([latin1(ENCODED)]);
  const kept = Promise.withResolvers<ArrayBufferLike>();
  const source: ByteSource = {
    read(into) {
      kept.resolve(into.buffer);
      return pieces.read(into);
    },
  };
  const writer = new RecordingWriter();
  const preamble = Promise.withResolvers<void>();
  writer.ready = preamble.promise;
  const sending = send(new ChunkedBody(source), "chunked", 10, writer);
  const buffer = await kept.promise;
  // The beginning of the body is read and checked, and waits for the preamble.
  for (let turn = 0; turn < 100; turn++) await null;
  assertEquals(writer.writes, ["p".repeat(10)]);
  new Uint8Array(buffer).set(latin1("0\r\n\r\n"));
  preamble.resolve();
  const writes = await sending;
  assertEquals(writes.slice(1).join(""), ENCODED);
});

Deno.test("the sink of a foreign body can't reach the message", async () => {
  const sinks: ByteSink[] = [];
  await send(foreign(async (sink) => {
    sinks.push(sink);
    await sink.write(latin1(ENCODED));
  }));
  const [sink] = sinks;
  const members = (value: object) => Reflect.ownKeys(value).map(String);
  assertEquals(members(sink!), ["pieceBytes"]);
  const prototype = Object.getPrototypeOf(sink);
  assertEquals(members(prototype).toSorted(), ["constructor", "write"]);
  assert(Object.isFrozen(prototype));
});

// ───────────────────────── what a body may write

Deno.test("a chunked body with invalid coding is rejected, and the rest of it is not sent", async (t) => {
  const rows: [what: string, pieces: string[], sent: string, message: string][] = [
    ["a bad line", ["5\r\nhello\r\n", "x\r\n"], "5\r\nhello\r\n", "bad chunk line"],
    ["too much data", ["5\r\nhello world\r\n"], "", "chunked coding"],
    ["a byte after the last chunk", [ENCODED, "x"], ENCODED, "after the last chunk"],
    ["no last chunk", ["5\r\nhello\r\n"], "5\r\nhello\r\n", "before the last chunk"],
    ["half a line", ["5\r\nhello\r\n0"], "5\r\nhello\r\n", "before the last chunk"],
    ["nothing", [], "", "before the last chunk"],
  ];
  for (const [what, pieces, sent, message] of rows) {
    await t.step(what, async () => {
      const writer = new RecordingWriter();
      const body = foreign(async (sink) => {
        for (const piece of pieces) await sink.write(latin1(piece));
      });
      const error = await rejectionOf(send(body, "chunked", 0, writer), what);
      assertInstanceOf(error, BodyError);
      assertStringIncludes(error.message, message);
      assertEquals(writer.writes.join(""), sent);
    });
  }
});

Deno.test("a body that writes more or fewer bytes than announced is rejected", async () => {
  for (
    const [wrote, message] of [[4, "wrote 4 of 5"], [6, "more than its 5"], [
      0,
      "wrote 0 of 5",
    ]] as const
  ) {
    const body = foreign((sink) => sink.write(new Uint8Array(wrote)), { chunked: false });
    const error = await rejectionOf(send(body, 5), `${wrote} bytes`);
    assertInstanceOf(error, BodyError);
    assertStringIncludes(error.message, message);
  }
});

Deno.test("an empty write does not write to the connection", async () => {
  const body = foreign(async (sink) => {
    await sink.write(new Uint8Array(0));
    await sink.write(latin1("hello"));
    await sink.write(new Uint8Array(0));
  }, { chunked: false, contentLength: 5 });
  assertEquals(await send(body, 5), ["hello"]);
  assertEquals(await send(foreign((sink) => sink.write(new Uint8Array(0))), 0), []);
});

Deno.test("a body that fits after the preamble is sent with it, and a larger one after it", async () => {
  for (const [length, writes] of [[5, 1], [90, 1], [91, 2], [500, 2]] as const) {
    const body = new BodyIter([new Uint8Array(length).fill(0x78)], length);
    // It is written when the iterator has ended, which is too late for the preamble.
    const now = foreign((sink) => sink.write(new Uint8Array(length).fill(0x78)), {});
    assertEquals((await send(now, length, 10)).length, writes);
    const parts = await send(body, length, 10);
    assertEquals(parts.join(""), "p".repeat(10) + "x".repeat(length));
  }
});

Deno.test("the preamble of a body that throws immediately is not sent", async () => {
  const writer = new RecordingWriter();
  const failure = new Error("no body");
  const body = foreign(() => {
    throw failure;
  });
  assertEquals(await rejectionOf(send(body, "chunked", 10, writer), "it"), failure);
  assertEquals(writer.writes, []);
});

Deno.test("a closed sink accepts nothing more, and a discarded one drops the preamble", async () => {
  const writer = new RecordingWriter();
  const failure = new Error("closed");
  const waiting = Promise.withResolvers<void>();
  const sink = new MessageSink(
    writer,
    10,
    foreign(async (out) => {
      await waiting.promise;
      await out.write(latin1("x"));
    }),
    1,
    () => {},
  );
  const writing = rejectionOf(sink.writeBody(), "the body");
  sink.discard(failure);
  await sink.flush();
  waiting.resolve();
  assertEquals([await writing, writer.writes], [failure, []]);
});

Deno.test("chunks of any size are sent unchanged", async () => {
  const chunks = [1, 70_000, 3, 200_000].map((
    size,
  ): Chunk => [null, new Uint8Array(size).fill(0x61)]);
  chunks.push([["key", "value"], new Uint8Array(0)]);
  const encoded = (await send(new ChunkedBodyIter(chunks))).join("");
  const again = new ChunkedBody(streamOf(latin1(encoded)));
  assertEquals((await send(again)).join(""), encoded);
  const decoded = await collect(new ChunkedBody(streamOf(latin1(encoded))));
  assertEquals(decoded.map(([, { length }]) => length), [1, 70_000, 3, 200_000, 0]);
});
