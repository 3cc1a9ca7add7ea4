/** The listener under a TLS server: bound or closed, whichever comes first. */
import { assertEquals, assertRejects } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { listenRaw } from "@degu/internal/net/tls/raw_listener.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

Deno.test("a listener that is closed before it is bound is never bound, and leaves nothing behind", async () => {
  const log = new RecordingLogger();
  const listener = listenRaw(["127.0.0.1", 0], log);
  listener.close();
  await within(listener.ready, "nobody waits for what never comes");
  assertEquals(listener.address, ["127.0.0.1", 0]);
  await within(assertRejects(() => listener.accept()), "accept() after close()");
  // By the time another one is bound the first would be too: its timer would be left.
  const another = listenRaw(["127.0.0.1", 0], log);
  await within(another.ready, "another listener is bound");
  assertEquals(listener.address, ["127.0.0.1", 0]);
  another.close();
  listener.close();
  another.close();
  assertEquals(log.lines, []);
});

Deno.test("closing a listener rejects a pending accept, and frees its address", async () => {
  await using dir = await tempDir();
  const addresses: Address[] = [["127.0.0.1", 0], `${dir.path}/socket`];
  for (const address of addresses) {
    const listener = listenRaw(address, new RecordingLogger());
    await within(listener.ready, "the listener is bound");
    const bound = listener.address;
    const accepting = assertRejects(() => listener.accept());
    listener.close();
    await within(accepting, "accept() ends");
    const again = listenRaw(bound, new RecordingLogger());
    await within(again.ready, "the address is free");
    assertEquals(again.address, bound);
    again.close();
  }
});

Deno.test("closing the listener closes a waiting connection, and a 65th one closes the oldest", async () => {
  const log = new RecordingLogger();
  const listener = listenRaw(["127.0.0.1", 0], log);
  await within(listener.ready, "the listener is bound");
  const [hostname, port] = listener.address as [string, number];
  const connections: Deno.Conn[] = [];
  for (let i = 0; i < 65; i++) connections.push(await Deno.connect({ hostname, port }));
  const ended = connections.map(async (conn) => {
    using _ = conn;
    return await conn.read(new Uint8Array(1)).catch(() => null);
  });
  assertEquals(await within(ended[0]!, "the oldest is closed"), null);
  const refusals = await log.waitFor("debug");
  assertEquals(refusals, ["a connection was closed: too many wait for a handshake"]);
  const { below, address } = await within(listener.accept(), "the others wait");
  assertEquals(address?.[0], "127.0.0.1");
  below.close();
  listener.close();
  const ends = await within(Promise.all(ended), "all are closed");
  assertEquals(ends.every((end) => end === null), true);
  assertEquals(log.at("debug").length, 1, "what is closed with the listener is not logged");
});

Deno.test("listeners share a port only if all of them request it", async () => {
  const log = new RecordingLogger();
  const shared = { reusePort: true, fd: null };
  const first = listenRaw(["127.0.0.1", 0], log, shared);
  await first.ready;
  const second = listenRaw(first.address, log, shared);
  await second.ready;
  assertEquals(second.address, first.address);
  const alone = listenRaw(first.address, log);
  await assertRejects(() => alone.ready, Deno.errors.AddrInUse);
  for (const listener of [first, second, alone]) listener.close();
});

Deno.test("a listener takes over the socket of another, with its pending connections", async () => {
  const log = new RecordingLogger();
  const first = listenRaw(["127.0.0.1", 0], log);
  await first.ready;
  const fd = first.duplicate();
  first.close();
  const [hostname, port] = first.address as readonly [string, number];
  using client = await Deno.connect({ hostname, port });
  const second = listenRaw(first.address, log, { reusePort: false, fd });
  await second.ready;
  assertEquals(second.address, first.address);
  const { address, below } = await second.accept();
  assertEquals(address, [hostname, (client.localAddr as Deno.NetAddr).port]);
  below.close();
  second.close();
});
