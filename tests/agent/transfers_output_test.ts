/** Transfers whose results nobody takes any more. */
import { assert, assertEquals } from "@std/assert";
import { AgentFiles, makeTreeAt, treeOf } from "@degu/testing/agent_files.ts";

const COUNT = 300;

async function setUp() {
  const files = await AgentFiles.start();
  const names = Array.from({ length: COUNT }, (_, i) => [`file-${i}`, "text"]);
  await makeTreeAt(files.share, Object.fromEntries(names));
  return files;
}

/** Runs a command with its output in a pipeline, and exits as it does. */
function shell(pipeline: string): string[] {
  return ["bash", "-c", `"$@" ${pipeline}; exit \${PIPESTATUS[0]}`, "bash"];
}

Deno.test("transfers end when their output is closed, as by head: no file is to blame", async () => {
  await using files = await setUp();
  const through = shell("| head -n 1");
  await using agent = files.spawnThrough(through, "get", "-r", "camera:", files.here);
  const { code, stdout, stderr } = await agent.ended();
  assertEquals([code, stdout.split("\n").length, stderr], [1, 2, ""]);
  const got = Object.keys(await treeOf(files.here));
  assert(got.length < COUNT, `${got.length}`);
});

Deno.test("an output that can't be written ends transfers with its own error", async () => {
  await using files = await setUp();
  await using agent = files.spawnThrough(shell("> /dev/full"), "get", "-r", "camera:", files.here);
  const { code, stderr } = await agent.ended();
  assertEquals([code, stderr], [1, "degu: error: No space left on device (os error 28)\n"]);
});
