/** Progress: how often it is reported, and what it counts. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { download, type TransferProgress } from "@degu/degu/files";
import { ServedVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { randomBytes, serveFiles } from "@degu/testing/transferring.ts";

Deno.test("progress is reported at most ten times a second, and at the end", async () => {
  const there = new ServedVersion(randomBytes(30 * 65536));
  // A sender of about 2 MB a second.
  there.beforePiece = () => new Promise((resolve) => setTimeout(resolve, 25));
  await using serving = serve(there.app);
  await using files = await serveFiles();
  const reports: (TransferProgress & { at: number })[] = [];
  const onProgress = (progress: TransferProgress) => {
    reports.push({ ...progress, at: performance.now() });
  };
  const begin = performance.now();
  const result = await download(serving.makeClient(), "/f", `${files.here}/f`, { onProgress });
  const last = reports.pop()!;
  assertEquals([last.bytes, last.total, last.resumedFrom], [result.total, result.total, 0]);
  assert(reports.length >= 2, `${reports.length} reports`);
  let before = { bytes: 0, at: begin };
  for (const report of reports) {
    assert(report.bytes > before.bytes && report.bytes < last.bytes, Deno.inspect(reports));
    assert(report.at - before.at > 99, Deno.inspect(reports));
    before = report;
  }
});

Deno.test("an error of the progress callback ends the download, which can be resumed", async () => {
  const there = new ServedVersion(randomBytes(200_000));
  await using serving = serve(there.app);
  await using files = await serveFiles();
  const client = serving.makeClient();
  const reason = new Error("enough");
  const onProgress = () => {
    throw reason;
  };
  const failed = download(client, "/f", `${files.here}/f`, { onProgress });
  assertEquals(await assertRejects(() => failed, Error), reason);
});
