/** How much of a download without a digest would survive a power failure: recorded at intervals. */
import { assertEquals } from "@std/assert";
import { PartFile } from "@degu/internal/files/part_file.ts";
import { readRecord } from "@degu/internal/files/part_record.ts";
import { SyncedCount } from "@degu/internal/files/synced_count.ts";
import { tempDir } from "@degu/testing/directories.ts";

const INTERVAL = 268_435_456;

Deno.test("every 256 MiB the record of a part notes how much was synced to the disk", async () => {
  await using dir = await tempDir();
  await using part = await PartFile.open(`${dir.path}/f`, true);
  const noted = async () => (await readRecord(`${dir.path}/.f.degu-part`))?.synced;
  const record = { peer: "p", uri: "/f", etag: '"e"', total: 2 ** 40, sha256: null, synced: 0 };
  await part.begin(record);
  const count = new SyncedCount(part, record, 1000);
  count.add(INTERVAL - 1);
  await count.settle();
  assertEquals(await noted(), 0);
  count.add(1);
  // One at a time.
  count.add(INTERVAL);
  await count.settle();
  assertEquals(await noted(), 1000 + INTERVAL);
  count.add(5);
  await count.settle();
  assertEquals(await noted(), 1000 + 2 * INTERVAL + 5);
  count.add(7);
  await count.noteAll();
  assertEquals(await noted(), 1000 + 2 * INTERVAL + 12);
});
