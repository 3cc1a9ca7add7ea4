/** Trees of many entries, in processes with few open files or little memory. */
import { listTree, TransferError } from "@degu/degu/files";
import { serve } from "@degu/testing/serving.ts";
import { makeChunkedBody } from "../written_directory.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { copyInProcess, DIRECTIONS } from "@degu/testing/trees.ts";
import { canRun } from "../refused_writes.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";

Deno.test("a tree has at most 1,000,000 entries", async () => {
  const element = { path: ["a"], kind: "other", reason: "name", size: 0, modified: new Date(0) };
  const text = `${JSON.stringify(element)},\n`.repeat(1000);
  const thousand = new TextEncoder().encode(text);
  const chunks = Array.from({ length: 1001 }, () => thousand);
  const body = makeChunkedBody(new TextEncoder().encode("[\n"), ...chunks);
  await using serving = serve(() => [200, "OK", { "content-type": "application/json" }, body]);
  let count = 0;
  const list = async () => {
    for await (const _entry of listTree(serving.makeClient(), "/")) count++;
  };
  await assertRejects(list, TransferError, "/ has more than 1000000 files and directories");
  assertEquals(count, 1_000_000);
});

const LIMITED = ["unshare", "-r", "sh", "-c", 'ulimit -n 128; exec "$@"', "sh"];
Deno.test({
  name: "trees can have more files and directories than can be open at once (needs unshare)",
  ignore: !await canRun(...LIMITED),
  async fn() {
    await using dir = await createTempDir();
    // All files of the target are deleted.
    const options = { delete: true, deleteAll: true };
    const jobs = DIRECTIONS.map((direction) => {
      return { dir: `${dir.path}/${direction}`, direction, options };
    });
    for (const { dir } of jobs) {
      for (let i = 0; i < 150; i++) {
        await fill(dir, {
          [`source/${i}`]: "x",
          [`source/made/${i}`]: null,
          [`source/kept/${i}`]: null,
          [`target/kept/${i}/old`]: "old",
        });
      }
    }
    for (const { result, rejection } of await copyInProcess(LIMITED, jobs)) {
      assertEquals(rejection, undefined);
      assertEquals([result.files, result.deleted, result.failed], [150, 150, 0]);
    }
  },
});

/** Data from a peer that doesn't fit into a heap of 64 MiB. */
const ROWS = [
  ["paths in chunks of one byte", "HTTP/1.1 400 Bad Request"],
  ["names for messages", "2500"],
  ["long paths", "22015"],
] as const;

for (const [sent, expected] of ROWS) {
  Deno.test(`a process with little memory survives a peer that sends ${sent}`, async () => {
    const flags = [...importMapFlags(), "-A", "--no-check", "--v8-flags=--max-old-space-size=64"];
    const printed = await runProgram("little_memory.ts", { flags, args: [sent] });
    assertEquals(printed.trim(), expected);
  });
}
