/** Accepting connections as streams that node:tls can work on. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { writeAll } from "@degu/internal/base/body/byte_io.ts";
import { listenRaw } from "@degu/internal/net/tls/raw_listener.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { dial, RawPeer, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";

const silent = { debug: () => {}, warn: () => {} };

/** An address for each of the two ways to listen. */
async function* addresses(): AsyncGenerator<Address> {
  yield ["127.0.0.1", 0];
  await using directory = await tempDir();
  yield `${directory.path}/socket`;
}

Deno.test("the address is final once ready resolves, and connections are accepted there", async () => {
  for await (const asked of addresses()) {
    const listener = listenRaw(asked, silent);
    await listener.ready;
    const [accepted, peer] = await Promise.all([
      within(listener.accept(), "a connection is accepted"),
      RawPeer.connect(listener.address),
    ]);
    if (typeof asked === "string") {
      assertEquals([listener.address, accepted.address], [asked, null]);
    } else {
      assert(Number(listener.address[1]) > 0);
      assertEquals(accepted.address?.[0], "127.0.0.1");
    }
    // Nothing that the peer sends at once gets lost.
    await peer.send("hello");
    let received = "";
    for await (const bytes of accepted.below.stream) {
      received += new TextDecoder().decode(bytes);
      if (received.length === 5) break;
    }
    assertEquals(received, "hello");
    accepted.below.close();
    peer.close();
    listener.close();
  }
});

Deno.test("listening rejects if the address is in use", async () => {
  for await (const asked of addresses()) {
    const listener = listenRaw(asked, silent);
    await listener.ready;
    const second = listenRaw(listener.address, silent);
    await assertRejects(() => second.ready, Deno.errors.AddrInUse);
    second.close();
    listener.close();
  }
});

Deno.test("connections wait until they are accepted, and the oldest of 64 is closed for the next and reported", async () => {
  const told: string[] = [];
  const refused = Promise.withResolvers<void>();
  const log = {
    warn: (message: string) => told.push(message),
    debug: (message: string) => {
      told.push(message);
      refused.resolve();
    },
  };
  const listener = listenRaw(["127.0.0.1", 0], log);
  await listener.ready;
  const conns: Deno.Conn[] = [];
  for (let i = 0; i < 65; i++) conns.push(await dial(listener.address));
  await within(refused.promise, "the connection that is too much is closed");
  const end = conns[0]!.read(new Uint8Array(1)).catch(() => null);
  assertEquals(await within(end, "it is the oldest"), null);
  assertEquals(told.length, 1);
  assertMatch(told[0]!, /too many/);
  for (let i = 0; i < 64; i++) {
    const { below } = await within(listener.accept(), "those that waited are there");
    below.close();
  }
  for (const conn of conns) conn.close();
  listener.close();
});

Deno.test("only the beginning of a waiting connection is read, and nothing of it is lost", async () => {
  const listener = listenRaw(["127.0.0.1", 0], silent);
  await listener.ready;
  using _silent = await dial(listener.address);
  using conn = await dial(listener.address);
  const size = 8 << 20;
  const sent = writeAll(conn, new Uint8Array(size)).then(() => conn.closeWrite());
  const first = await within(listener.accept(), "one is there");
  const second = await within(listener.accept(), "both are there");
  const { below } = first.address?.[1] === (conn.localAddr as Deno.NetAddr).port ? first : second;
  const limit = 65_536;
  while (below.stream.readableLength < limit) await turnOfEventLoop();
  for (let turn = 0; turn < 20; turn++) await turnOfEventLoop();
  assert(below.stream.readableLength < 2 * limit, `${below.stream.readableLength} bytes`);
  let received = 0;
  for await (const bytes of below.stream) received += bytes.length;
  await within(sent, "all is sent");
  assertEquals(received, size);
  first.below.close();
  second.below.close();
  listener.close();
});
