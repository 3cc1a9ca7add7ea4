/** All kinds of bodies that are sent. */
import {
  bodies,
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBody,
  ChunkedBodyIter,
  LengthEncoderStream,
} from "@degu/degu/base";
import { checkBodies } from "@degu/internal/base/body/body.ts";
import type { BodyOut } from "@degu/internal/base/body/sent_body.ts";
import type { BodySource } from "@degu/internal/base/body/body_reader.ts";
import { ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import { connect } from "../../net/client/connected.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { makeUntypedApp, serve } from "@degu/testing/serving.ts";
import { RecordingSink } from "@degu/testing/streams.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { toText } from "@std/streams";

// The common behavior of all kinds of bodies that are sent, and arrays that change while they are
// sent.

Deno.test("checkBodies requires all four classes of the library, or classes that extend them", () => {
  checkBodies(bodies);
  class Extended extends Body {}
  class Twice extends Extended {}
  checkBodies({ ...bodies, Body: Twice });
  for (const [name, Class] of Object.entries(bodies)) {
    for (const invalidClass of [null, class {}, { prototype: Class }, Class.prototype]) {
      const option = { ...bodies, [name]: invalidClass };
      assertThrows(
        () => checkBodies(option),
        TypeError,
        `whose ${name} extends the class of this package`,
      );
    }
  }
  assertThrows(() => checkBodies({ ...bodies, Body: ChunkedBody as never }), TypeError);
  assertThrows(() => checkBodies(null as never), TypeError, "whose Body extends");
});

// ───────────────────────── canceled

Deno.test("canceling a body that was not begun ends its iterable with the reason, and waits for that", async () => {
  const reason = new Error("not sent");
  for (const kind of [Symbol.iterator, Symbol.asyncIterator]) {
    const reasons: unknown[] = [];
    const iterator = {
      next: () => ({ done: true, value: undefined }),
      async return(reason: unknown) {
        await new Promise((resolve) => setTimeout(resolve));
        reasons.push(reason);
        return { done: true, value: undefined };
      },
    };
    await new ChunkedBodyIter({ [kind]: () => iterator } as never).cancel(reason);
    assertEquals(reasons, [reason]);
  }
});

Deno.test("an iterator whose return() rejects while next() is pending fails no other operation", async () => {
  using unhandled = recordUnhandledRejections();
  const nextCalled = Promise.withResolvers<void>();
  const iterator = {
    next: () => new Promise<IteratorResult<Uint8Array>>(() => nextCalled.resolve()),
    return: () => Promise.reject(new Error("it is busy")),
  };
  const body = new BodyIter({ [Symbol.asyncIterator]: () => iterator }, 5);
  const writing = catchRejection(body.writeTo(new RecordingSink()), "a canceled body");
  await nextCalled.promise;
  const reason = new Error("enough");
  await body.cancel(reason);
  assertStrictEquals(await writing, reason);
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(unhandled.reasons, []);
});

Deno.test("an iterator that throws has ended, so its return() isn't called", async () => {
  let returned = 0;
  const iterator = {
    next: (): Promise<IteratorResult<Chunk>> => Promise.reject(new Error("gone")),
    return: () => (returned++, Promise.resolve({ done: true, value: undefined } as const)),
  };
  const body = new ChunkedBodyIter({ [Symbol.asyncIterator]: () => iterator });
  await assertRejects(() => body.writeTo(new RecordingSink()));
  await body.cancel();
  assertEquals(returned, 0);
});

const smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";

/** Arrays whose memory `change` grows by a whole request, transfers, or halves. */
const arrays = {
  growing(size) {
    const buffer = new ArrayBuffer(size, { maxByteLength: size + smuggled.length });
    const bytes = new Uint8Array(buffer);
    const change = () => {
      buffer.resize(size + smuggled.length);
      bytes.set(encodeLatin1(smuggled), size);
    };
    return { bytes: bytes.fill(0x61), change };
  },
  transferred(size) {
    const bytes = new Uint8Array(size).fill(0x61);
    return { bytes, change: () => void bytes.buffer.transfer() };
  },
  shrinking(size) {
    const buffer = new ArrayBuffer(size, { maxByteLength: size });
    return { bytes: new Uint8Array(buffer).fill(0x61), change: () => buffer.resize(size / 2) };
  },
} satisfies Record<string, (size: number) => { bytes: Uint8Array; change: () => void }>;

/** Returns the received text without the bytes of the body. */
function removeBody(received: string): string {
  return received.replace(/\r\n\r\na*$/, "\r\n\r\n");
}

for (const [kind, make] of Object.entries(arrays)) {
  for (const size of [10, 200_004]) {
    Deno.test(`an upload from an array of ${size} bytes that is ${kind} never smuggles a request`, async () => {
      using connected = await connect();
      const { bytes, change } = make(size);
      const posting = catchRejection(connected.conn.post("/", {}, bytes), "the request");
      change();
      const { received } = await connected.peer.readToEnd();
      assertInstanceOf(await posting, BodyError);
      assert(connected.conn.closed);
      const preamble = `POST / HTTP/1.1\r\ncontent-length: ${size}\r\n\r\n`;
      assert(["", preamble].includes(removeBody(received)));
    });
  }

  // Use more bytes than a Unix socket takes at once, so that the array changes before the end.
  const largeSize = kind === "growing" ? 2_000_000 : 16_000_000;
  const bodies: Record<string, (bytes: Uint8Array) => BodyOut> = {
    "one array": (bytes) => bytes,
    "an item of a BodyIter": (bytes) => new BodyIter([bytes, new Uint8Array(10)], largeSize + 10),
    "an item of a stream": (bytes) =>
      new Body(ReadableStream.from([bytes, new Uint8Array(10)]), largeSize + 10),
    "a chunk": (bytes) => new ChunkedBodyIter([[null, bytes], [null, new Uint8Array(0)]]),
  };
  for (const [label, makeBody] of Object.entries(bodies)) {
    // The rows of transferred arrays cover those of shrinking arrays.
    if (kind === "shrinking" && label !== "one array") continue;
    Deno.test(`${label} that is ${kind} while it is sent is sent as announced, or cut`, async () => {
      await using dir = await createTempDir();
      using connected = await connect({}, `${dir.path}/socket`);
      const { bytes, change } = make(largeSize);
      const posting = connected.conn.post("/", {}, makeBody(bytes)).catch((error) => error);
      await connected.peer.readPreamble();
      change();
      if (label === "a chunk") await connected.peer.readUntil(`${largeSize.toString(16)}\r\n`);
      if (kind === "growing") {
        const end = { "a chunk": "\r\n0\r\n\r\n", "one array": "" }[label] ?? "\0".repeat(10);
        assertEquals(
          await connected.peer.readExactly(largeSize + end.length),
          "a".repeat(largeSize) + end,
        );
        await connected.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        assertEquals((await posting).status, 204);
      } else {
        const { received } = await connected.peer.readToEnd();
        assertInstanceOf(await posting, BodyError);
        // The memory that a shrinking buffer loses may be cleared while a write of it goes out.
        assert(/^a*\0*$/.test(received) && received.length < largeSize, `${received.length} bytes`);
      }
    });
  }

  Deno.test(`the empty chunk, if it is ${kind} before it is sent, ends the message or cuts it`, async () => {
    const { bytes, change } = make(0);
    async function* makeChunks(): AsyncGenerator<Chunk> {
      yield [null, encodeLatin1("hello")];
      yield [null, bytes];
      change();
      await Promise.resolve();
    }
    using connected = await connect();
    const posting = connected.conn.post("/", {}, new ChunkedBodyIter(makeChunks())).catch(() => {});
    await connected.peer.readPreamble();
    connected.peer.readExactly(15).then(() => connected.peer.close(), () => {});
    await posting;
    const { received } = await connected.peer.readToEnd().catch(() => ({ received: "" }));
    assert(!received.includes("smuggled"), received);
  });

  Deno.test(`a response is invalid if a header's getter has ${kind} the array that is its body`, async () => {
    for (const size of [10, 200_004]) {
      const { bytes, change } = make(size);
      await using serving = serve(makeUntypedApp(() => {
        const headers = {
          get "x-evil"() {
            change();
            return "yes";
          },
        };
        return [200, "OK", headers, bytes];
      }));
      using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
      assertMatch((await peer.readToEnd()).received, /^HTTP\/1.1 500 /);
      const [message] = await serving.logger.waitFor("error");
      assert(message?.includes("BodyError"), message);
    }
  });
}

Deno.test("an array of a class that reports another length is sent with its real length", async () => {
  class LyingArray extends Uint8Array {
    override get length(): number {
      return 3;
    }
    override get byteLength(): number {
      return 3;
    }
  }
  for (const size of [10, 200_004]) {
    using connected = await connect();
    const bytes = new LyingArray(size);
    for (const body of [bytes, new BodyIter([bytes], size)] satisfies BodyOut[]) {
      const posting = connected.conn.post("/", {}, body);
      const preamble = await connected.peer.readPreamble();
      assertEquals(preamble, `POST / HTTP/1.1\r\ncontent-length: ${size}\r\n\r\n`);
      await connected.peer.readExactly(size);
      await connected.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
      assertEquals((await posting).status, 204);
    }
  }
});

Deno.test("LengthEncoderStream passes on the written bytes, even if the writer changes them afterwards", async () => {
  const { bytes, change } = arrays.growing(5);
  const stream = new LengthEncoderStream(5);
  const writer = stream.writable.getWriter();
  const reading = toText(stream.readable);
  await writer.write(bytes);
  change();
  await writer.close();
  assertEquals(await reading, "aaaaa");
});

Deno.test("a read that fails after a body was canceled doesn't affect its connection", async () => {
  const events: string[] = [];
  const pending = Promise.withResolvers<number>();
  const connection: BodySource = {
    kind: "request",
    buffer: new ReadBuffer(),
    read: () => pending.promise,
    onEnd: (outcome) => void events.push(outcome),
  };
  const body = new Body(connection, 5);
  const reading = body.read();
  const reason = new Error("not wanted");
  await body.cancel(reason);
  assertStrictEquals(await reading.catch((error) => error), reason);
  pending.reject(new Error("reset"));
  await waitForTick();
  assertEquals(events, ["canceled"]);
});
