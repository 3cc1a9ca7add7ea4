/** Servers that a signal ends. */

import { assert, assertEquals } from "@std/assert";
import type { Client } from "@degu/degu/client";
import type { App, StoppableServer } from "@degu/degu/server";
import { serveUntil } from "@degu/internal/program/termination.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";

/** On Windows Deno supports only SIGINT and SIGBREAK, and can't send them. */
export const ignore: boolean = Deno.build.os === "windows";

/** An app whose responses wait for {@linkcode respond}. */
export class Gate {
  readonly app: App = async () => {
    this.#appCalled.resolve();
    await this.#released.promise;
    return [200, "OK", {}, "answer"];
  };
  readonly #appCalled = Promise.withResolvers<void>();
  readonly #released = Promise.withResolvers<void>();

  /** Waits until a request has reached the app. */
  async waitForCall(): Promise<void> {
    await withTimeout(this.#appCalled.promise, "a request reaches the app", 20);
  }

  respond(): void {
    this.#released.resolve();
  }
}

/** A server, and a client of it. */
interface SignaledServer extends AsyncDisposable {
  readonly server: StoppableServer;
  readonly client: Pick<Client, "connect">;
}

type Start = (gate: Gate) => Promise<SignaledServer>;

/**
 * Checks that a server finishes its pending requests at the first signal, and ends. Modules of tests
 * need different signals, because they may run in one process.
 *
 * @param signal A signal without other listeners in this process, and without an effect.
 */
export async function checkFirstSignal(signal: Deno.Signal, start: Start): Promise<void> {
  const gate = new Gate();
  await using kind = await start(gate);
  const serving = serveUntil([signal], kind.server, {});
  using conn = await kind.client.connect();
  const response = conn.get("/");
  await gate.waitForCall();
  let hasEnded = false;
  serving.then(() => hasEnded = true);
  Deno.kill(Deno.pid, signal);
  await assertRefused(kind.client);
  assert(!hasEnded);
  gate.respond();
  assertEquals((await withTimeout(response, "the answer")).status, 200);
  conn.close();
  await withTimeout(serving, "it ends");
}

/** Checks that a server is closed at the second signal. */
export async function checkSecondSignal(signal: Deno.Signal, start: Start): Promise<void> {
  const gate = new Gate();
  await using kind = await start(gate);
  const serving = serveUntil([signal], kind.server, { deadline: null });
  using conn = await kind.client.connect();
  const response = conn.get("/").catch(() => "cut");
  await gate.waitForCall();
  Deno.kill(Deno.pid, signal);
  await assertRefused(kind.client);
  // `null` is no time limit, not a time limit of 0 s.
  const timeout = new Promise((resolve) => setTimeout(resolve, 20, "waits"));
  assertEquals(await Promise.race([response, timeout]), "waits");
  Deno.kill(Deno.pid, signal);
  assertEquals(await withTimeout(response, "the connection is cut"), "cut");
  await withTimeout(serving, "it ends");
}

/** Waits until connections are refused. */
export async function assertRefused(client: SignaledServer["client"]): Promise<void> {
  const waitForRefusal = async () => {
    for (;;) {
      const conn = await client.connect().catch(() => null);
      if (conn === null) return;
      conn.close();
      await waitForTick();
    }
  };
  await withTimeout(waitForRefusal(), "new connections are refused");
}
