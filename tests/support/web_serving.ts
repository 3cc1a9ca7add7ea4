/** Servers for the tests of the bridge, and streams whose bytes arrive later. */

import { type FetchHandler, fromFetchHandler, type FromFetchHandlerOptions } from "@degu/degu";
import { RawPeer } from "./raw_peer.ts";
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
  // A client that closes its side before the end of a response has left.
  const body = await readFramed(peer, preamble);
  await peer.closeWrite();
  return { preamble, body: body + (await peer.readToEnd()).received };
}

/** Reads a body to its end; returns an empty text if the server cuts it off. */
async function readFramed(peer: RawPeer, preamble: string): Promise<string> {
  if (preamble.startsWith("HTTP/1.1 304")) return "";
  const [, length = "0"] = /^content-length: (\d+)/m.exec(preamble) ?? [];
  const isChunked = /^transfer-encoding: chunked/m.test(preamble);
  const body = isChunked ? peer.readUntil("0\r\n\r\n") : peer.readExactly(Number(length));
  return await body.catch(() => "");
}

/** A stream whose pieces come after turns of the event loop, like those of a file or a socket. */
export function makeSlowStream(
  ...texts: readonly string[]
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const remaining = [...texts];
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve));
      const text = remaining.shift();
      if (text === undefined) controller.close();
      else controller.enqueue(encoder.encode(text));
    },
  });
}
