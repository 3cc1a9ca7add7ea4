/** The stream below a TLS connection: reading can be paused, and both end together. */
import { assert, assertEquals } from "@std/assert";
import { createServer, type Socket as NetSocket } from "node:net";
import { once } from "node:events";
import { freeMemory, makeNetStream } from "@degu/internal/net/tls/raw_stream.ts";
import { RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";

/** A socket of node:net, and its peer. */
async function connected() {
  const server = createServer();
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const accepted = once(server, "connection");
  const peer = await RawPeer.connect(["127.0.0.1", port]);
  const [socket]: [NetSocket] = await accepted as [NetSocket];
  return {
    peer,
    socket,
    async [Symbol.asyncDispose]() {
      peer.close();
      socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

Deno.test("the stream reports whether the peer has sent a byte", async () => {
  await using ends = await connected();
  const below = makeNetStream(ends.socket);
  assertEquals([below.heard, below.conn, below.stream === ends.socket], [false, null, true]);
  const arrived = once(ends.socket, "data");
  await ends.peer.send("x");
  await within(arrived, "a byte arrives");
  assertEquals(below.heard, true);
});

Deno.test("nothing is read while the stream is held, and nothing is lost afterwards", async () => {
  await using ends = await connected();
  const below = makeNetStream(ends.socket);
  let received = "";
  ends.socket.on("data", (bytes: Uint8Array) => received += new TextDecoder().decode(bytes));
  // The socket begins to read in the next turn.
  await turnOfEventLoop();
  below.hold();
  await ends.peer.send("hello");
  for (let i = 0; i < 3; i++) await turnOfEventLoop();
  assertEquals(received, "");
  below.release();
  while (received.length < 5) await within(once(ends.socket, "data"), "the rest arrives");
  assertEquals(received, "hello");
});

Deno.test("holding, releasing and closing a closed stream is not an error", async () => {
  await using ends = await connected();
  const below = makeNetStream(ends.socket);
  const closed = once(ends.socket, "close");
  below.close();
  await within(closed, "the socket is closed");
  below.hold();
  below.release();
  below.close();
  assert(ends.socket.destroyed);
  assertEquals((await ends.peer.readToEnd()).received, "");
});

Deno.test("memory that was freed can't be used any more; parts of a buffer and small ones are not freed", () => {
  const rows: readonly [Uint8Array<ArrayBuffer>, number][] = [
    [new Uint8Array(4096), 0],
    [new Uint8Array(100_000), 0],
    [new Uint8Array(4095), 4095],
    [new Uint8Array(0), 0],
    [new Uint8Array(8192).subarray(1), 8191],
    [new Uint8Array(8192).subarray(0, 8191), 8191],
  ];
  for (const [piece, left] of rows) {
    freeMemory(piece);
    assertEquals(piece.length, left);
  }
});

Deno.test("once memory is reused, what arrived is gone as soon as it was passed on", async () => {
  await using ends = await connected();
  const below = makeNetStream(ends.socket);
  const kept: Uint8Array[] = [];
  let received = "";
  ends.socket.on("data", (piece: Uint8Array) => {
    kept.push(piece);
    received += new TextDecoder().decode(piece);
  });
  // The socket begins to read in the next turn.
  await turnOfEventLoop();
  below.reuseMemory();
  const text = "x".repeat(100_000) + "y".repeat(100_000);
  const sent = ends.peer.send(text);
  while (received.length < text.length) await within(once(ends.socket, "data"), "the rest arrives");
  await sent;
  assertEquals(received, text);
  await turnOfEventLoop();
  assert(kept.every(({ length }) => length < 4096));
  below.close();
  below.reuseMemory();
});
