/** Sessions that are closed at random under load: nothing else may be lost. */

import { type App, type AppFunction, type Client, Connection, type Server } from "@degu/degu";
import { exchange, pause, type Run } from "./traffic.ts";

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

export async function runCloser({ server, closed }: Closing, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    await pause(random.below(20));
    const sessions = [...server.sessions].filter(({ store }) => store.has("who"));
    if (sessions.length === 0) continue;
    const session = random.pick(sessions);
    closed.add(String(session.store.get("who")));
    session.close(new Error("closed by the soak test"));
    if (server.sessions.has(session)) tally.failures.push(`${NAME}: it is still there`);
    tally.count(NAME);
  }
}

/** Makes requests over one connection after the other, which fail only where they were closed. */
export async function runAmongClosed({ client, closed }: Closing, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    const who = crypto.randomUUID();
    using connection = new Connection(await client.createSocket(), { who }, undefined, 20);
    tally.connections++;
    try {
      while (!signal.aborted && random.below(100) > 0) await exchange(connection, run);
    } catch (error) {
      if (!closed.has(who)) tally.failures.push(`among closed sessions: ${Deno.inspect(error)}`);
    }
    closed.delete(who);
  }
}
