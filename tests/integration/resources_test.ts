/** Few file descriptors, slow readers: what a process of its own shows. */
import { assert, assertEquals } from "@std/assert";
import { runProgram } from "../support/programs.ts";

/** Runs a command with few file descriptors. */
const FEW_DESCRIPTORS = `
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))
os.execv(sys.argv[1], sys.argv[1:])
`;

Deno.test("a server that runs out of file descriptors says so, and goes on", async () => {
  const through = ["python3", "-c", FEW_DESCRIPTORS];
  const output = await runProgram("few_descriptors.ts", { flags: ["--allow-net"], through });
  const { opened, answered, status, warnings, errors } = JSON.parse(output);
  assert(opened > 5 && opened < 90, `${opened} connections`);
  assertEquals([answered, status, errors], [1, 200, []]);
  assert(warnings > 0 && warnings < 200, `${warnings} warnings`);
});

Deno.test("a slow reader holds the socket, and memory stays flat", async (t) => {
  const found: Record<string, number> = JSON.parse(
    await runProgram("flat_memory.ts", { flags: ["--allow-net"], patience: 30 }),
  );
  for (const [what, mebibytes] of Object.entries(found)) {
    // Buffers of the kernel are what is ahead of a reader.
    const most = what === "growth of the peak" ? 64 : 24;
    await t.step(`${what}: at most ${most} MiB`, () => {
      assert(mebibytes <= most, `${mebibytes} MiB`);
    });
  }
});

Deno.test("what collects a body in chunks of one byte takes memory by its data, not by its chunks", async (t) => {
  const output = await runProgram("tiny_chunks.ts", { flags: ["--v8-flags=--expose-gc"] });
  const found: Record<string, { data: number; held: number }> = JSON.parse(output);
  for (const [way, { data, held }] of Object.entries(found)) {
    await t.step(way, () => assert(held < 4 * data + 1048576, `${held} bytes for ${data}`));
  }
});
