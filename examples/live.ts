// deno run --allow-net=127.0.0.1 examples/live.ts

// Sends the newest picture of a camera to any number of viewers: browsers, curl, or this program
// with the argument `watch`. For other devices, put gateway.ts in front, or call `device.serve` in
// place of `Server.start`.

import { type App, type Chunk, ChunkedBodyIter, Latest, reply, Server } from "@degu/degu";
import { Client, repeat, terminationSignal } from "@degu/degu";

/**
 * Makes an app whose answer has no end: each chunk is a picture, the newest that this viewer has
 * not seen. A slow viewer misses pictures and delays nobody. Within a second after a viewer has
 * left, its iteration ends, even if no picture comes.
 */
export function liveApp(pictures: AsyncIterable<Chunk>): App {
  const headers = { "content-type": "text/plain", "cache-control": "no-store" };
  return (_request, { signal }) => {
    const body = new ChunkedBodyIter(pictures);
    signal.addEventListener("abort", () => body.cancel(signal.reason));
    return reply(200, body, headers);
  };
}

/**
 * Shows pictures until the signal is aborted, and connects again where the stream breaks off or
 * ends.
 */
export async function watch(
  client: Client,
  show: (picture: Uint8Array) => unknown,
  signal: AbortSignal,
): Promise<void> {
  await repeat(async () => {
    const { status, body } = await client.request("GET", "/", {}, null, { signal });
    if (!body?.chunked) throw new Error(`there are no pictures: status ${status}`);
    for await (const [, picture] of body) if (picture.length > 0) await show(picture);
  }, { seconds: 1, signal });
}

/** Takes a picture; in practice with a camera. */
function takePicture(): Promise<Uint8Array> {
  return Promise.resolve(new TextEncoder().encode(`${new Date().toISOString()}\n`));
}

if (import.meta.main) {
  const [task = "serve", port = "8080"] = Deno.args;
  const address = ["127.0.0.1", Number(port)] as const;
  const signal = terminationSignal();
  if (task === "watch") {
    await watch(new Client(address), (picture) => Deno.stdout.write(picture), signal);
  } else {
    const pictures = new Latest<Chunk>();
    await using server = await Server.start(address, liveApp(pictures));
    console.log(`The pictures are at http://127.0.0.1:${server.port}/; Ctrl+C ends it.`);
    await repeat(async () => pictures.set([null, await takePicture()]), { seconds: 0.1, signal });
    pictures.set([null, new Uint8Array(0)]); // the end of the body of each viewer
    pictures.end();
    await server.shutdown();
  }
}
