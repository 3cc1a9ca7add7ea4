/** What is kept of a part: its file, its record, and how much of it is on the disk. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { TransferError } from "@degu/degu/files";
import { isAt } from "@degu/internal/disk/files.ts";
import { SyncedCount } from "@degu/internal/files/download.ts";
import {
  createFile,
  explainFullDisk,
  openRegularFile,
  PartFile,
  type PartRecord,
  readRecord,
  removeRecord,
  writeRecord,
} from "@degu/internal/files/part_file.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";

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

const INTERVAL = 268_435_456;

Deno.test("every 256 MiB the record of a part notes how much was synced to the disk", async () => {
  await using dir = await tempDir();
  await using part = await PartFile.open(`${dir.path}/f`, true);
  const noted = async () => (await readRecord(`${dir.path}/.f.degu-part`))?.synced;
  const record = { peer: "p", uri: "/f", etag: '"e"', total: 2 ** 40, sha256: null, synced: 0 };
  await part.begin(record);
  const count = new SyncedCount(part, record, 1000);
  count.add(INTERVAL - 1);
  await count.settle();
  assertEquals(await noted(), 0);
  count.add(1);
  // One at a time.
  count.add(INTERVAL);
  await count.settle();
  assertEquals(await noted(), 1000 + INTERVAL);
  count.add(5);
  await count.settle();
  assertEquals(await noted(), 1000 + 2 * INTERVAL + 5);
  count.add(7);
  await count.noteAll();
  assertEquals(await noted(), 1000 + 2 * INTERVAL + 12);
});

Deno.test("a new file is created only if there is none", async () => {
  await using dir = await tempDir();
  {
    using file = await createFile(`${dir.path}/a`);
    assert(file !== null && await isAt(`${dir.path}/a`, file));
    assertEquals(await isAt(`${dir.path}/b`, file), false);
    await Deno.writeTextFile(`${dir.path}/b`, "");
    assertEquals(await isAt(`${dir.path}/b`, file), false, "another file");
    await Deno.remove(`${dir.path}/b`);
  }
  await Deno.mkdir(`${dir.path}/dir`);
  await makeLinks({ [`${dir.path}/link`]: "new" });
  for (const name of ["a", "dir", "link"]) {
    assertEquals(await createFile(`${dir.path}/${name}`), null, name);
  }
  assertEquals(await entries(dir.path), ["a", "dir", "link"]);
  await assertRejects(() => createFile(`${dir.path}/none/a`), Deno.errors.NotFound);
});

Deno.test("a regular file is opened, and anything else with its name is removed", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "12345");
  {
    using file = await openRegularFile(`${dir.path}/file`);
    assertEquals((await file?.stat())?.size, 5);
  }
  await makeLinks({ [`${dir.path}/link`]: "file" });
  await Deno.mkdir(`${dir.path}/dir`);
  for (const name of ["none", "link", "dir"]) {
    assertEquals(await openRegularFile(`${dir.path}/${name}`), null, name);
  }
  assertEquals(await entries(dir.path), ["file"]);
  assertEquals(await Deno.readTextFile(`${dir.path}/file`), "12345");
  await Deno.mkdir(`${dir.path}/full/sub`, { recursive: true });
  await assertRejects(() => openRegularFile(`${dir.path}/full`));
});

Deno.test("a full disk and an exceeded quota are named, and other errors are unchanged", () => {
  for (const code of ["ENOSPC", "EDQUOT"]) {
    const cause = Object.assign(new Error("message"), { code });
    const error = explainFullDisk(cause, "/the/file");
    assert(error instanceof TransferError && error.message.startsWith("/the/file: "));
    assertEquals([error.code, error.cause], ["DISK_FULL", cause]);
  }
  for (const other of [new Error("x"), Object.assign(new Error(), { code: "EIO" }), null, "x"]) {
    assertEquals(explainFullDisk(other, "f"), other);
  }
});
