/** upload: whole files, and what a call checks, reports and leaves. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { fileUri, TransferError, type TransferProgress, upload } from "@degu/degu/files";
import { entries } from "@degu/testing/directories.ts";
import { makeFifo } from "@degu/testing/special_files.ts";
import { partsOf, randomBytes, serveFiles, sha256, visible } from "@degu/testing/transferring.ts";

const SIZES = [0, 1, 65535, 65536, 1048575, 1048576, 1048577, 3_000_000];
const writable = (dir: string) => new FilesApp(dir, { write: true });

Deno.test("files of every size are uploaded, over a client and over a connection", async (t) => {
  await using files = await serveFiles(writable);
  using conn = await files.client.connect();
  for (const size of SIZES) {
    await t.step(`${size} bytes`, async () => {
      for (const to of [files.client, conn]) {
        for (const options of [{}, { resume: false }, { verify: false }]) {
          const content = randomBytes(size);
          await Deno.writeFile(`${files.here}/file`, content);
          const digest = options.verify === false ? null : await sha256(content);
          const expected = { bytes: size, total: size, resumedFrom: 0, sha256: digest };
          assertEquals(await upload(to, `${files.here}/file`, "/copy", options), expected);
          assertEquals(await Deno.readFile(`${files.there}/copy`), content);
          assertEquals(await partsOf(files.there), []);
          await Deno.remove(`${files.there}/copy`);
        }
      }
      assertEquals(conn.closed, false);
    });
  }
});

Deno.test("an existing file with the same content is not sent", async () => {
  await using files = await serveFiles(writable);
  for (const size of [0, 1, 100_000, 2_000_000]) {
    await Deno.writeFile(`${files.here}/file`, randomBytes(size));
    const first = await upload(files.client, `${files.here}/file`, "/copy");
    assertEquals([first.bytes, first.resumedFrom], [size, 0]);
    const before = await Deno.stat(`${files.there}/copy`);
    const again = await upload(files.client, `${files.here}/file`, "/copy");
    assertEquals(again, { ...first, bytes: 0, resumedFrom: size });
    // Of an empty file it can't be seen whether it is there.
    if (size > 0) assertEquals((await Deno.stat(`${files.there}/copy`)).ino, before.ino);
    const whole = await upload(files.client, `${files.here}/file`, "/copy", { resume: false });
    assertEquals(whole, first);
  }
});

Deno.test("file names may be in any language on both ends, and directories are created", async () => {
  await using files = await serveFiles(writable);
  const names = ["a b.txt", "Öl", "日本語.txt", "😀", "~", "%41", "a\nb", '"\\', "é".repeat(127)];
  for (const name of names) {
    await Deno.writeTextFile(`${files.here}/${name}`, `content of ${name}`);
    await upload(files.client, `${files.here}/${name}`, fileUri("d d", "ß", name));
    const there = await Deno.readTextFile(`${files.there}/d d/ß/${name}`);
    assertEquals(there, `content of ${name}`);
  }
  assertEquals(await entries(`${files.there}/d d/ß`), names.toSorted());
});

Deno.test("progress is reported at the end, and counts what this call transfers", async () => {
  await using files = await serveFiles(writable);
  await Deno.writeFile(`${files.here}/file`, randomBytes(3_000_000));
  const reports: TransferProgress[] = [];
  const onProgress = (progress: TransferProgress) => void reports.push(progress);
  await upload(files.client, `${files.here}/file`, "/copy", { onProgress });
  assertEquals(reports.at(-1), { bytes: 3_000_000, total: 3_000_000, resumedFrom: 0 });
  await upload(files.client, `${files.here}/file`, "/copy", { onProgress });
  assertEquals(reports.at(-1), { bytes: 0, total: 3_000_000, resumedFrom: 3_000_000 });
});

Deno.test("upload validates its arguments before it reads or connects", async () => {
  await using files = await serveFiles(writable);
  const { client, here } = files;
  const file = `${here}/file`;
  await Deno.writeTextFile(file, "content");
  const refused: [unknown[], typeof TypeError | typeof RangeError, string][] = [
    [[{}, file, "/f"], TypeError, "to: must be a Client or a Connection"],
    [[client, file, "f"], RangeError, "uri"],
    [
      [client, new URL("file:///tmp/x"), "/f"],
      TypeError,
      "file: must be the path of a file; got URL",
    ],
    [[client, "", "/f"], RangeError, "file: must be the path of a file"],
    [[client, file, "/f", { verfy: true }], TypeError, '"verfy"'],
  ];
  for (const [args, Class, message] of refused) {
    await assertRejects(() => upload(...args as Parameters<typeof upload>), Class, message);
  }
  await assertRejects(() => upload(client, here, "/f"), Deno.errors.IsADirectory, "one by one");
  await assertRejects(() => upload(client, `${here}/none`, "/f"), Deno.errors.NotFound, "none");
  if (await makeFifo(`${here}/fifo`)) {
    await assertRejects(() => upload(client, `${here}/fifo`, "/f"), RangeError, "a regular file");
  }
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  assertEquals(await assertRejects(() => upload(client, file, "/f", { signal }), Error), reason);
  assertEquals(await visible(files.there), []);
});

Deno.test("a server that does not accept a file says why", async () => {
  const cases: [(dir: string) => FilesApp, string, number, string][] = [
    [(dir) => new FilesApp(dir), "/new", 404, "write: true"],
    [(dir) => new FilesApp(dir, { write: true, maxBytes: 99_999 }), "/new", 413, "maxBytes"],
    [writable, "/", 403, "may not write"],
    [writable, "/directory", 409, "a directory is in the way"],
  ];
  for (const [makeApp, uri, status, hint] of cases) {
    await using files = await serveFiles(makeApp);
    await Deno.mkdir(`${files.there}/directory`);
    for (const size of [100_000, 5_000_000]) {
      await Deno.writeFile(`${files.here}/file`, randomBytes(size));
      for (const options of [{}, { resume: false }, { verify: false }]) {
        const failed = () => upload(files.client, `${files.here}/file`, uri, options);
        const error = await assertRejects(failed, TransferError);
        assertEquals(error.code, "STATUS", error.message);
        if (error.status === 405) assert(error.message.includes("write: true"), error.message);
        else assert(error.status === status && error.message.includes(hint), error.message);
      }
    }
    assertEquals(await visible(files.there), ["directory"]);
    assertEquals(await partsOf(files.there), []);
  }
});

Deno.test("replace: false keeps a different existing file, and accepts an identical one", async () => {
  await using files = await serveFiles(writable);
  for (const size of [0, 5, 2_000_000]) {
    const file = `${files.here}/file`;
    const content = randomBytes(size);
    await Deno.writeFile(file, content);
    const uri = `/copy-${size}`;
    const put = (options = {}) => upload(files.client, file, uri, { replace: false, ...options });
    assertEquals((await put()).bytes, size);
    assertEquals([(await put()).total, (await put({ resume: false })).total], [size, size]);
    await Deno.writeFile(file, randomBytes(size + 1));
    for (const options of [{}, { resume: false }, { verify: false }]) {
      const error = await assertRejects(
        () => put(options),
        TransferError,
        "the file already exists",
      );
      assertEquals(error.status, 412);
    }
    assertEquals(await Deno.readFile(`${files.there}${uri}`), content);
    assertEquals(await partsOf(files.there), []);
  }
});

Deno.test("replace: false works the same over a connection, which is kept if an identical file exists", async () => {
  await using files = await serveFiles(writable);
  const file = `${files.here}/file`;
  for (const size of [0, 5, 2_000_000]) {
    const uri = `/copy-${size}`;
    await Deno.writeFile(file, randomBytes(size));
    using connection = await files.client.connect();
    const put = () => upload(connection, file, uri, { replace: false });
    assertEquals((await put()).bytes, size);
    assertEquals((await put()).bytes, 0);
    assertEquals((await put()).bytes, 0);
    assertEquals(connection.closed, false);
    await Deno.writeFile(file, randomBytes(size + 1));
    assertEquals((await assertRejects(put, TransferError)).status, 412);
  }
});
