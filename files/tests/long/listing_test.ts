/** The maximal size of a list. */
import { listTree, TransferError } from "@degu/files";
import { serve } from "@degu/testing/serving.ts";
import { makeChunkedBody } from "@degu/testing/written_directory.ts";
import { assertEquals, assertRejects } from "@std/assert";

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
