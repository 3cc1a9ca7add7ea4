/** The listener under a TLS server, which hands over connections as streams that node:tls can work on. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { writeAll } from "@degu/internal/base/body/byte_io.ts";
import type { PortSharing } from "@degu/internal/net/listener.ts";
import {
  listenRaw,
  type RawConnection,
  type RawListener,
} from "@degu/internal/net/tls/listener.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { dial, turnOfEventLoop, within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

/** A listener, and what has arrived at it. */
class Listening implements Disposable {
  readonly log = new RecordingLogger();
  readonly raw: RawListener;
  readonly #arrived: RawConnection[] = [];
  #wake = () => {};

  constructor(address: Address, sharing?: PortSharing) {
    this.raw = listenRaw(address, this.log, (connection) => {
      this.#arrived.push(connection);
      this.#wake();
    }, sharing);
  }

  static async start(address: Address, sharing?: PortSharing): Promise<Listening> {
    const listening = new Listening(address, sharing);
    await within(listening.raw.ready, "the listener is bound");
    listening.raw.start();
    listening.raw.start();
    return listening;
  }

  async next(): Promise<RawConnection> {
    if (this.#arrived.length === 0) {
      await within(new Promise<void>((resolve) => this.#wake = resolve), "a connection arrives");
    }
    return this.#arrived.shift()!;
  }

  [Symbol.dispose](): void {
    this.raw.close();
    for (const { rawStream } of this.#arrived) rawStream.close();
  }
}

/** An address for each of the two ways to listen. */
async function* addresses(): AsyncGenerator<Address> {
  yield ["127.0.0.1", 0];
  await using directory = await tempDir();
  yield `${directory.path}/socket`;
}

Deno.test("listeners share a port only if all of them request it", async () => {
  const shared = { reusePort: true, fd: null };
  using first = await Listening.start(["127.0.0.1", 0], shared);
  using second = await Listening.start(first.raw.address, shared);
  assertEquals(second.raw.address, first.raw.address);
  using alone = new Listening(first.raw.address);
  await assertRejects(() => alone.raw.ready, Deno.errors.AddrInUse);
});

Deno.test("a listener takes over the socket of another, with its pending connections", async () => {
  const first = await Listening.start(["127.0.0.1", 0]);
  const { address } = first.raw;
  const fd = first.raw.duplicate();
  first[Symbol.dispose]();
  const [hostname, port] = address as readonly [string, number];
  using client = await Deno.connect({ hostname, port });
  using second = await Listening.start(address, { reusePort: false, fd });
  assertEquals(second.raw.address, address);
  const arrived = await second.next();
  assertEquals(arrived.address, [hostname, (client.localAddr as Deno.NetAddr).port]);
  arrived.rawStream.close();
});

Deno.test("of a connection that waits only the beginning is read, and nothing of it is lost", async () => {
  for await (const asked of addresses()) {
    using listening = await Listening.start(asked);
    using conn = await dial(listening.raw.address);
    const size = 8 << 20;
    const sent = writeAll(conn, new Uint8Array(size)).then(() => conn.closeWrite());
    const { rawStream } = await listening.next();
    rawStream.stream.read(0); // as the listener of TLS does
    const limit = 65_536;
    while (rawStream.stream.readableLength < limit) await turnOfEventLoop();
    for (let turn = 0; turn < 20; turn++) await turnOfEventLoop();
    assert(rawStream.stream.readableLength < 2 * limit, `${rawStream.stream.readableLength} bytes`);
    assert(rawStream.hasReceived);
    let received = 0;
    for await (const bytes of rawStream.stream) received += bytes.length;
    await within(sent, "all is sent");
    assertEquals(received, size);
    rawStream.close();
  }
});
