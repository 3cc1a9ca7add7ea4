/** upload: connections that break. */
import { assert, assertEquals } from "@std/assert";
import { Client } from "@degu/degu/client";
import { FilesApp } from "@degu/degu/files";
import { TransferError, upload } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { partsOf, randomBytes, serveFiles, sha256, visible } from "@degu/testing/transferring.ts";

const SIZE = 3_000_000;
const both = (dir: string) => new FilesApp(dir, { list: true, write: true });

Deno.test("an upload over a connection that breaks repeatedly arrives", async () => {
  using _later = setClockAhead();
  await using files = await serveFiles(both);
  const content = randomBytes(SIZE);
  await Deno.writeFile(`${files.here}/file`, content);
  await using relay = new CuttingRelay(files.serving.address);
  const client = new Client(relay.address, { timeout: 10 });
  let before = 0;
  for (let calls = 1;; calls++) {
    assert(calls < 100, `no progress at ${before}`);
    relay.cutAfter(calls === 20 ? Infinity : 3000 + Math.floor(Math.random() * SIZE / 5));
    try {
      const { resumedFrom, sha256: digest } = await upload(client, `${files.here}/file`, "/file");
      assert(resumedFrom >= before, `${resumedFrom} after ${before}`);
      assertEquals(digest, await sha256(content));
      before = resumedFrom;
      break;
    } catch (error) {
      assert(!(error instanceof TransferError), Deno.inspect(error));
    }
    if ((await visible(files.there)).length === 0) continue;
    // Only the answer was lost.
    before = SIZE;
  }
  assert(before > 0, "nothing was resumed");
  assertEquals(await Deno.readFile(`${files.there}/file`), content);
  assertEquals(await partsOf(files.there), []);
});
