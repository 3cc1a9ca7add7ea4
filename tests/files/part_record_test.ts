/** The record of a part. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type PartRecord,
  readRecord,
  removeRecord,
  writeRecord,
} from "@degu/internal/files/part_record.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { makeFifo } from "@degu/testing/special_files.ts";

const RECORD: PartRecord = {
  peer: "authority AB:CD",
  uri: "/a",
  etag: '"e"',
  total: 5,
  sha256: null,
  synced: 0,
};

Deno.test("a record is read as it was written, and only its owner can read it", async () => {
  await using dir = await tempDir();
  const part = `${dir.path}/part`;
  assertEquals(await readRecord(part), null);
  const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
  const makeRecord = fc.record({
    peer: fc.string(),
    uri: fc.string(),
    etag: fc.string(),
    total: count,
    sha256: fc.option(fc.string()),
    synced: count,
  });
  const property = fc.asyncProperty(makeRecord, async (record) => {
    const uid = await writeRecord(part, record);
    assertEquals(uid, (await Deno.stat(dir.path)).uid);
    assertEquals(await readRecord(part), record);
  });
  await fc.assert(property, { numRuns: 50 });
  assertEquals([await entries(dir.path), await mode(`${part}.json`)], [["part.json"], 0o600]);
  await removeRecord(part);
  await removeRecord(part);
  assertEquals(await entries(dir.path), []);
});

Deno.test("an incomplete record that was being written is harmless", async () => {
  await using dir = await tempDir();
  const part = `${dir.path}/part`;
  await Deno.writeTextFile(`${part}.json.tmp`, "{");
  await writeRecord(part, RECORD);
  assertEquals([await readRecord(part), await entries(dir.path)], [RECORD, ["part.json"]]);
});

Deno.test("content that is not a record of this format is ignored", async () => {
  await using dir = await tempDir();
  const part = `${dir.path}/part`;
  await writeRecord(part, RECORD);
  const good = JSON.parse(await Deno.readTextFile(`${part}.json`));
  const bad: unknown[] = [
    null,
    1,
    [],
    {},
    RECORD,
    { ...good, format: "degu-part/2" },
    { ...good, peer: 1 },
    { ...good, uri: null },
    { ...good, etag: undefined },
    { ...good, total: -1 },
    { ...good, total: 1.5 },
    { ...good, synced: "0" },
    { ...good, sha256: 1 },
    { ...good, padding: "x".repeat(65536) },
  ];
  for (const text of ["", "{", ...bad.map((value) => JSON.stringify(value))]) {
    await Deno.writeTextFile(`${part}.json`, text);
    assertEquals(await readRecord(part), null, text.slice(0, 200));
  }
  await Deno.remove(`${part}.json`);
  await Deno.mkdir(`${part}.json`);
  assertEquals(await readRecord(part), null);
  await Deno.remove(`${part}.json`);
  if (await makeFifo(`${part}.json`)) assertEquals(await readRecord(part), null);
});
