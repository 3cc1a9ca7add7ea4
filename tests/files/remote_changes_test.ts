/** Directories that are made on another device, and files that are deleted. */
import { assertEquals, assertRejects } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { deleteFile, fileUri, makeDirectory, TransferError } from "@degu/degu/files";
import { serveFiles, visible } from "@degu/testing/transferring.ts";

const write = (dir: string) => new FilesApp(dir, { write: true });

Deno.test("a directory is created, and empty directories and files are deleted, over one connection", async () => {
  await using files = await serveFiles(write);
  using connection = await files.client.connect();
  assertEquals(await makeDirectory(connection, fileUri("a b", "Ö", "")), true);
  assertEquals(await makeDirectory(connection, fileUri("a b", "")), false);
  await Deno.writeTextFile(`${files.there}/a b/file`, "text");
  await deleteFile(connection, fileUri("a b", "file"));
  await deleteFile(connection, fileUri("a b", "Ö", ""));
  assertEquals(await visible(`${files.there}/a b`), []);
  assertEquals(connection.closed, false);
});

Deno.test("an unsupported operation is an error with its status", async () => {
  await using files = await serveFiles(write);
  const { client, there } = files;
  await Deno.mkdir(`${there}/full/inside`, { recursive: true });
  await Deno.writeTextFile(`${there}/file`, "text");
  const cases: [call: () => Promise<unknown>, status: number, hint: string][] = [
    [() => deleteFile(client, "/none"), 404, "there is nothing of this name"],
    [
      () => deleteFile(client, "/full"),
      409,
      "the directory is not empty; delete its content first",
    ],
    [() => deleteFile(client, "/file/"), 404, "there is nothing of this name"],
    [() => deleteFile(client, "/"), 403, "may not write there"],
    [() => makeDirectory(client, "/file/"), 409, "a file has this name"],
    [() => makeDirectory(client, "/"), 403, "may not write there"],
  ];
  for (const [call, status, hint] of cases) {
    assertEquals((await assertRejects(call, TransferError, hint)).status, status);
  }
  await assertRejects(() => makeDirectory(client, "/a"), RangeError, "end with");
  await assertRejects(() => makeDirectory(null as unknown as typeof client, "/a/"), TypeError);
  const signal = AbortSignal.abort(new Error("stop"));
  await assertRejects(() => deleteFile(client, "/file", { signal }), Error, "stop");
  assertEquals(await visible(there), ["file", "full"]);
});
