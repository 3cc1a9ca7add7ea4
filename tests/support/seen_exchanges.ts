/**
 * Records what a server reports to onExchange.
 *
 * @module
 */

import type { App, Exchange, ServerOptions } from "@degu/degu/server";
import { within } from "./raw_peer.ts";
import { serve, type Serving } from "./serving.ts";

/** Keeps exchanges until a test asks for them. */
export class SeenExchanges {
  /** Those that were reported and not asked for yet. */
  readonly waiting: Exchange[] = [];
  #resolve: (() => void)[] = [];

  /** The option of the server. */
  readonly onExchange = (exchange: Exchange): void => {
    this.waiting.push(exchange);
    for (const resolve of this.#resolve.splice(0)) resolve();
  };

  /** The next exchange, once it is reported. */
  async next(): Promise<Exchange> {
    while (this.waiting.length === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resolve.push(resolve);
      await within(promise, "an exchange is reported");
    }
    return this.waiting.shift()!;
  }
}

/** A server whose exchanges are kept. */
export interface Watched {
  readonly serving: Serving;
  readonly next: () => Promise<Exchange>;
  /** Those that {@linkcode next} has not returned. */
  readonly seen: readonly Exchange[];
}

/** Starts a server whose exchanges are kept. */
export function watch(app: App, options: ServerOptions = {}): Watched {
  const kept = new SeenExchanges();
  const serving = serve(app, { onExchange: kept.onExchange, ...options });
  return { serving, next: () => kept.next(), seen: kept.waiting };
}
