/** upload: a process that is killed at any moment. */
import { KILLS_OF_A_TEST, killUploads } from "@degu/testing/transfer_kills.ts";

Deno.test("an upload that is killed at any moment leaves nothing visible, or the whole file", async () => {
  await killUploads(KILLS_OF_A_TEST);
});
