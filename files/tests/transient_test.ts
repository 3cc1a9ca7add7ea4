/** Errors of transfers that are transient, and time limits of transfers. */
import { deleteEntry, download, TransferError, upload, uploadTree } from "@degu/files";
import { Client, isTimeout, isTransient } from "@degu/degu/client";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";

Deno.test("a close without a response to an upload is transient", async (t) => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "hello");
  await using serving = serve((request, session) => {
    const partHeaders = { "upload-offset": "0", "file-stamp": "5,2020-02-29T12:34:56.789Z" };
    if (request.method === "HEAD") return [200, "OK", partHeaders, null];
    if (request.method === "GET") return [404, "Not Found", {}, ""];
    session.close();
    return [200, "OK", {}, null];
  });
  const client = serving.makeClient();
  const rows: [string, () => Promise<unknown>, boolean][] = [
    ["upload", () => upload(client, `${dir.path}/a`, "/a"), true],
    ["uploadTree", () => uploadTree(client, dir.path, "/"), true],
    ["deleteEntry", () => deleteEntry(client, "/a"), false],
  ];
  await testEachRow(t, rows, async (_name, call, expected) => {
    assertEquals(
      isTransient(await catchRejection(call(), "a transfer without an answer")),
      expected,
    );
  });
});

Deno.test("an error about the files of a transfer is not transient", () => {
  for (const code of ["CHANGED", "DIGEST_MISMATCH", "IN_USE", "DISK_FULL", "BAD_LIST"] as const) {
    assertEquals(isTransient(new TransferError(code, "")), false, code);
  }
});

Deno.test("isTimeout is true for a time limit of a transfer, of its client or of its signal", async () => {
  await using dir = await createTempDir();
  await using silent = serve(() => new Promise(() => {}));
  const hasty = new Client(silent.address, { timeout: 0.05 });
  const patient = new Client(silent.address);
  const downloads = [
    () => download(hasty, "/a", `${dir.path}/a`),
    () => download(patient, "/a", `${dir.path}/b`, { signal: AbortSignal.timeout(50) }),
  ];
  for (const start of downloads) {
    assertEquals(isTimeout(await catchRejection(start(), "a download")), true);
  }
});
