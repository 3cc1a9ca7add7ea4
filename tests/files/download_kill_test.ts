/** download: a process that is killed at any moment. */
import { killDownloads, KILLS_OF_A_TEST } from "@degu/testing/transfer_kills.ts";

Deno.test("a download that is killed at any moment leaves the old file, the new one, or a part", async () => {
  await killDownloads(KILLS_OF_A_TEST);
});
