/** The peers on disk, when their writer is killed at any moment; `deno task crash` kills more of them. */
import { killPeerWriters } from "@degu/testing/killed_peer_writers.ts";

/** Few, so that the suite stays fast. */
const KILLS = 25;

Deno.test("if the writer is killed the peers are those before the change or those after it", async () => {
  await killPeerWriters(KILLS);
});
