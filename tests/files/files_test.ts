/** FilesApp: what it serves, and how it answers all other requests. */
import { assertEquals, assertRejects } from "@std/assert";
import { toFileUrl } from "@std/path";
import { type App, Router } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import { fileUri } from "@degu/internal/files/file_name.ts";
import { mkreq } from "@degu/degu/misc";
import { tempDir } from "@degu/testing/directories.ts";
import { assertRangeError, assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { serveDirectory, summarize } from "@degu/testing/served_directory.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { converse, unlessMissing } from "@degu/testing/tls_openssl.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

Deno.test("FilesApp finds files by every name that a path can contain", async () => {
  await using files = await serveDirectory();
  await files.mkdir("a/b.c/~d");
  const plain = ["x", ".hidden", "..x", "...", "x.", "-", "a+b", "_", "%41".slice(1), "A"];
  const others = [
    "a:b",
    "%41",
    "~41",
    "a b",
    "?",
    "#",
    "\\",
    "\n",
    "é",
    "日本語",
    "😀",
    "n".repeat(255),
  ];
  const names = [...plain, ...others];
  for (const dir of [[], ["a"], ["a", "b.c"], ["a", "b.c", "~d"]]) {
    const path = dir.map((name) => `${name}/`).join("");
    for (const [i, name] of names.entries()) await files.write(`${path}${name}`, `${path}${i}`);
    for (const [i, name] of names.entries()) {
      const response = await files.conn.get(`${fileUri(...dir, name)}?query`);
      assertEquals(await summarize(response), [200, `${path}${i}`]);
    }
    for (const name of plain) {
      assertEquals(
        (await files.conn.head(`/${path.replace("~", "~7E")}${name}`)).status,
        200,
        name,
      );
    }
  }
  assertEquals((await files.conn.get("/X")).status, 404, "names are case-sensitive");
});

Deno.test("FilesApp answers 404 for a missing file", async () => {
  await using files = await serveDirectory();
  await files.write("file.txt", "text");
  await files.write("a:b", "text");
  await files.mkdir("empty");
  const uris = [
    "/",
    "/none",
    "/none/",
    "/none/none",
    "/file.txt/",
    "/file.txt/none",
    "/empty/",
    "/empty/none",
    "/.",
    "/./file.txt",
    "/file.txt/.",
    "/" + "n".repeat(300),
    // What no name is escaped to.
    ...[
      "/a:b",
      "/~61",
      "/~66ile.txt",
      "/file~2etxt",
      "/~2E",
      "/~2E~2E/",
      "/~00",
      "/~2F",
      "/~C3",
      "/~",
    ],
    "/" + "n/".repeat(5000),
  ];
  for (const uri of uris) {
    const answer = await summarize(await files.conn.get(uri), "content-length");
    assertEquals(answer, [404, 0, ""], uri.slice(0, 50));
    assertEquals([...await files.conn.head(uri)], [404, "Not Found", {}, null], uri.slice(0, 50));
  }
});

Deno.test("FilesApp accepts only GET and HEAD", async () => {
  await using files = await serveDirectory();
  await files.write("file.txt", "text");
  for (const method of ["PUT", "POST", "DELETE"] as const) {
    const response = await files.serving.makeClient().request(method, "/file.txt");
    assertEquals(response.reason, "Method Not Allowed");
    assertEquals(await summarize(response, "allow"), [405, "GET, HEAD", ""], method);
  }
});

Deno.test({
  name: "curl does not wait for bytes that do not come, whatever the answer",
  ...await unlessMissing("curl"),
  async fn() {
    await using files = await serveDirectory();
    await files.write("file.txt", "text");
    await files.mkdir("sub");
    const asked: [expected: string, ...args: string[]][] = [
      ["200 text/plain", "/file.txt"],
      ["404 ", "/none"],
      ["301 ", "/sub"],
      ["412 ", "/file.txt", "--header", 'if-match: "another"'],
      ["404 ", "/none", "--head"],
      ["304 ", "/file.txt", "--header", "if-none-match: *"],
      ["200 text/plain", "/file.txt"],
      // After these the server closes.
      ["416 ", "/file.txt", "--range", "10-20"],
      ["405 ", "/file.txt", "--request", "DELETE"],
    ];
    const [, port] = files.serving.address as [string, number];
    const args = asked.flatMap(([, path = "", ...rest], i) => [
      ...(i === 0 ? [] : ["--next"]),
      ...["--silent", "--show-error", "--noproxy", "*", "--max-time", "5"],
      ...["--output", "/dev/null", "--write-out", "%{http_code} %{content_type}\n"],
      ...rest,
      `http://127.0.0.1:${port}${path}`,
    ]);
    const { stdout, code } = await converse("curl", args, "");
    assertEquals(stdout, asked.map(([expected]) => `${expected}\n`).join(""));
    assertEquals(code, 0);
    // One for the answers that leave it open, one for the 405 after the 416; and one of this test.
    const ended = files.serving.logger.at("debug").filter((line) => line.includes("ended after"));
    assertEquals(ended.length, 2);
  },
});

// ───────────────────────── types

// ───────────────────────── directories

Deno.test("FilesApp can be mounted at any path", async () => {
  const makeApp = (dir: string) => {
    const app = new FilesApp(dir);
    return new Router(new Map<string, App>([["a", app], ["b", new Router(new Map([["c", app]]))]]));
  };
  await using files = await serveDirectory(makeApp);
  await files.write("index.html", "index");
  await files.mkdir("sub");
  for (const mount of ["/a", "/b/c"]) {
    assertEquals(await summarize(await files.conn.get(`${mount}/`)), [200, "index"]);
    assertEquals(await summarize(await files.conn.get(`${mount}/index.html`)), [200, "index"]);
    const name = mount.slice(-1);
    const redirect = await summarize(await files.conn.get(mount), "location");
    assertEquals(redirect, [301, `./${name}/`, ""]);
    const deeper = await summarize(await files.conn.get(`${mount}/sub`), "location");
    assertEquals(deeper, [301, "./sub/", ""]);
  }
});

// ───────────────────────── the constructor

Deno.test("FilesApp rejects a directory that does not exist", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  for (const wrong of [undefined, null, 5, {}, ["/tmp"], new Blob()]) {
    assertTypeError(() => constructWith(FilesApp, wrong), Deno.inspect(wrong));
  }
  for (const wrong of ["", "\0", `${dir.path}\0`, new URL("https://localhost/tmp")]) {
    assertRangeError(() => new FilesApp(wrong), Deno.inspect(wrong));
  }
  const make = (path: string) => () => Promise.resolve().then(() => new FilesApp(path));
  await assertRejects(make(`${dir.path}/none`), Deno.errors.NotFound);
  await assertRejects(make(`${dir.path}/file`), Deno.errors.NotADirectory);
});

Deno.test("FilesApp rejects unknown options", async () => {
  await using dir = await tempDir();
  const wrong = [null, 5, "list", { lists: true }, { list: 1 }, { list: "yes" }, { list: null }];
  for (const options of wrong) {
    assertTypeError(() => constructWith(FilesApp, dir.path, options), Deno.inspect(options));
  }
  new FilesApp(dir.path, { list: undefined });
});

Deno.test("FilesApp accepts a relative path, a trailing slash, and a link to a directory", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(`${dir.path}/real`);
  await Deno.writeTextFile(`${dir.path}/real/file`, "text");
  await makeLinks({ [`${dir.path}/link`]: "real" });
  const handle = async (path: string | URL) => {
    const [status, , , body] = await new FilesApp(path).handle(mkreq("GET", "/file"));
    return [status, body];
  };
  for (const path of ["real", "real/", "link", "link/", "real/../real/."]) {
    assertEquals(await handle(`${dir.path}/${path}`), [200, latin1("text")], path);
  }
  assertEquals(await handle(toFileUrl(`${dir.path}/real`)), [200, latin1("text")]);
  const [status] = await new FilesApp("tests/files").handle(mkreq("GET", "/files_test.ts"));
  assertEquals(status, 200);
});
