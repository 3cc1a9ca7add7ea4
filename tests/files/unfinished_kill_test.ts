/** Unfinished files: processes that are killed while they write. */
import { KILLS_OF_A_TEST, killWriters } from "@degu/testing/transfer_kills.ts";

Deno.test("a process that is killed at any moment leaves no half-written file", async () => {
  await killWriters(KILLS_OF_A_TEST);
});
