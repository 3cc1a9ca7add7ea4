/** Apps in workers for tests, and the messages of the apps. */
import { WorkerApp } from "@degu/degu";
import type { Logger } from "@degu/degu/server";
import { withTimeout } from "@degu/testing/raw_peer.ts";

export const module = import.meta.resolve("./worker_apps.ts");

/** The messages of an app, which can be awaited. */
class Messages {
  readonly all: unknown[] = [];
  #wake = Promise.withResolvers<void>();

  add = (message: unknown): void => {
    this.all.push(message);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  };

  /** Waits until the app has sent a message, or has sent it several times. */
  async waitFor(message: unknown, count = 1): Promise<void> {
    while (this.all.filter((value) => value === message).length < count) {
      await withTimeout(this.#wake.promise, `the message ${message}; got ${this.all}`);
    }
  }
}

export async function startApp(logger?: Logger) {
  const messages = new Messages();
  const options = { onMessage: messages.add, ...logger && { logger } };
  return Object.assign(await WorkerApp.start({ module, name: "app" }, options), { messages });
}

/** Starts an app whose thread the path `/block` blocks until `unblock()`. */
export async function startBlockingApp(logger?: Logger) {
  const messages = new Messages();
  const options = { onMessage: messages.add, ...logger && { logger } };
  const number = new Int32Array(new SharedArrayBuffer(4));
  const app = await WorkerApp.start({ module, name: "makeBlocking", args: [number] }, options);
  const unblock = () => {
    Atomics.store(number, 0, 1);
    Atomics.notify(number, 0);
  };
  return Object.assign(app, { messages, unblock });
}
