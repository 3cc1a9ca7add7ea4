/**
 * Sessions that are closed at random under load: nothing else may be lost.
 *
 * @module
 */

import { type App, type AppFunction, type Client, Connection, type Server } from "@degu/degu";
import { Random } from "../fuzz/random.ts";
import { exchange, type Tally } from "./traffic.ts";

/** A server whose sessions are closed, a client of it, and whom they were closed for. */
export interface Closing {
  readonly server: Server;
  readonly client: Client;
  readonly closed: Set<string>;
}

const NAME = "server: closes a session";

/** An application that notes in each session who its client says to be. */
export function noting(app: App): AppFunction {
  const handle = typeof app === "function" ? app : app.handle.bind(app);
  return (request, session, api) => {
    session.store.set("who", request.headers["who"]);
    return handle(request, session, api);
  };
}

/** Closes one session after the other until the signal is aborted. */
export async function runCloser(
  { server, closed }: Closing,
  seed: number,
  tally: Tally,
  signal: AbortSignal,
): Promise<void> {
  const random = new Random(seed);
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, random.below(20)));
    const sessions = [...server.sessions].filter(({ store }) => store.has("who"));
    if (sessions.length === 0) continue;
    const session = random.pick(sessions);
    closed.add(String(session.store.get("who")));
    session.close(new Error("closed by the soak test"));
    if (server.sessions.has(session)) tally.failures.push(`${NAME}: it is still there`);
    tally.faults.set(NAME, (tally.faults.get(NAME) ?? 0) + 1);
  }
}

/** Makes requests over one connection after the other, which fail only where they were closed. */
export async function runAmongClosed(
  { client, closed }: Closing,
  seed: number,
  tally: Tally,
  signal: AbortSignal,
): Promise<void> {
  const random = new Random(seed);
  for (let n = 0; !signal.aborted; n++) {
    const who = `${seed}-${n}`;
    using connection = new Connection(await client.createSocket(), { who }, undefined, 20);
    tally.connections++;
    try {
      while (!signal.aborted && random.below(100) > 0) await exchange(connection, random, tally);
    } catch (error) {
      if (!closed.has(who)) tally.failures.push(`among closed sessions: ${Deno.inspect(error)}`);
    }
    closed.delete(who);
  }
}
