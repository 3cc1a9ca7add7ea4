/** Servers for the tests of the fetch adapters, and streams whose bytes arrive later. */

import { type FetchHandler, fromFetchHandler } from "@degu/degu";
import { RawPeer } from "./raw_peer.ts";
import { serve, type Serving } from "./serving.ts";

const encoder = new TextEncoder();

export function serveHandler(
  handler: FetchHandler | { fetch: FetchHandler },
  options: Parameters<typeof fromFetchHandler>[1] = {},
): Serving {
  return serve(fromFetchHandler(handler, options));
}

/** Sends a request, and returns the preamble of the response and the bytes after it. */
export async function exchangeRequest(
  server: Serving,
  request: string,
): Promise<{ preamble: string; body: string }> {
  using peer = await RawPeer.connect(server.address, request);
  const preamble = await peer.readPreamble();
  // A client that closes its writing side before the end of the response counts as disconnected.
  const body = await readFramed(peer, preamble);
  await peer.closeWrite();
  return { preamble, body: body + (await peer.readToEnd()).received };
}

/** Reads a body to its end; returns "" if the server closes before the end. */
async function readFramed(peer: RawPeer, preamble: string): Promise<string> {
  if (preamble.startsWith("HTTP/1.1 304")) return "";
  const [, length = "0"] = /^content-length: (\d+)/m.exec(preamble) ?? [];
  const isChunked = /^transfer-encoding: chunked/m.test(preamble);
  const body = isChunked ? peer.readUntil("0\r\n\r\n") : peer.readExactly(Number(length));
  return await body.catch(() => "");
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
