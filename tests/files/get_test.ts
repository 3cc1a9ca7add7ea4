/** GET and HEAD: files of every size and type, index files and redirects. */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import mime from "npm:mime@^4.1.2";
import { pattern, serveDirectory, summarize } from "@degu/testing/served_directory.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { allowedBytes, consistsOf } from "@degu/testing/wire_grammar.ts";

Deno.test("FilesApp serves files of every size, to GET and HEAD", async (t) => {
  await using files = await serveDirectory();
  const sizes = [0, 1, 32767, 32768, 32769, 65536, 524287, 524288, 524289, 1048577, 3000000];
  for (const size of sizes) {
    await t.step(`${size} bytes`, async () => {
      const content = pattern(size);
      await files.write("file.bin", content);
      const response = await files.conn.get("/file.bin");
      assertEquals([response.status, response.reason], [200, "OK"]);
      assertEquals(response.headers["content-length"], size);
      assertEquals(Buffer.compare(await response.body!.bytes(), content), 0);
      const head = await files.conn.head("/file.bin");
      assertEquals([head.status, head.reason, head.body], [200, "OK", null]);
      assertEquals(head.headers, response.headers);
    });
  }
});

Deno.test("FilesApp chooses the type by the extension", async () => {
  await using files = await serveDirectory();
  const types: Record<string, string> = {
    "a.html": "text/html",
    "a.txt": "text/plain",
    "a.JSON": "application/json",
    "a.b.svg": "image/svg+xml",
    "a.tar.gz": "application/gzip",
    "a.wasm": "application/wasm",
    "a.unknown": "application/octet-stream",
    "a": "application/octet-stream",
    "html": "application/octet-stream",
    ".html": "application/octet-stream",
    "a.": "application/octet-stream",
  };
  for (const [name, type] of Object.entries(types)) {
    await files.write(name, "x");
    const head = await files.conn.head(`/${name}`);
    assertEquals(head.headers["content-type"], type, name);
  }
  await makeLinks({ [`${files.path}/link.txt`]: "a.html" });
  assertEquals((await files.conn.head("/link.txt")).headers["content-type"], "text/plain");
});

Deno.test("every known media type is a valid header value", () => {
  const characters = "abcdefghijklmnopqrstuvwxyz0123456789-+";
  const types = new Set<string>();
  const look = (extension: string) => {
    const type = mime.getType(`/x.${extension}`);
    if (type !== null) types.add(type);
  };
  for (const a of characters) {
    for (const b of ["", ...characters]) {
      for (const c of ["", ...characters]) look(a + b + c);
    }
  }
  for (const type of types) {
    for (const extension of mime.getAllExtensions(type) ?? []) look(extension);
    assert(consistsOf(type, allowedBytes.headerValue, 1), type);
  }
  assert(types.size > 300, `only ${types.size} types were found`);
});

Deno.test("a path with a trailing slash serves index.html of that directory", async () => {
  await using files = await serveDirectory();
  await files.mkdir("sub/deep");
  await files.mkdir("odd/index.html");
  for (const dir of ["", "sub/", "sub/deep/"]) {
    await files.write(`${dir}index.html`, `index of /${dir}`);
    const summary = await summarize(await files.conn.get(`/${dir}`), "content-type");
    assertEquals(summary, [200, "text/html", `index of /${dir}`]);
    const named = await files.conn.get(`/${dir}index.html`);
    assertEquals(await summarize(named), [200, `index of /${dir}`]);
  }
  assertEquals((await files.conn.get("/odd/")).status, 404);
});

Deno.test("a directory without a trailing slash is redirected to the path with one", async () => {
  await using files = await serveDirectory();
  await files.mkdir("sub/de ep");
  const cases: [asked: string, location: string, target: string][] = [
    ["/sub", "./sub/", "/sub/"],
    ["/sub?", "./sub/?", "/sub/?"],
    ["/sub?a=b", "./sub/?a=b", "/sub/?a=b"],
    ["/sub/de~20ep", "./de~20ep/", "/sub/de~20ep/"],
  ];
  for (const [asked, location, target] of cases) {
    const response = await files.conn.get(asked);
    assertEquals(response.reason, "Moved Permanently");
    assertEquals(await summarize(response, "location"), [301, location, ""], asked);
    const head = await files.conn.head(asked);
    assertEquals([...head], [301, "Moved Permanently", { location }, null], asked);
    const resolved = new URL(location, `http://localhost${asked}`);
    assertEquals(resolved.href, `http://localhost${target}`);
  }
});
