/** A relay that delays a request, as a network may do. */

import type { Address } from "@degu/degu/base";
import { Relay, writeAll } from "@degu/testing/cutting_relay.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";

function isComplete(request: string): boolean {
  const preambleEnd = request.indexOf("\r\n\r\n");
  if (preambleEnd < 0) return false;
  const preamble = request.slice(0, preambleEnd);
  if (preamble.includes("\r\ntransfer-encoding: ")) return request.endsWith("\r\n0\r\n\r\n");
  const [, length = "0"] = /\r\ncontent-length: (\d+)/.exec(preamble) ?? [];
  return request.length === preambleEnd + 4 + Number(length);
}

/** A relay that delays one request until {@linkcode HoldingRelay.release} is called. */
export class HoldingRelay extends Relay {
  readonly #isHeldRequest: (start: string) => boolean;
  readonly #requestReceived = Promise.withResolvers<string>();
  readonly #releaseDecided = Promise.withResolvers<boolean>();
  readonly #responseReceived = Promise.withResolvers<string>();
  #heldServerConn: Deno.Conn | null = null;

  /** @param isHeldRequest Whether the relay should delay the request with this first piece. */
  constructor(server: Address, isHeldRequest: (start: string) => boolean) {
    super(server);
    this.#isHeldRequest = isHeldRequest;
  }

  /** Resolves to the whole request when the relay has received it. */
  get requestReceived(): Promise<string> {
    return withTimeout(this.#requestReceived.promise, "the relay receives the whole request");
  }

  /** Delivers the request, and resolves to its response. */
  async release(): Promise<string> {
    this.#releaseDecided.resolve(true);
    return await withTimeout(
      this.#responseReceived.promise,
      "the server responds to the delayed request",
    );
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    return [this.#relayRequest(client, server), this.#relayResponse(server, client)];
  }

  async #relayRequest(client: Deno.Conn, server: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(65536);
    let request = "";
    try {
      for (let count; (count = await client.read(buffer)) !== null;) {
        const text = decodeLatin1(buffer.subarray(0, count));
        if (this.#heldServerConn === null && this.#isHeldRequest(text)) {
          this.#heldServerConn = server;
        }
        if (this.#heldServerConn !== server) await writeAll(server, buffer.subarray(0, count));
        else if (isComplete(request += text)) this.#requestReceived.resolve(request);
      }
      if (this.#heldServerConn !== server) await server.closeWrite();
    } catch {
      if (this.#heldServerConn !== server) this.close(server);
    }
    if (this.#heldServerConn !== server || !await this.#releaseDecided.promise) return;
    // A server that rejects the request may close the connection before it reads all of it.
    await writeAll(server, encodeLatin1(request)).catch(() => {});
  }

  async #relayResponse(server: Deno.Conn, client: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (let count; (count = await server.read(buffer)) !== null;) {
        const bytes = buffer.subarray(0, count);
        if (this.#heldServerConn === server) {
          return this.#responseReceived.resolve(decodeLatin1(bytes));
        }
        await writeAll(client, bytes);
      }
      await client.closeWrite();
    } catch {
      this.close(client);
    }
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.#releaseDecided.resolve(false);
    await super[Symbol.asyncDispose]();
  }
}
