/** Unfinished files: their owners, what remains of them, and several processes that write the same names. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { lstatSync } from "node:fs";
import { makeReserved, reservedPath } from "@degu/internal/files/reserved.ts";
import { findRoom, makeRoom } from "@degu/internal/files/parts.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { Sweeper } from "@degu/internal/files/sweeper.ts";
import {
  listUnfinished,
  pathOf,
  removeUnlocked,
  setModified,
  Unfinished,
} from "@degu/internal/files/unfinished.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { programCommand } from "@degu/testing/programs.ts";
import fc from "fast-check";

const PART = `part-${"0".repeat(32)}-${"1".repeat(64)}`;

Deno.test("an unfinished file is removed unless it is kept", async () => {
  await using dir = await tempDir();
  const reserved = reservedPath(dir.path);
  {
    await using file = await Unfinished.create(dir.path);
    assertEquals(file.mode, file.newMode);
    const [listed, ...more] = listUnfinished(dir.path, "put-");
    assertEquals([listed?.path, listed?.isIdle, more], [file.path, false, []]);
    await using other = await Unfinished.create(dir.path);
    assert(other.path !== file.path);
    assertEquals((await entries(reserved)).length, 2);
  }
  assertEquals(await entries(reserved), []);
  {
    await using file = await Unfinished.create(dir.path);
    file.isKept = true;
  }
  const [left] = listUnfinished(dir.path, "");
  assertEquals([left?.isIdle, left?.size], [true, 0]);
});

Deno.test("a part is reopened with its content, and only its owner can read it", async () => {
  await using dir = await tempDir();
  const path = pathOf(dir.path, PART);
  {
    await using part = await Unfinished.openPart(path, dir.path);
    await part.handle.writeFile("12345");
    part.isKept = true;
  }
  assertEquals(await mode(path), 0o600);
  await using part = await Unfinished.openPart(path, dir.path);
  assertEquals([part.state.size, await Deno.readTextFile(path)], [5n, "12345"]);
  await using fresh = await Unfinished.create(dir.path);
  assertEquals(part.newMode, fresh.mode, "a file that is new gets the mode that new files have");
});

Deno.test("a part with a second hard link is not written", async () => {
  await using dir = await tempDir();
  const path = pathOf(dir.path, PART);
  makeReserved(dir.path);
  await Deno.writeTextFile(`${dir.path}/served`, "served");
  await Deno.link(`${dir.path}/served`, path);
  await using part = await Unfinished.openPart(path, dir.path);
  assertEquals(part.state.size, 0n);
  assertEquals(await Deno.readTextFile(`${dir.path}/served`), "served");
});

Deno.test("nothing else in the reserved directory is listed", async () => {
  await using dir = await tempDir();
  assertEquals(listUnfinished(dir.path, ""), []);
  makeReserved(dir.path);
  for (const name of ["notes", `put-${"0".repeat(31)}`, `${PART}.bak`]) {
    await Deno.writeTextFile(pathOf(dir.path, name), "");
  }
  await Deno.mkdir(pathOf(dir.path, PART));
  assertEquals(listUnfinished(dir.path, ""), []);
});

Deno.test("a part that another process is writing is not removed", async () => {
  await using dir = await tempDir();
  const path = pathOf(dir.path, PART);
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const options = { flags, args: [path, dir.path] };
  const child = programCommand("part_writer.ts", options, "piped").spawn();
  const stderr = new Response(child.stderr).text();
  const reader = child.stdout.getReader();
  assert(!(await reader.read()).done, "it must be ready");
  const old = new Date(Date.now() - 25 * 3_600_000);
  await Deno.utime(path, old, old);
  const sweep = () => new Sweeper(dir.path, (message) => assert(false, message));
  const part = { path: pathOf(dir.path, PART.replace("1", "2")), beginning: PART.slice(0, 38) };
  sweep();
  makeRoom(dir.path, part);
  assertEquals(findRoom(dir.path, part, 1, 0), 0);
  assertEquals([removeUnlocked(path), await entries(reservedPath(dir.path))], [false, [PART]]);
  await child.stdin.close();
  while (!(await reader.read()).done);
  assert((await child.status).success, await stderr);
  await stderr;
  sweep();
  assertEquals(await entries(reservedPath(dir.path)), []);
  assertEquals(removeUnlocked(path), true, "it is gone already");
});

Deno.test("an old file that can't be opened is still removed", async () => {
  await using dir = await tempDir();
  makeReserved(dir.path);
  const path = pathOf(dir.path, PART);
  await Deno.writeTextFile(path, "", { mode: 0o400 });
  assertEquals([removeUnlocked(path), await entries(reservedPath(dir.path))], [true, []]);
});

Deno.test("exactly one of two processes that write the same new file gets 201", async () => {
  await using dir = await tempDir();
  const count = 50;
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const children = [0, 1].map(() => {
    const options = { flags, args: [dir.path, `${count}`] };
    const child = programCommand("put_new.ts", options, "piped").spawn();
    return { child, stderr: new Response(child.stderr).text() };
  });
  const readers = children.map(({ child }) =>
    child.stdout.pipeThrough(new TextDecoderStream()).getReader()
  );
  for (const reader of readers) await reader.read();
  for (const { child } of children) {
    const writer = child.stdin.getWriter();
    await writer.write(new Uint8Array(1));
    await writer.close();
  }
  const all = await Promise.all(readers.map(async (reader, i) => {
    let text = "";
    for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
    const { success } = await children[i]!.child.status;
    assert(success, await children[i]!.stderr);
    await children[i]!.stderr;
    return JSON.parse(text) as number[];
  }));
  for (let i = 0; i < count; i++) {
    assertEquals(all.map((statuses) => statuses[i]!).toSorted(), [201, 412], `the file ${i}`);
  }
});

Deno.test("a time is set to the millisecond, even before 1970", async () => {
  await using dir = await tempDir();
  const path = `${dir.path}/file`;
  await Deno.writeTextFile(path, "text");
  const state = lstatSync(path, { bigint: true });
  const times = fc.date({
    min: new Date("1902-01-01T00:00:00Z"),
    max: new Date("2100-01-01T00:00:00Z"),
    noInvalidDate: true,
  });
  fc.assert(fc.property(times, (time) => {
    setModified(path, state, time);
    assertEquals(Deno.statSync(path).mtime, time);
  }));
});

Deno.test("a file that has replaced another keeps its time", async () => {
  await using dir = await tempDir();
  const [path, other] = [`${dir.path}/file`, `${dir.path}/other`];
  await Deno.writeTextFile(path, "text");
  await Deno.writeTextFile(other, "other");
  const { mtime } = await Deno.stat(other);
  const state = lstatSync(path, { bigint: true });
  await Deno.rename(other, path);
  const error = assertThrows(() => setModified(path, state, new Date(0)), Refusal);
  assertEquals([error.status, (await Deno.stat(path)).mtime], [409, mtime]);
});
