// deno run --allow-net=127.0.0.1 examples/live.ts

// Sends the newest picture of a camera to up to 50 viewers, one picture for each request: to
// browsers, curl, or this program with the argument `watch`. For other devices, call `device.serve`
// instead of `Server.start`. Don't use a proxy in front of this server: it stores for each
// connection which pictures were sent, and viewers behind a proxy share connections.

import {
  type App,
  Client,
  expectOk,
  repeat,
  reply,
  runUntilSignal,
  Server,
  type Session,
} from "@degu/degu";
/** The newest picture, for many viewers. */
export class Pictures {
  #newest: Uint8Array | null = null;
  #hasEnded = false;
  #changed = Promise.withResolvers<void>();
  readonly #lastPictures = new WeakMap<Session, Uint8Array | null>();

  /** Sets the newest picture. */
  set(picture: Uint8Array): void {
    this.#newest = picture;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Ends the wait of all viewers. Must be called after the last picture. */
  end(): void {
    this.#hasEnded = true;
    this.#changed.resolve();
  }

  /**
   * Waits for a picture that was not sent to this viewer, and returns the newest. Returns `null`
   * after the end, or when the viewer has disconnected.
   */
  async next(viewer: Session): Promise<Uint8Array | null> {
    const { signal } = viewer;
    const { promise: disconnected, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal.addEventListener("abort", onAbort);
    while (this.#newest === (this.#lastPictures.get(viewer) ?? null)) {
      if (this.#hasEnded || signal.aborted) return null;
      await Promise.race([this.#changed.promise, disconnected]);
    }
    signal.removeEventListener("abort", onAbort);
    this.#lastPictures.set(viewer, this.#newest);
    return this.#newest;
  }
}

/**
 * Makes an app that responds to each request with the newest picture that was not yet sent over
 * this connection. A slow viewer misses pictures, because a picture is sent only on request, and
 * doesn't delay the others. If a viewer disconnects, the wait for its next picture ends within a
 * second.
 */
export function makeLiveApp(pictures: Pictures): App {
  const headers = { "content-type": "text/plain", "cache-control": "no-store" };
  return async (_request, session) => {
    const picture = await pictures.next(session);
    return picture === null ? reply(503) : reply(200, picture, headers);
  };
}

/** Shows pictures until the signal is aborted, and reconnects if the connection ends. */
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

/** Takes a picture, in practice with a camera. */
function takePicture(): Promise<Uint8Array> {
  return Promise.resolve(new TextEncoder().encode(`${new Date().toISOString()}\n`));
}

async function main(signal: AbortSignal): Promise<void> {
  const [task = "serve", port = "8080"] = Deno.args;
  const address = ["127.0.0.1", Number(port)] as const;
  if (task === "watch") {
    return await watch(new Client(address), (picture) => Deno.stdout.write(picture), signal);
  }
  const pictures = new Pictures();
  await using server = await Server.start(address, makeLiveApp(pictures));
  console.log(`The pictures are at http://127.0.0.1:${server.port}/; Ctrl+C ends it.`);
  await repeat(async () => pictures.set(await takePicture()), { seconds: 0.1, signal });
  pictures.end();
  await server.shutdown();
}

if (import.meta.main) await runUntilSignal(main);
