/**
 * Requests that are aborted at any time: each returns its whole response, or rejects with the reason of its
 * own abort.
 */

import type { Client, Connection } from "@degu/degu";
import { exchange, type Run } from "./traffic.ts";

/** Never aborted, and there for all requests: whatever they leave on it would be a leak. */
const { signal: everlasting } = new AbortController();

/** Makes requests of which some are aborted, over one connection after the other. */
export async function runAborting(name: string, client: Client, run: Run): Promise<void> {
  const { random, tally, signal } = run;
  while (!signal.aborted) {
    try {
      using connection = await client.connect(undefined, { signal: everlasting });
      tally.connections++;
      while (!connection.closed && !signal.aborted && random.below(100) > 0) {
        await exchange(connection, run, { signal: everlasting });
        const problem = await abortOne(connection, run);
        if (problem !== null) tally.failures.push(`${name}: ${problem}`);
      }
    } catch (error) {
      tally.failures.push(`${name}: ${Deno.inspect(error)}`);
    }
  }
}

/** Makes a request and aborts it; resolves to what must not be, or to `null`. */
async function abortOne(connection: Connection, run: Run): Promise<string | null> {
  const { random, tally } = run;
  const aborter = new AbortController();
  const reason = `abort ${random.next()}`;
  const abort = () => aborter.abort(reason);
  const when = random.pick(["before", "at once", "in some turns", "in some milliseconds"]);
  if (when === "before") abort();
  const making = exchange(connection, run, { signal: aborter.signal });
  // It may end while nobody waits for it yet.
  making.catch(() => {});
  if (when === "at once") abort();
  for (let n = random.below(8); n > 0; n--) await null;
  if (when === "in some turns") abort();
  const timer = setTimeout(abort, random.below(6));
  tally.count(`abort: ${when}`);
  try {
    await making;
    return connection.closed ? `a request that was answered left a connection closed` : null;
  } catch (error) {
    if (error !== reason) return `aborted ${when}: ${Deno.inspect(error)}`;
    const unsent = when === "before" || when === "at once";
    return unsent && connection.closed ? `aborted ${when}, the connection was closed` : null;
  } finally {
    clearTimeout(timer);
  }
}
