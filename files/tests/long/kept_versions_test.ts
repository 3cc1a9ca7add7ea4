/** `keep` and `restoreTree`: processes change files at the same time, and are killed. */
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { findOddDiskObstacle, makeOddDiskScript } from "../odd_disk.ts";
import { importMapFlags, makeProgramCommand, runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { assert, assertEquals } from "@std/assert";
import { restoreTree } from "@degu/degu/files";
import { setClockAhead } from "@degu/testing/clock.ts";
import { readFiles } from "./random_days.ts";

const obstacle = await findMountObstacle();
const noFuse = await findOddDiskObstacle();

/** Checks that no content is lost. */
async function changeFiles(
  through: readonly string[],
  dir: string,
  { changes, kills = 0 }: { changes: number; kills?: number },
): Promise<void> {
  const flags = ["--allow-all", "--no-check", ...importMapFlags()];
  const args = [dir, "2", `${changes}`, `${kills}`];
  const options = { flags, args, through };
  const output = await runProgram("kept_versions.ts", options);
  const { stored, lost } = JSON.parse(output);
  assert(stored > changes / 20, `${stored} contents were stored`);
  assertEquals(lost, [], `of ${stored} contents`);
}

/** The directory is on a RAM disk, which syncs fast. */
const ON_RAM_DISK = [
  ...THROUGH_MOUNT_NAMESPACE,
  ...["sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"'],
];

Deno.test(
  "two processes that store, rename and delete the same files at the same time lose none",
  ignoreIf(obstacle),
  async () => {
    await using dir = await createTempDir();
    await changeFiles([...ON_RAM_DISK, dir.path], dir.path, { changes: 6000 });
  },
);

Deno.test(
  "two processes that change the same files, and are killed at any moment, lose none",
  ignoreIf(obstacle),
  async () => {
    await using dir = await createTempDir();
    await changeFiles([...ON_RAM_DISK, dir.path], dir.path, { changes: 4000, kills: 15 });
  },
);

Deno.test(
  "two processes lose no files on a disk that reports errors for changes that it has made",
  ignoreIf(noFuse),
  async () => {
    await using dir = await createTempDir();
    const codes = { link: "EIO", rename: "ESTALE", unlink: "EINTR" };
    const faults = Object.entries(codes).map(([name, code]) => `done-${name} 9 ${code} /d/\n`);
    await fill(dir.path, { faults: faults.join("") });
    const script = await makeOddDiskScript(dir.path, 'plain "$0/faults"');
    const through = [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", script, dir.path];
    await changeFiles(through, `${dir.path}/disk`, { changes: 100, kills: 2 });
  },
);

// restoreTree with 3,000 files, whose process is killed while it changes them.

const HOUR = 3_600_000;

/** Changes files until a number of changes has begun; resolves to the last time. */
async function changeUntilKilled(dir: string, ahead: number, changes: number): Promise<number> {
  const flags = ["--allow-all", "--no-check", ...importMapFlags()];
  const args = [dir, `${ahead}`];
  const child = makeProgramCommand("random_days.ts", { flags, args }).spawn();
  const stderr = child.stderr.text();
  let time = NaN;
  let text = "";
  for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += part;
    const lines = text.split("\n");
    text = lines.pop()!;
    for (const line of lines) time = JSON.parse(line).time;
    const isKilled = lines.some((line) => JSON.parse(line).change >= changes);
    // At any moment of the change.
    if (isKilled) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 30));
      child.kill("SIGKILL");
      break;
    }
  }
  const { signal } = await child.status;
  assertEquals(signal, "SIGKILL", await stderr);
  return time;
}

Deno.test("3,000 files are restored as they were at any time, although the process was killed", async () => {
  await using dir = await createTempDir();
  const root = `${dir.path}/root`;
  await fill(
    root,
    Object.fromEntries(
      Array.from({ length: 3000 }, (_, index) => [`d${index % 30}/${index}`, `first ${index}`]),
    ),
  );
  const states: { readonly at: number; readonly files: Record<string, string> }[] = [];
  let ahead = 2 * HOUR;
  for (let kill = 0; kill < 8; kill++) {
    const time = await changeUntilKilled(root, ahead, 5 + Math.floor(Math.random() * 20));
    // The process has printed only some of its last times.
    ahead = time + 48 * HOUR - Date.now();
    states.push({ at: Date.now() + ahead - HOUR, files: readFiles(root) });
  }
  using _clock = setClockAhead(ahead);
  for (const [index, { at, files }] of states.entries()) {
    const target = `${dir.path}/restored-${index}`;
    const differences: unknown[] = [];
    const result = await restoreTree(root, {
      target,
      at: new Date(at),
      onEvent: (event) => {
        if (event.type !== "absent" && event.type !== "restored") differences.push(event);
      },
    });
    assertEquals(differences, []);
    assertEquals(readFiles(target), files, `state ${index}`);
    assert(result.files > 2500);
  }
});
