/** Accepting connections as streams that node:tls can work on. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { listenRaw } from "@degu/internal/net/tls/raw_listener.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { dial, RawPeer, within } from "@degu/testing/raw_peer.ts";

const silent = { debug: () => {}, warn: () => {} };

/** An address for each of the two ways to listen. */
async function* addresses(): AsyncGenerator<Address> {
  yield ["127.0.0.1", 0];
  await using directory = await tempDir();
  yield `${directory.path}/socket`;
}

Deno.test("its address is final once it is ready, and who connects there is accepted", async () => {
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

Deno.test("an address that is taken rejects", async () => {
  for await (const asked of addresses()) {
    const listener = listenRaw(asked, silent);
    await listener.ready;
    const second = listenRaw(listener.address, silent);
    await assertRejects(() => second.ready, Deno.errors.AddrInUse);
    second.close();
    listener.close();
  }
});

Deno.test("who is not accepted waits, and after 64 of them the next is closed and told of", async () => {
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
  // One after the other, so that it is the last one for which there is no room.
  for (let i = 0; i < 65; i++) conns.push(await dial(listener.address));
  await within(refused.promise, "the connection that is too much is closed");
  assertEquals(told.length, 1);
  assertMatch(told[0]!, /too many/);
  for (let i = 0; i < 64; i++) {
    const { below } = await within(listener.accept(), "those that waited are there");
    below.close();
  }
  for (const conn of conns) conn.close();
  listener.close();
});
