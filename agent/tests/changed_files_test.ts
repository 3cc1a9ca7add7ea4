/**
 * put, sync and get of files that change: one version arrives, or the older file stays, with a
 * report.
 */
import { Buffer } from "node:buffer";
import { AgentFiles } from "@degu/testing/agent_files.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import {
  FILE_CHANGES,
  LARGE_BYTES,
  runAfterReads,
  waitForNextSecond,
} from "@degu/testing/file_changes.ts";
import { patch } from "@degu/testing/patching.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { assert, assertEquals } from "@std/assert";

const LARGE = randomBytes(LARGE_BYTES);
const OLDER = LARGE.subarray(0, 300_000);

type Command = [args: (local: string) => string[], isUpload: boolean];

const COMMANDS: Readonly<Record<string, Command>> = {
  put: [(local) => ["put", "--force", `${local}/d/x`, "camera:d/"], true],
  "put -r": [(local) => ["put", "--force", "-r", `${local}/d`, "camera:"], true],
  "sync to a peer": [(local) => ["sync", `${local}/d`, "camera:d"], true],
  "sync from a peer": [(local) => ["sync", "camera:d", `${local}/d`], false],
  get: [(local) => ["get", "camera:d/x", `${local}/d/`], false],
};

/** Returns the words of a command, and the paths of its source and of its target. */
function prepare({ local, share, inbox }: AgentFiles, name: string) {
  const [args, isUpload] = COMMANDS[name]!;
  const [source, target] = isUpload ? [local, inbox] : [share, local];
  return { args: args(local), from: `${source}/d/x`, to: `${target}/d/x` };
}

for (const [commandIndex, name] of Object.keys(COMMANDS).entries()) {
  Deno.test(`degu ${name}: a file that changes arrives as one version, or is told, and the older one stays`, async () => {
    await using files = await AgentFiles.start();
    const { args, from, to } = prepare(files, name);
    for (const dir of [files.local, files.share, files.inbox]) await Deno.mkdir(`${dir}/d`);
    using _later = setClockAhead(10_000);
    // Tests of the library have all changes at all moments.
    const changes = FILE_CHANGES.filter(({ mustArrive }, i) =>
      mustArrive || i % 3 === commandIndex % 3
    );
    for (const [i, change] of changes.entries()) {
      const count = 1 + (i + commandIndex) % 2;
      await Deno.writeFile(from, LARGE);
      await Deno.writeFile(to, OLDER);
      await Deno.utime(to, 1, 1);
      if (change.changesOnlyCtime) await waitForNextSecond(from);
      let changedBytes: Uint8Array = LARGE;
      let hasRun = false;
      let code: number;
      let stderr: string;
      {
        using moment = await runAfterReads(count, () => changedBytes = change.apply(from, LARGE));
        ({ code, stderr } = await files.run(...args));
        ({ hasRun } = moment);
      }
      const description = `${change.description}, read ${count}: ${stderr}`;
      assert(hasRun, description);
      const targetBytes = await Deno.readFile(to);
      const versions = code === 0
        ? [LARGE, changedBytes, changedBytes.subarray(0, LARGE_BYTES)]
        : [OLDER];
      assert(versions.some((version) => Buffer.compare(version, targetBytes) === 0), description);
      if (change.mustArrive) assertEquals(code, 0, description);
    }
  });
}

Deno.test("a named file that was replaced after its lookup has its own time at the target", async () => {
  await using files = await AgentFiles.start();
  let seconds = 1000;
  // `degu put` looks up a file with stat. `degu get` calls mkdir right before its request.
  for (const [command, call] of [["put", "stat"], ["get", "mkdir"]] as const) {
    const { args, from, to } = prepare(files, command);
    for (const dir of [files.local, files.share, files.inbox]) {
      await Deno.mkdir(`${dir}/d`, { recursive: true });
      await Deno.remove(`${dir}/d/x`).catch(() => {});
    }
    await Deno.writeTextFile(from, "before");
    {
      // deno-lint-ignore no-explicit-any -- the two functions have different parameters
      using _replacing = patch(Deno as any, call, (original) => async (...args: unknown[]) => {
        const result = await original(...args);
        Deno.writeTextFileSync(from, "behind");
        Deno.utimeSync(from, ++seconds, seconds);
        return result;
      });
      assertEquals((await files.run(...args)).code, 0);
    }
    assertEquals(await Deno.readTextFile(to), "behind");
    assertEquals((await Deno.stat(to)).mtime, new Date(seconds * 1000), command);
  }
});
