/** The peers on disk, whose writer is killed at any moment; `deno task crash` kills more of them. */
import { killPeerWriters } from "@degu/testing/killed_peer_writers.ts";

/** Few, so that the suite stays fast. */
const KILLS = 25;

Deno.test("the peers are as before a change or as after it, whenever their writer is killed", async () => {
  await killPeerWriters(KILLS);
});
