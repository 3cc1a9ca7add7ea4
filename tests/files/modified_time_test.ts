/** Modification times that senders set. */
import { assertEquals, assertThrows } from "@std/assert";
import { lstatSync } from "node:fs";
import { setModified } from "@degu/internal/files/modified_time.ts";
import { Refusal } from "@degu/internal/files/refusal.ts";
import { tempDir } from "@degu/testing/directories.ts";
import fc from "fast-check";

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
