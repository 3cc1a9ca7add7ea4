/** Transfers that are interrupted: by the network, by a signal, by the other end. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { formatAddress } from "@degu/degu/base";
import { AgentFiles, makeTreeAt, objectsOf, treeOf, untilFile } from "@degu/testing/agent_files.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { entries } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { randomBytes } from "@degu/testing/transferring.ts";

const BYTES = 12_000_000;
const CUT = 6_000_000;

async function setUp() {
  const files = await AgentFiles.start();
  const content = randomBytes(BYTES);
  await Deno.writeFile(`${files.share}/large`, content);
  await Deno.writeFile(`${files.here}/large`, content);
  await Deno.mkdir(`${files.here}/to`);
  // A file gets an entity tag, without which nothing is resumed, after seconds only.
  const clock = setClockAhead();
  const get = ["get", "--json", "camera:large", `${files.here}/to`];
  const put = ["put", "--json", `${files.here}/large`, "camera:"];
  return {
    files,
    cases: [
      { args: get, result: `${files.here}/to/large`, dir: `${files.here}/to` },
      { args: put, result: `${files.inbox}/large`, dir: files.inbox },
    ],
    /** Removes what was moved. */
    clear: async () => {
      for (const path of [`${files.here}/to/large`, `${files.inbox}/large`]) {
        await Deno.remove(path).catch(() => {});
      }
    },
    isWhole: async (path: string) => isSame(await Deno.readFile(path), content),
    [Symbol.asyncDispose]: async () => {
      clock[Symbol.dispose]();
      await files[Symbol.asyncDispose]();
    },
  };
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

Deno.test("interruptions", async (t) => {
  await using test = await setUp();
  await t.step(
    "an interrupted connection is replaced, and the transfer resumes where it stopped",
    async () => {
      await test.clear();
      for (const { args, result } of test.cases) {
        await using relay = new CuttingRelay(test.files.address);
        relay.cutAfter(CUT);
        const address = formatAddress(relay.address);
        await using agent = test.files.start([...args, "--address", address]);
        await agent.message("trying again in 1 s (1 of 3)");
        relay.cutAfter(Infinity);
        const end = await agent.ended();
        assertEquals(end.code, 0, end.stderr);
        const [object] = objectsOf(end);
        const { bytes, total, resumedFrom } = object as Record<string, number>;
        assert(resumedFrom! > 1_000_000, Deno.inspect(object));
        assertEquals([bytes! + resumedFrom!, total], [BYTES, BYTES]);
        assert(await test.isWhole(result));
      }
    },
  );

  await t.step(
    "Ctrl-C keeps what has arrived, says how to resume, and resuming works",
    async () => {
      await test.clear();
      for (const { args, result, dir } of test.cases) {
        {
          await using relay = new CuttingRelay(test.files.address);
          relay.stallAfter(CUT);
          const address = formatAddress(relay.address);
          await using agent = test.files.start([...args, "--address", address]);
          await within(untilFile(dir, (_, size) => size > CUT / 2), "something has arrived", 30);
          agent.kill("SIGINT");
          const { code, stderr } = await agent.ended();
          assertEquals(code, 130);
          assertStringIncludes(stderr, "run the same command again to continue");
        }
        const [object] = objectsOf(await test.files.succeed(...args));
        assert(Number(object?.["resumedFrom"]) > 1_000_000, Deno.inspect(object));
        assert(await test.isWhole(result));
      }
      assertEquals(await entries(`${test.files.here}/to`), ["large"]);
    },
  );

  await t.step("a peer that does not answer is retried for a while", async () => {
    await test.clear();
    const { files } = test;
    await files.kill();
    await using agent = files.start(["get", "camera:large", `${files.here}/to`]);
    await agent.message("trying again in 1 s (1 of 3)");
    await agent.message("trying again in 2 s (2 of 3)");
    await files.serve();
    const { code, stderr } = await agent.ended();
    assertEquals(code, 0, stderr);
    assert(await test.isWhole(`${files.here}/to/large`));
  });
});

const COUNT = 300;

async function setUpFiles() {
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
  await using files = await setUpFiles();
  const through = shell("| head -n 1");
  await using agent = files.spawnThrough(through, "get", "-r", "camera:", files.here);
  const { code, stdout, stderr } = await agent.ended();
  assertEquals([code, stdout.split("\n").length, stderr], [1, 2, ""]);
  const got = Object.keys(await treeOf(files.here));
  assert(got.length < COUNT, `${got.length}`);
});

Deno.test("an output that can't be written ends transfers with its own error", async () => {
  await using files = await setUpFiles();
  await using agent = files.spawnThrough(shell("> /dev/full"), "get", "-r", "camera:", files.here);
  const { code, stderr } = await agent.ended();
  assertEquals([code, stderr], [1, "degu: error: No space left on device (os error 28)\n"]);
});
