/** Arrays that change between the announcement of a message and the sending of its bytes. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  Body,
  BodyError,
  BodyIter,
  type Chunk,
  ChunkedBodyIter,
  LengthEncoderStream,
} from "@degu/degu/base";
import type { BodyOut } from "@degu/internal/base/body/bodies.ts";
import { connect } from "@degu/testing/connected.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { lawless, serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";

/** An array over a buffer that can grow by a whole request, which is there already. */
function growing(size: number): { bytes: Uint8Array; change: () => void } {
  const buffer = new ArrayBuffer(size, { maxByteLength: size + smuggled.length });
  const bytes = new Uint8Array(buffer);
  const change = () => {
    buffer.resize(size + smuggled.length);
    bytes.set(latin1(smuggled), size);
  };
  return { bytes: bytes.fill(0x61), change };
}

/** An array whose memory is given to somebody else. */
function transferred(size: number): { bytes: Uint8Array; change: () => void } {
  const bytes = new Uint8Array(size).fill(0x61);
  return { bytes, change: () => void bytes.buffer.transfer() };
}

/** An array over a buffer that loses its second half. */
function shrinking(size: number): { bytes: Uint8Array; change: () => void } {
  const buffer = new ArrayBuffer(size, { maxByteLength: size });
  return { bytes: new Uint8Array(buffer).fill(0x61), change: () => buffer.resize(size / 2) };
}

const arrays = { growing, transferred, shrinking };

/** All that is sent up to the end, less what stands for the body. */
function withoutBody(received: string): string {
  return received.replace(/\r\n\r\na*$/, "\r\n\r\n");
}

for (const [how, make] of Object.entries(arrays)) {
  for (const size of [10, 200_004]) {
    Deno.test(`an upload from an array of ${size} bytes that is ${how} smuggles nothing`, async () => {
      using connected = await connect();
      const { bytes, change } = make(size);
      const posting = rejectionOf(connected.conn.post("/", {}, bytes), "the request");
      change();
      const { received } = await connected.peer.readToEnd();
      assertInstanceOf(await posting, BodyError);
      assert(connected.conn.closed);
      assert(["", `POST / HTTP/1.1\r\ncontent-length: ${size}\r\n\r\n`].includes(
        withoutBody(received),
      ));
    });
  }

  // What the system can take at once would be sent before it is changed.
  const large = how === "growing" ? 2_000_000 : 16_000_000;
  const bodies: Record<string, (bytes: Uint8Array) => BodyOut> = {
    "one array": (bytes) => bytes,
    "an item of a BodyIter": (bytes) => new BodyIter([bytes, new Uint8Array(10)], large + 10),
    "a chunk": (bytes) => new ChunkedBodyIter([[null, bytes], [null, new Uint8Array(0)]]),
  };
  for (const [what, makeBody] of Object.entries(bodies)) {
    Deno.test(`${what} that is ${how} while it is sent is sent as announced, or cut`, async () => {
      using connected = await connect();
      const { bytes, change } = make(large);
      const posting = connected.conn.post("/", {}, makeBody(bytes)).catch((error) => error);
      await connected.peer.readPreamble();
      change();
      if (what === "a chunk") await connected.peer.readUntil(`${large.toString(16)}\r\n`);
      if (how === "growing") {
        const end = { "a chunk": "\r\n0\r\n\r\n", "one array": "" }[what] ?? "\0".repeat(10);
        assertEquals(await connected.peer.readExactly(large + end.length), "a".repeat(large) + end);
        await connected.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        assertEquals((await posting).status, 204);
      } else {
        const { received } = await connected.peer.readToEnd();
        assertInstanceOf(await posting, BodyError);
        // The memory that a shrinking buffer loses may be cleared while a write of it goes out.
        assert(/^a*\0*$/.test(received) && received.length < large, `${received.length} bytes`);
      }
    });
  }

  Deno.test(`the empty chunk, if it is ${how} before it is sent, ends the message or cuts it`, async () => {
    const { bytes, change } = make(0);
    async function* chunks(): AsyncGenerator<Chunk> {
      yield [null, latin1("hello")];
      yield [null, bytes];
      change();
      await Promise.resolve();
    }
    using connected = await connect();
    const posting = connected.conn.post("/", {}, new ChunkedBodyIter(chunks())).catch(() => {});
    await connected.peer.readPreamble();
    connected.peer.readExactly(15).then(() => connected.peer.close(), () => {});
    await posting;
    const { received } = await connected.peer.readToEnd().catch(() => ({ received: "" }));
    assert(!received.includes("smuggled"), received);
  });

  Deno.test(`a response is invalid if a header's getter has ${how} the array that is its body`, async () => {
    for (const size of [10, 200_004]) {
      const { bytes, change } = make(size);
      await using serving = serve(lawless(() => {
        const headers = {
          get "x-evil"() {
            change();
            return "yes";
          },
        };
        return [200, "OK", headers, bytes];
      }));
      using peer = await RawPeer.connect(serving.address);
      await peer.send("GET / HTTP/1.1\r\n\r\n");
      await peer.assertClosedSilently();
      const [message] = await serving.logger.waitFor("error");
      assert(message?.includes("BodyError"), message);
    }
  });
}

Deno.test("an array of a class that reports another length is sent with its real length", async () => {
  class Liar extends Uint8Array {
    override get length(): number {
      return 3;
    }
    override get byteLength(): number {
      return 3;
    }
  }
  for (const size of [10, 200_004]) {
    using connected = await connect();
    const bytes = new Liar(size).fill(0x61);
    Uint8Array.prototype.fill.call(bytes, 0x61);
    const bodies: BodyOut[] = [bytes, new BodyIter([bytes], size)];
    for (const body of bodies) {
      const posting = connected.conn.post("/", {}, body);
      const preamble = await connected.peer.readPreamble();
      assertEquals(preamble, `POST / HTTP/1.1\r\ncontent-length: ${size}\r\n\r\n`);
      await connected.peer.readExactly(size);
      await connected.peer.send("HTTP/1.1 204 No Content\r\n\r\n");
      assertEquals((await posting).status, 204);
    }
  }
});

Deno.test("an item of a stream that shrinks while it is copied is an error", async () => {
  using connected = await connect();
  const { bytes, change } = transferred(8_000_000);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(bytes);
    },
  });
  const posting = rejectionOf(connected.conn.post("/", {}, new Body(stream, 16_000_000)), "it");
  await connected.peer.readPreamble();
  change();
  await connected.peer.readToEnd();
  assertInstanceOf(await posting, BodyError);
});

Deno.test("LengthEncoderStream passes on what was written, even if the writer changes it afterwards", async () => {
  const { bytes, change } = growing(5);
  const stream = new LengthEncoderStream(5);
  const writer = stream.writable.getWriter();
  const reading = new Response(stream.readable as ReadableStream<Uint8Array<ArrayBuffer>>).text();
  await writer.write(bytes);
  change();
  await writer.close();
  assertEquals(await reading, "aaaaa");
});
