/** Digests of files of this device. */
import { assertEquals, assertRejects } from "@std/assert";
import { localDigest } from "@degu/internal/agent/local_digest.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { randomBytes, sha256 } from "@degu/testing/transferring.ts";

Deno.test("a file is hashed piece by piece, until a signal aborts it", async () => {
  await using dir = await tempDir();
  for (const size of [0, 1, 3_000_000]) {
    const content = randomBytes(size);
    await Deno.writeFile(`${dir.path}/a`, content);
    assertEquals(await localDigest(`${dir.path}/a`, undefined), await sha256(content));
  }
  const signal = AbortSignal.abort(new Error("stop"));
  await assertRejects(() => localDigest(`${dir.path}/a`, signal), Error, "stop");
});
