/** Listings of directories. */
import { assert, assertEquals } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { fileUri, unescapeName } from "@degu/internal/files/file_name.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import type { Response } from "@degu/degu/base";
import { makeEmptyFiles } from "@degu/testing/directories.ts";
import { serveDirectory, summarize } from "@degu/testing/served_directory.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";

const listing = (dir: string) => new FilesApp(dir, { list: true });

interface Entry {
  readonly name: string;
  readonly kind: string;
  readonly size: number;
  readonly modified: string;
}

/** The entries of a response, by name. */
async function entriesOf(response: Response): Promise<Entry[]> {
  assertEquals([response.status, response.headers["content-type"]], [200, "application/json"]);
  const entries = JSON.parse(new TextDecoder().decode(await response.body!.bytes())) as Entry[];
  return entries.toSorted((a, b) => a.name < b.name ? -1 : 1);
}

Deno.test("a listing has the name, kind, size and time of each entry", async () => {
  await using files = await serveDirectory(listing);
  assertEquals(await entriesOf(await files.conn.get("/")), []);
  await files.write("a.txt", "12345");
  await files.write("index.html", "<p>");
  await files.mkdir("sub");
  const time = new Date("2020-02-29T12:34:56.789Z");
  for (const name of ["a.txt", "index.html", "sub"]) {
    await Deno.utime(`${files.path}/${name}`, time, time);
  }
  const modified = time.toISOString();
  assertEquals(await entriesOf(await files.conn.get("/?query")), [
    { name: "a.txt", kind: "file", size: 5, modified },
    { name: "index.html", kind: "file", size: 3, modified },
    { name: "sub", kind: "directory", size: 0, modified },
  ]);
  assertEquals(await entriesOf(await files.conn.get("/sub/")), []);
  const head = await files.conn.head("/");
  assertEquals([...head], [200, "OK", head.headers, null]);
  assertEquals(head.headers["content-type"], "application/json");
});

Deno.test("only directories are listed, and only if listings are enabled", async () => {
  await using files = await serveDirectory(listing);
  await files.write("file", "text");
  await files.mkdir("sub");
  await files.write("sub/index.html", "index");
  assertEquals((await files.conn.get("/file/")).status, 404);
  assertEquals((await files.conn.get("/none/")).status, 404);
  assertEquals((await files.conn.head("/none/")).status, 404);
  assertEquals(await summarize(await files.conn.get("/sub"), "location"), [301, "./sub/", ""]);
  assertEquals(await summarize(await files.conn.get("/sub/index.html")), [200, "index"]);
  await using plain = await serveDirectory();
  assertEquals((await plain.conn.get("/")).status, 404);
});

Deno.test("names in any language are listed unchanged, and their links work", async () => {
  await using files = await serveDirectory(listing);
  const names = [
    ..."é日本語😀",
    "O\u0308l",
    "a b",
    "\\",
    '"',
    "\n",
    "\u202e",
    "~",
    "\ufeff",
    "<b>",
  ];
  for (const name of names) await files.write(name, `the file ${names.indexOf(name)}`);
  const entries = await entriesOf(await files.conn.get("/"));
  assertEquals(entries.map(({ name }) => name), names.toSorted((a, b) => a < b ? -1 : 1));
  for (const { name } of entries) {
    const response = await files.conn.get(fileUri(name));
    assertEquals(await summarize(response), [200, `the file ${names.indexOf(name)}`]);
  }
});

