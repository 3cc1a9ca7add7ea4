/**
 * A server whose connections are in memory.
 *
 * @module
 */

import type { App } from "@degu/internal/base/app/app.ts";
import type { Address } from "@degu/internal/base/address_rules.ts";
import type { Accepted, Listener } from "@degu/internal/net/listener.ts";
import { Server, type ServerOptions } from "@degu/degu/server";
import type { MemorySocket } from "./memory_socket.ts";

/** A logger that says nothing. */
export const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** Accepts sockets that are handed to it. */
class MemoryListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: Address = ["127.0.0.1", 1];
  readonly #waiting: MemorySocket[] = [];
  #accept: PromiseWithResolvers<Accepted> | null = null;

  offer(socket: MemorySocket): void {
    this.#waiting.push(socket);
    this.#match();
  }

  accept(): Promise<Accepted> {
    this.#accept = Promise.withResolvers();
    const { promise } = this.#accept;
    this.#match();
    return promise;
  }

  close(): void {
    this.#accept?.reject(new Deno.errors.BadResource("closed"));
  }

  ended(): Promise<void> {
    return this.ready;
  }

  #match(): void {
    const socket = this.#accept === null ? undefined : this.#waiting.shift();
    if (socket === undefined) return;
    this.#accept?.resolve({ name: "memory", address: null, socket, isTrusted: () => true });
    this.#accept = null;
  }
}

/** A server whose connections are in memory; all else is the real one. */
export class MemoryServer extends Server {
  readonly memory: MemoryListener;

  constructor(app: App, onExchange?: ServerOptions["onExchange"]) {
    const memory = new MemoryListener();
    const options = {
      timeout: null,
      logger: quiet,
      maxConnections: Infinity,
      maxRequests: Infinity,
      onExchange,
    };
    super(["127.0.0.1", 1], app, options, () => memory);
    this.memory = memory;
  }
}
