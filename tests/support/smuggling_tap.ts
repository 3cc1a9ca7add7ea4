/** A relay between a proxy and its upstream, which keeps every byte that the proxy sends. */

import { passOn } from "./cutting_relay.ts";
import { turnOfEventLoop } from "./raw_peer.ts";
import { fromLatin1 } from "./wire_grammar.ts";

/** Where a back end listens. */
export type Endpoint = Deno.ConnectOptions | Deno.UnixConnectOptions;

interface Relay {
  sent: string;
  readonly ended: Promise<void>;
}

/** Relays connections to a back end. */
export class Tap implements AsyncDisposable {
  readonly address: readonly [host: string, port: number];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #accepting: Promise<void>;
  #relays: Relay[] = [];

  /** Listens on a free port of 127.0.0.1. */
  constructor(endpoint: Endpoint) {
    this.address = ["127.0.0.1", this.#listener.addr.port];
    this.#accepting = this.#accept(endpoint);
  }

  /** Waits until every connection has ended at both ends; gives what the proxy has sent on each. */
  async takeSent(): Promise<string[]> {
    // A connection that was broken off may still wait to be accepted.
    await turnOfEventLoop();
    await Promise.all(this.#relays.map(({ ended }) => ended));
    const sent = this.#relays.map((relay) => relay.sent);
    this.#relays = [];
    return sent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
  }

  async #accept(endpoint: Endpoint): Promise<void> {
    const relays: Promise<void>[] = [];
    try {
      for await (const conn of this.#listener) {
        const started = Promise.withResolvers<void>();
        const relay: Relay = { sent: "", ended: started.promise };
        this.#relays.push(relay);
        relays.push(relayBoth(conn, endpoint, relay).finally(started.resolve));
      }
    } finally {
      await Promise.all(relays);
    }
  }
}

async function relayBoth(near: Deno.TcpConn, endpoint: Endpoint, relay: Relay): Promise<void> {
  const far = await ("path" in endpoint ? Deno.connect(endpoint) : Deno.connect(endpoint));
  await Promise.all([
    relayOne(near, far, (bytes) => relay.sent += fromLatin1(bytes)),
    relayOne(far, near, () => {}),
  ]);
  near.close();
  far.close();
}

/** Relays one direction up to its end, which may be a reset. */
async function relayOne(
  from: Deno.Conn,
  to: Deno.Conn,
  see: (bytes: Uint8Array) => void,
): Promise<void> {
  try {
    await passOn(from, to, see);
  } catch (error) {
    // Either end may break off; what was seen until then counts.
    if (
      !(error instanceof Deno.errors.ConnectionReset) &&
      !(error instanceof Deno.errors.BrokenPipe) && !(error instanceof Deno.errors.NotConnected)
    ) {
      throw error;
    }
    await to.closeWrite().catch(() => {});
  }
}
