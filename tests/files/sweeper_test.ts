/** Unfinished files that nobody has written to for a day. */
import { assert, assertEquals } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { Sweeper } from "@degu/internal/files/sweeper.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { entries } from "@degu/testing/directories.ts";
import { makeTree } from "@degu/testing/served_directory.ts";

Deno.test("only unfinished files are removed, after 24 hours", async () => {
  await using tree = await makeTree();
  const reserved = `${tree.root}/${RESERVED}`;
  await Deno.mkdir(reserved, { mode: 0o700 });
  const hours: Record<string, number> = {
    [`put-${"0".repeat(32)}`]: 25,
    [`put-${"1".repeat(32)}`]: 23,
    [`part-${"0".repeat(32)}-${"0".repeat(64)}`]: 25,
    [`part-${"0".repeat(32)}-${"1".repeat(64)}`]: 23,
    [`part-${"0".repeat(32)}-${"2".repeat(64)}`]: -25,
    "put-of-somebody": 25,
    "notes": 25,
  };
  for (const [name, age] of Object.entries(hours)) {
    await Deno.writeTextFile(`${reserved}/${name}`, "text");
    const time = new Date(Date.now() - age * 3_600_000);
    await Deno.utime(`${reserved}/${name}`, time, time);
  }
  new FilesApp(tree.root, { list: true });
  assertEquals((await entries(reserved)).length, Object.keys(hours).length, "it may only read");
  new FilesApp(tree.root, { write: true });
  assertEquals(await entries(reserved), [
    "notes",
    `part-${"0".repeat(32)}-${"1".repeat(64)}`,
    `put-${"1".repeat(32)}`,
    "put-of-somebody",
  ]);
});

Deno.test("old files are looked for once an hour", async () => {
  await using tree = await makeTree();
  const sweeper = new Sweeper(tree.root, () => {});
  const part = `${tree.root}/${RESERVED}/put-${"0".repeat(32)}`;
  await Deno.mkdir(`${tree.root}/${RESERVED}`, { mode: 0o700 });
  await Deno.writeTextFile(part, "text");
  const time = new Date(Date.now() - 25 * 3_600_000);
  await Deno.utime(part, time, time);
  for (const [minutes, left] of [[0, 1], [59, 1], [61, 0]] as const) {
    using _clock = setClockAhead(minutes * 60_000);
    sweeper.sweepIfDue();
    assertEquals((await entries(`${tree.root}/${RESERVED}`)).length, left, `${minutes} minutes`);
  }
});

Deno.test("an old file that can't be removed is logged, and is not an error", () => {
  const reports: string[] = [];
  // The suite may read nothing there.
  new Sweeper("/proc", (message) => void reports.push(message));
  assertEquals(reports.length, 1);
  assert(reports[0]?.startsWith("an old unfinished file can't be removed: NotCapable"), reports[0]);
});