Deno.test({
  name: "entries that can't be served are not listed",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using files = await serveDirectory(listing);
    await files.mkdir("sub");
    await files.write("file", "12345");
    await files.mkdir(RESERVED);
    await files.write(`${RESERVED}/part`, "secret");
    await files.mkdir(`sub/${RESERVED}`);
    await files.write(`sub/${RESERVED}/part`, "secret");
    await files.write("sub/.a.degu-part", "secret");
    await files.write(".a.degu-part.json", "secret");
    await makeFifo(`${files.path}/fifo`);
    using _listener = Deno.listen({ transport: "unix", path: `${files.path}/socket` });
    await makeLinks({
      [`${files.path}/in`]: "file",
      [`${files.path}/in-dir`]: "sub",
      [`${files.path}/self`]: ".",
      [`${files.path}/out`]: "/etc/passwd",
      [`${files.path}/out-dir`]: "/etc",
      [`${files.path}/none`]: "nothing",
      [`${files.path}/loop`]: "loop",
      [`${files.path}/part`]: `${RESERVED}/part`,
      [`${files.path}/parts`]: RESERVED,
      [`${files.path}/deep-part`]: `sub/${RESERVED}/part`,
      [`${files.path}/download`]: "sub/.a.degu-part",
      [`${files.path}/.b.degu-part`]: "file",
    });
    // Bytes that are not UTF-8, and further down a name that Deno shows in the same way.
    await makeBadName(files.path);
    const seen = async (uri: string) =>
      (await entriesOf(await files.conn.get(uri))).map(({ name, kind, size }) =>
        `${kind} ${name} ${size}`
      );
    assertEquals(await seen("/"), ["directory sub 0", "file file 5", "file in 5"].toSorted(by));
    await files.write("\ufffd", "123");
    assertEquals((await seen("/")).at(-1), "file \ufffd 3");
    assertEquals(await seen("/in-dir/"), []);
    assertEquals(await seen("/sub/"), []);
    for (const name of [RESERVED, "parts", `sub/${RESERVED}`, `in-dir/${RESERVED}`]) {
      for (const uri of [`/${name}`, `/${name}/`, `/${name}/part`]) {
        assertEquals((await files.conn.get(uri)).status, 404, uri);
      }
    }
    const parts = [
      "/sub/.a.degu-part",
      "/in-dir/.a.degu-part",
      "/.a.degu-part.json",
      "/.b.degu-part",
    ];
    for (const uri of ["/part", "/deep-part", "/download", ...parts]) {
      assertEquals((await files.conn.get(uri)).status, 404, uri);
    }
  },
});

/** Makes a file whose name is not UTF-8. */
async function makeBadName(dir: string): Promise<void> {
  const script = "import os, sys; open(os.fsencode(sys.argv[1]) + b'/\\xff', 'w')";
  try {
    const args = ["-c", script, dir];
    const { success } = await new Deno.Command("python3", { args, stdin: "null" }).output();
    assert(success);
    assertEquals(
      (await Array.fromAsync(Deno.readDir(dir))).some(({ name }) => name === "\ufffd"),
      true,
    );
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.log("python3 is missing: names that are not UTF-8 are not tested");
  }
}

/** By what follows the kind. */
function by(a: string, b: string): number {
  return a.slice(a.indexOf(" ")) < b.slice(b.indexOf(" ")) ? -1 : 1;
}

Deno.test("10,000 entries are listed in chunks, even if some vanish meanwhile", async () => {
  await using files = await serveDirectory(listing);
  const count = 10_000;
  const names = Array.from({ length: count }, (_, i) => `${"n".repeat(100)}-${i}`);
  makeEmptyFiles(files.path, names);
  const { body } = await files.conn.get("/");
  assert(body?.chunked);
  let text = "";
  let largest = 0;
  let removed = false;
  for await (const [, data] of body) {
    largest = Math.max(largest, data.length);
    text += new TextDecoder().decode(data);
    if (removed) continue;
    removed = true;
    for (let i = 0; i < count; i += 2) Deno.removeSync(`${files.path}/${"n".repeat(100)}-${i}`);
  }
  const entries = JSON.parse(text) as Entry[];
  assert(entries.length >= count / 2 && entries.length <= count, `${entries.length}`);
  assertEquals(new Set(entries.map(({ name }) => name)).size, entries.length);
  assert(largest < 65536, `a chunk of ${largest} bytes`);
  for (const { name } of entries) assertEquals(unescapeName(name), name);
});

Deno.test("a peer that leaves during a listing is not an error", async () => {
  await using files = await serveDirectory(listing);
  makeEmptyFiles(files.path, Array.from({ length: 3000 }, (_, i) => `${"n".repeat(200)}-${i}`));
  const conn = await files.serving.makeClient().connect();
  const { body } = await conn.get("/");
  assert(body?.chunked);
  await body.readChunk();
  conn.close();
  assertEquals((await entriesOf(await files.conn.get("/"))).length, 3000);
});
