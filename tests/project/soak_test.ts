/** The soak ends, and says what was wrong, whatever becomes of the servers. */

import { Client, Server } from "@degu/degu";
import { unusedPort } from "@degu/testing/ports.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { assert } from "@std/assert";
import { Random } from "../fuzz/random.ts";
import { runFaulty } from "../soak/faults.ts";
import { type Run, runAborting, runAmongClosed, runHonestly, Tally } from "../soak/traffic.ts";

/** Ends its run with the third failure. */
class EndingTally extends Tally {
  readonly ending = new AbortController();

  override fail(problem: string): void {
    super.fail(problem);
    if (this.failures.length === 3) this.ending.abort();
  }
}

Deno.test("each client of the soak whose server is gone says so, again and again, and ends when it is to end", async (t) => {
  const client = new Client(["127.0.0.1", await unusedPort()]);
  const server = new Server(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
  await server.close();
  const rows: readonly [name: string, run: (run: Run) => Promise<void>][] = [
    ["runHonestly", (run) => runHonestly("gone", client, run)],
    ["runAborting", (run) => runAborting("gone", client, run)],
    ["runFaulty", (run) => runFaulty("gone", client, run)],
    ["runAmongClosed", (run) => runAmongClosed({ server, client, closed: new Set() }, run)],
  ];
  for (const [name, run] of rows) {
    await t.step(name, async () => {
      const tally = new EndingTally();
      const { signal } = tally.ending;
      await within(run({ random: new Random(1), tally, signal }), "it ends");
      for (const problem of tally.failures) assert(problem.includes("ConnectionRefused"), problem);
    });
  }
});

Deno.test("a soak in which everything fails keeps no more than a thousand failures", () => {
  const tally = new Tally();
  for (let i = 0; i < 5000; i++) tally.fail("nothing works");
  assert(tally.failures.length === 1000);
});
