// deno run --allow-net=127.0.0.1 examples/live.ts

// Sends the newest picture of a camera to up to 50 viewers, one picture for each request: to
// browsers, curl, or this program with the argument `watch`. For other devices, call `device.serve`
// in place of `Server.start`. No proxy may be in front: what a viewer has seen is kept for its
// connection, and the viewers behind a proxy share connections.

import { type App, reply, Server, type Session } from "@degu/degu";
import { Client, expectOk, repeat, terminationSignal } from "@degu/degu";

/** The newest picture, for any number of viewers. */
export class Pictures {
  #newest: Uint8Array | null = null;
  #isOver = false;
  #change = Promise.withResolvers<void>();
  readonly #seen = new WeakMap<Session, Uint8Array | null>();

  /** Sets the newest picture. */
  set(picture: Uint8Array): void {
    this.#newest = picture;
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  /** Tells every viewer that there are no more pictures. */
  end(): void {
    this.#isOver = true;
    this.#change.resolve();
  }

  /**
   * The newest picture that a viewer has not had, as soon as there is one; `null` at the end, or
   * when the viewer has left.
   */
  async next(viewer: Session): Promise<Uint8Array | null> {
    const { signal } = viewer;
    const { promise: left, resolve: leave } = Promise.withResolvers<void>();
    const onAbort = () => leave();
    signal.addEventListener("abort", onAbort);
    while (this.#newest === (this.#seen.get(viewer) ?? null)) {
      if (this.#isOver || signal.aborted) return null;
      await Promise.race([this.#change.promise, left]);
    }
    signal.removeEventListener("abort", onAbort);
    this.#seen.set(viewer, this.#newest);
    return this.#newest;
  }
}

/**
 * Makes an app that answers each request with the newest picture that this connection has not had.
 * A slow viewer misses pictures, because no picture is sent before it asks for one; and it delays
 * nobody. Within a second after a viewer has left, the wait for its next picture ends, even if no
 * picture comes.
 */
export function liveApp(pictures: Pictures): App {
  const headers = { "content-type": "text/plain", "cache-control": "no-store" };
  return async (_request, session) => {
    const picture = await pictures.next(session);
    return picture === null ? reply(503) : reply(200, picture, headers);
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
    const pictures = new Pictures();
    // A viewer makes a request for each picture; by default its connection would end after 1000.
    const options = { maxRequests: Infinity };
    await using server = await Server.start(address, liveApp(pictures), options);
    console.log(`The pictures are at http://127.0.0.1:${server.port}/; Ctrl+C ends it.`);
    await repeat(async () => pictures.set(await takePicture()), { seconds: 0.1, signal });
    pictures.end();
    await server.shutdown();
  }
}
