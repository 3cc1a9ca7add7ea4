/** A relay that delivers a request late, as a network may do. */

import type { Address } from "@degu/degu/base";
import { Relay } from "./cutting_relay.ts";
import { within } from "./raw_peer.ts";

const ENDS = /^(?:DELETE [^]*\r\n\r\n|(?:PUT|POST) [^]*\r\n0(?:;[^\r\n]*)?\r\n\r\n)$/;
const decoder = new TextDecoder("latin1");

/** A relay that holds one request back until it is released. */
export class HoldingRelay extends Relay {
  readonly #isMeant: (start: string) => boolean;
  readonly #held = Promise.withResolvers<string>();
  readonly #released = Promise.withResolvers<boolean>();
  readonly #answered = Promise.withResolvers<string>();
  #holding: Deno.Conn | null = null;

  /** @param isMeant Whether this is the beginning of the request. */
  constructor(server: Address, isMeant: (start: string) => boolean) {
    super(server);
    this.#isMeant = isMeant;
  }

  /** Resolves to the whole request when the relay has received it. */
  get held(): Promise<string> {
    return within(this.#held.promise, "the whole request is here");
  }

  /** Delivers the request; resolves to its answer. */
  async release(): Promise<string> {
    this.#released.resolve(true);
    return await within(this.#answered.promise, "the late request is answered");
  }

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    return [this.#request(client, server), this.#answer(server, client)];
  }

  async #request(client: Deno.Conn, server: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(65536);
    let request = "";
    try {
      for (let count; (count = await client.read(buffer)) !== null;) {
        const text = decoder.decode(buffer.subarray(0, count));
        if (this.#holding === null && this.#isMeant(text)) this.#holding = server;
        if (this.#holding !== server) await writeAll(server, buffer.subarray(0, count));
        else if (ENDS.test(request += text)) this.#held.resolve(request);
      }
      if (this.#holding !== server) await server.closeWrite();
    } catch {
      if (this.#holding !== server) this.close(server);
    }
    if (this.#holding !== server || !await this.#released.promise) return;
    // A server that refuses the request need not read all of it.
    await writeAll(server, Uint8Array.from(request, (char) => char.charCodeAt(0))).catch(() => {});
  }

  async #answer(server: Deno.Conn, client: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(65536);
    try {
      for (let count; (count = await server.read(buffer)) !== null;) {
        const bytes = buffer.subarray(0, count);
        if (this.#holding === server) return this.#answered.resolve(decoder.decode(bytes));
        await writeAll(client, bytes);
      }
      await client.closeWrite();
    } catch {
      this.close(client);
    }
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.#released.resolve(false);
    await super[Symbol.asyncDispose]();
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}
