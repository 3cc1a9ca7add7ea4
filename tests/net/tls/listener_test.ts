/** The listener of a TLS server, which returns connections as streams for node:tls. */
import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import { createServer, type Socket as NetSocket } from "node:net";
import type { Duplex } from "node:stream";
import type { Address } from "@degu/degu/base";
import { writeAll } from "@degu/internal/base/body/byte_io.ts";
import {
  listenRaw,
  type RawConnection,
  type RawListener,
} from "@degu/internal/net/tls/listener.ts";
import { makeDuplex, NetStream, type RawStream } from "@degu/internal/net/tls/raw_stream.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { dial, RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

/** A listener, and its connections. */
class Listening implements Disposable {
  readonly log = new RecordingLogger();
  readonly raw: RawListener;
  readonly #arrived: RawConnection[] = [];
  #wake = () => {};

  constructor(address: Address) {
    this.raw = listenRaw(address, this.log, (connection) => {
      this.#arrived.push(connection);
      this.#wake();
    });
  }

  static async start(address: Address): Promise<Listening> {
    const listening = new Listening(address);
    await withTimeout(listening.raw.ready, "the listener is bound");
    listening.raw.start();
    listening.raw.start();
    return listening;
  }

  async next(): Promise<RawConnection> {
    if (this.#arrived.length === 0) {
      await withTimeout(
        new Promise<void>((resolve) => this.#wake = resolve),
        "a connection arrives",
      );
    }
    return this.#arrived.shift()!;
  }

  [Symbol.dispose](): void {
    this.raw.close();
    for (const { rawStream } of this.#arrived) rawStream.close();
  }
}

/** Yields an address for each of the two ways to listen. */
async function* addresses(): AsyncGenerator<Address> {
  yield ["127.0.0.1", 0];
  await using directory = await createTempDir();
  yield `${directory.path}/socket`;
}

Deno.test("a waiting connection reads only its first bytes, and loses none", async () => {
  for await (const address of addresses()) {
    using listening = await Listening.start(address);
    using conn = await dial(listening.raw.address);
    const size = 8 << 20;
    const sent = writeAll(conn, new Uint8Array(size)).then(() => conn.closeWrite());
    const { rawStream } = await listening.next();
    rawStream.stream.read(0); // The TLS listener also does this.
    const limit = 65_536;
    while (rawStream.stream.readableLength < limit) await waitForTick();
    for (let tick = 0; tick < 20; tick++) await waitForTick();
    assert(rawStream.stream.readableLength < 2 * limit, `${rawStream.stream.readableLength} bytes`);
    assert(rawStream.hasReceived);
    let received = 0;
    for await (const bytes of rawStream.stream) received += bytes.length;
    await withTimeout(sent, "all is sent");
    assertEquals(received, size);
    rawStream.close();
  }
});

// ───────────────────────── both kinds of streams

/**
 * Functions that make a raw stream of a socket of node:net or a connection of Deno, its peer, and a
 * function that stops listening.
 */
const kinds: Record<string, () => Promise<[RawStream, RawPeer, () => Promise<unknown>]>> = {
  async "node:net"() {
    const server = createServer();
    server.listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const accepted = once(server, "connection") as Promise<[NetSocket]>;
    const peer = await RawPeer.connect(["127.0.0.1", port]);
    const [socket] = await accepted;
    socket.on("error", () => {});
    return [new NetStream(socket), peer, () => {
      server.close();
      return once(server, "close");
    }];
  },
  async "Deno"() {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const peer = await RawPeer.connect(["127.0.0.1", listener.addr.port]);
    const rawStream = makeDuplex(await listener.accept());
    assert(rawStream.conn !== null);
    return [rawStream, peer, () => Promise.resolve()];
  },
};

/** Registers a test with a stream of each kind and its peer; the stream is closed at the end. */
function test(name: string, run: (rawStream: RawStream, peer: RawPeer) => Promise<void>): void {
  for (const [kind, make] of Object.entries(kinds)) {
    Deno.test(`${kind}: ${name}`, async () => {
      const [rawStream, peer, stop] = await make();
      try {
        await run(rawStream, peer);
      } finally {
        peer.close();
        const { stream } = rawStream;
        const closed = stream.closed ? null : once(stream, "close");
        rawStream.close();
        await closed;
        await stop();
      }
    });
  }
}

/** Collects received bytes; like TLS, it uses each piece only during its event. */
function collect(stream: Duplex) {
  const pieces: Uint8Array[] = [];
  const buffers = new Set<ArrayBufferLike>();
  let text = "";
  stream.on("data", (piece: Uint8Array) => {
    pieces.push(piece);
    buffers.add(piece.buffer);
    text += new TextDecoder().decode(piece);
  });
  return {
    pieces,
    buffers,
    text: () => text,
    async upTo(length: number) {
      while (text.length < length) await withTimeout(once(stream, "data"), "the rest arrives");
      return text;
    },
  };
}

test("a paused stream reads no bytes, and loses none", async (rawStream, peer) => {
  const received = collect(rawStream.stream);
  // A socket begins to read in the next tick.
  await waitForTick();
  rawStream.pause();
  // A pending read of Deno's connection completes; no other read follows.
  await peer.send("h");
  await received.upTo(rawStream.conn === null ? 0 : 1);
  await peer.send("ello");
  for (let i = 0; i < 3; i++) await waitForTick();
  assertEquals(received.text(), rawStream.conn === null ? "" : "h");
  rawStream.resume();
  assertEquals(await received.upTo(5), "hello");
});

test(
  "reused memory: pieces that are consumed at once share one buffer",
  async (rawStream, peer) => {
    const received = collect(rawStream.stream);
    await waitForTick();
    const isNode = rawStream.conn === null;
    // A read of Deno's connection is pending, in a separate buffer.
    rawStream.freeUsedMemory();
    const text = [..."abcdefgh"].map((letter) => letter.repeat(50_000)).join("");
    const sent = peer.send(text);
    assertEquals(await received.upTo(text.length), text);
    await sent;
    await waitForTick();
    if (isNode) assert(received.pieces.every(({ length }) => length < 4096));
    else assertEquals(received.buffers.size, 1);
  },
);

test("reused memory: pieces that wait keep their bytes", async (rawStream, peer) => {
  if (rawStream.conn === null) return;
  rawStream.freeUsedMemory();
  const received = collect(rawStream.stream);
  rawStream.stream.pause();
  for (const letter of "abc") {
    await peer.send(letter.repeat(10_000));
    for (let i = 0; i < 5; i++) await waitForTick();
  }
  assertEquals(rawStream.stream.readableLength, 30_000);
  rawStream.stream.resume();
  const text = [..."abc"].map((letter) => letter.repeat(10_000)).join("");
  assertEquals(await received.upTo(30_000), text);
});
