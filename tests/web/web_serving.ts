/** Servers for the tests of the fetch adapters, and streams whose bytes arrive later. */

import { type Address, type FetchHandler, fromFetchHandler } from "@degu/degu";
import { serve, type Serving } from "@degu/testing/serving.ts";

const encoder = new TextEncoder();

export function serveHandler(
  handler: FetchHandler | { fetch: FetchHandler },
  options: Parameters<typeof fromFetchHandler>[1] = {},
  address?: Address,
): Serving {
  return serve(fromFetchHandler(handler, options), { hosts: "any" }, address);
}

/** Makes a stream whose pieces arrive in later ticks, like the pieces of a file or a socket. */
export function makeSlowStream(
  ...texts: readonly string[]
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const remainingTexts = [...texts];
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve));
      const text = remainingTexts.shift();
      if (text === undefined) controller.close();
      else controller.enqueue(encoder.encode(text));
    },
  });
}
