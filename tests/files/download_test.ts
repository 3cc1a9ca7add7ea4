/** download: whole files, and what a call checks, reports and leaves. */
import { assertEquals, assertRejects } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { download, fileUri, upload } from "@degu/degu/files";
import { entries } from "@degu/testing/directories.ts";
import { randomBytes, serveFiles, sha256 } from "@degu/testing/transferring.ts";

const SIZES = [0, 1, 65535, 65536, 65537, 524287, 524288, 524289, 1048577, 3_000_000];

Deno.test("files of every size arrive, over a client and over a connection", async (t) => {
  await using files = await serveFiles();
  using conn = await files.client.connect();
  for (const size of SIZES) {
    await t.step(`${size} bytes`, async () => {
      const content = randomBytes(size);
      await Deno.writeFile(`${files.there}/file`, content);
      const digest = await sha256(content);
      for (const from of [files.client, conn]) {
        for (const verify of [true, false]) {
          const result = await download(from, "/file", `${files.here}/copy`, { verify });
          const expected = { bytes: size, total: size, resumedFrom: 0 };
          assertEquals(result, { ...expected, sha256: verify ? digest : null });
          assertEquals(await Deno.readFile(`${files.here}/copy`), content);
          assertEquals(await entries(files.here), ["copy"]);
        }
      }
      assertEquals(conn.closed, false);
    });
  }
});

Deno.test("file names may be in any language on both ends", async () => {
  await using files = await serveFiles();
  const names = [
    "a b.txt",
    "Öl",
    "日本語.txt",
    "😀",
    "~",
    "%41",
    "a\nb",
    '"\\',
    "x".repeat(255),
    "é".repeat(127),
  ];
  await Deno.mkdir(`${files.there}/d d/ß`, { recursive: true });
  for (const name of names) {
    const content = `content of ${name}`;
    await Deno.writeTextFile(`${files.there}/d d/ß/${name}`, content);
    await download(files.client, fileUri("d d", "ß", name), `${files.here}/${name}`);
    assertEquals(await Deno.readTextFile(`${files.here}/${name}`), content);
  }
  assertEquals(await entries(files.here), names.toSorted());
});

Deno.test("a file gets the specified time", async () => {
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  await Deno.writeTextFile(`${files.here}/file`, "content");
  const modified = new Date("2001-02-03T04:05:06.789Z");
  await upload(files.client, `${files.here}/file`, "/file", { modified });
  assertEquals((await Deno.stat(`${files.there}/file`)).mtime, modified);
  await download(files.client, "/file", `${files.here}/copy`, { modified });
  assertEquals((await Deno.stat(`${files.here}/copy`)).mtime, modified);
});

Deno.test("download validates its arguments before it connects or writes", async () => {
  await using files = await serveFiles();
  const { client, here } = files;
  const file = `${here}/copy`;
  const refused: [unknown[], typeof TypeError | typeof RangeError, string][] = [
    [[{}, "/f", file], TypeError, "from: must be a Client or a Connection"],
    [[null, "/f", file], TypeError, "from:"],
    [[client, "f", file], RangeError, "uri"],
    [[client, "/a b", file], RangeError, "uri"],
    [[client, 1, file], TypeError, "uri"],
    [
      [client, "/f", new URL("file:///tmp/x")],
      TypeError,
      "file: must be the path of a file; got URL",
    ],
    [[client, "/f", ""], RangeError, "file: must be the path of a file"],
    [[client, "/f", "a\0b"], RangeError, "NUL"],
    [[client, "/f", file, null], TypeError, "options"],
    [[client, "/f", file, { verfy: true }], TypeError, '"verfy"'],
    [[client, "/f", file, { verify: 1 }], TypeError, "verify: must be a boolean"],
    [[client, "/f", file, { resume: null }], TypeError, "resume: must be a boolean"],
    [[client, "/f", file, { onProgress: {} }], TypeError, "onProgress: must be a function"],
    [[client, "/f", file, { signal: {} }], TypeError, "signal"],
    [[client, "/f", file, { replace: "no" }], TypeError, "replace: must be a boolean"],
    [[client, "/f", file, { modified: 0 }], TypeError, "modified: must be a Date; got number"],
    [
      [client, "/f", file, { modified: new Date(NaN) }],
      RangeError,
      "modified: must be a valid date",
    ],
  ];
  for (const [args, Class, message] of refused) {
    await assertRejects(() => download(...args as Parameters<typeof download>), Class, message);
  }
  assertEquals(await entries(here), []);
});
