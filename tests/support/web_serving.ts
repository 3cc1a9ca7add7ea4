/** Servers of both kinds for the tests of the bridge, and streams whose bytes arrive later. */

import type { App } from "@degu/degu/server";
import {
  type FetchHandler,
  fromFetchHandler,
  type FromFetchHandlerOptions,
  toFetchHandler,
} from "@degu/degu";
import { RawPeer, within } from "./raw_peer.ts";
import { serve, type Serving } from "./serving.ts";

const encoder = new TextEncoder();

/** Runs a fetch-style handler under our own server. */
export function serveHandler(
  handler: FetchHandler | { fetch: FetchHandler },
  options: FromFetchHandlerOptions = {},
): Serving {
  return serve(fromFetchHandler(handler, options));
}

/**
 * Sends the bytes of a request; resolves to the preamble of the response and the bytes behind it.
 */
export async function exchange(
  serving: Serving,
  request: string,
): Promise<{ preamble: string; body: string }> {
  using peer = await RawPeer.connect(serving.address);
  await peer.send(request);
  const preamble = await peer.readPreamble();
  await peer.closeWrite();
  return { preamble, body: (await peer.readToEnd()).received };
}

/** Runs an application under Deno's own server. */
export function serveWithDeno(
  app: App,
  tls: { readonly cert: string; readonly key: string } | null = null,
) {
  /** The errors with which the handler has rejected. */
  const errors: unknown[] = [];
  const onError = (error: unknown) => {
    errors.push(error);
    return new Response(null, { status: 500 });
  };
  const options = { hostname: "127.0.0.1", port: 0, onListen() {}, onError, ...tls };
  const server = Deno.serve(options, toFetchHandler(app));
  const { port } = server.addr;
  return {
    address: ["127.0.0.1", port] as const,
    url: `${tls === null ? "http://127.0.0.1" : "https://localhost"}:${port}`,
    errors,
    [Symbol.asyncDispose]: () => within(server.shutdown(), "Deno's server shuts down"),
  };
}

export type DenoServing = ReturnType<typeof serveWithDeno>;

/** A stream whose pieces come after turns of the event loop, like those of a file or a socket. */
export function slowStream(...texts: readonly string[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  const rest = [...texts];
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve));
      const text = rest.shift();
      if (text === undefined) controller.close();
      else controller.enqueue(encoder.encode(text));
    },
  });
}
