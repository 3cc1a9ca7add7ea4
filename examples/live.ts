// deno run --allow-net=127.0.0.1 examples/live.ts

// Sends the newest picture of a camera to up to 50 viewers, one picture for each request: to
// browsers, curl, or this program with the argument `watch`. For other devices, put gateway.ts in
// front, or call `device.serve` in place of `Server.start`.

import { type App, Latest, reply, Server } from "@degu/degu";
import { Client, expectOk, repeat, terminationSignal } from "@degu/degu";

/**
 * Makes an app that answers each request with the newest picture that this connection has not had,
 * as soon as there is one. A slow viewer misses pictures, because no picture is sent before it asks
 * for one; and it delays nobody. Within a second after a viewer has left, its iteration ends, even
 * if no picture comes.
 */
export function liveApp(pictures: Latest<Uint8Array>): App {
  const headers = { "content-type": "text/plain", "cache-control": "no-store" };
  return async (_request, session) => {
    const picture = await pictures.next(session);
    return picture === undefined ? reply(503) : reply(200, picture, headers);
  };
}

/** Shows pictures until the signal is aborted, and connects again where the connection ends. */
export async function watch(
  client: Client,
  show: (picture: Uint8Array) => unknown,
  signal: AbortSignal,
): Promise<void> {
  await repeat(async () => {
    using connection = await client.connect({ signal });
    while (!signal.aborted) {
      const response = await expectOk(connection.get("/", {}, { signal }));
      await show(await response.bytes());
    }
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
    const pictures = new Latest<Uint8Array>();
    // A viewer makes a request for each picture; by default its connection would end after 1000.
    const options = { maxRequests: Infinity };
    await using server = await Server.start(address, liveApp(pictures), options);
    console.log(`The pictures are at http://127.0.0.1:${server.port}/; Ctrl+C ends it.`);
    await repeat(async () => pictures.set(await takePicture()), { seconds: 0.1, signal });
    pictures.end();
    await server.shutdown();
  }
}
