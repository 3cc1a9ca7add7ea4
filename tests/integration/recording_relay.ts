/** A relay in front of a server that records what a proxy sends. */

import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { dial, isBroken, withTimeout } from "@degu/testing/raw_peer.ts";
import { decodeLatin1 } from "@degu/testing/wire_grammar.ts";

/** A relay that records every byte that a proxy sends to its upstream. */
export class RecordingRelay extends Relay {
  #connections: { sent: string }[] = [];
  #marker: { readonly port: number; readonly accepted: PromiseWithResolvers<void> } | undefined;

  /**
   * Waits until every connection has closed on both sides. Returns the bytes that the proxy has
   * sent on each.
   */
  async takeSent(): Promise<string[]> {
    // Connections are accepted in order: after this one, no aborted connection waits for that.
    const accepted = Promise.withResolvers<void>();
    const marker = await dial(this.address) as Deno.TcpConn;
    this.#marker = { port: marker.localAddr.port, accepted };
    await withTimeout(accepted.promise, "the relay accepts a connection");
    this.#marker = undefined;
    marker.close();
    await this.waitForClose();
    return this.#connections.splice(0).map(({ sent }) => sent);
  }

  protected relay(proxy: Deno.Conn, backEnd: Deno.Conn): Promise<void>[] {
    const connection = { sent: "" };
    if ((proxy.remoteAddr as Deno.NetAddr).port === this.#marker?.port) {
      this.#marker.accepted.resolve();
    } else {
      this.#connections.push(connection);
    }
    const relaying = Promise.all([
      this.#passOn(proxy, backEnd, (bytes) => connection.sent += decodeLatin1(bytes)),
      this.#passOn(backEnd, proxy, () => {}),
    ]);
    return [relaying.then(() => [proxy, backEnd].forEach((conn) => this.close(conn)))];
  }

  /** Relays one direction up to its end, which may be a reset. */
  async #passOn(
    from: Deno.Conn,
    to: Deno.Conn,
    onPiece: (bytes: Uint8Array) => void,
  ): Promise<void> {
    try {
      await passOn(from, to, onPiece);
    } catch (error) {
      // Either side may close early; the bytes until then count.
      if (!isBroken(error) && !(error instanceof Deno.errors.NotConnected)) throw error;
      await to.closeWrite().catch(() => {});
    }
  }
}
