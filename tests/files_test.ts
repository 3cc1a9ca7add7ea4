/** FilesApp: what it serves, in which pieces, and to which conditions. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import mime from "npm:mime@^4.1.2";
import { Buffer } from "node:buffer";
import { Router } from "../applib.ts";
import { type HeaderDict, type Method, Range, type Response } from "../base.ts";
import type { Connection } from "../client.ts";
import { FilesApp } from "../files.ts";
import { mkreq } from "../misc.ts";
import type { App } from "../rgi.ts";
import { tempDir } from "./support/directories.ts";
import { assertRangeError, assertTypeError, constructWith } from "./support/expectations.ts";
import { turnOfEventLoop } from "./support/raw_peer.ts";
import { serve } from "./support/serving.ts";
import { makeLinks } from "./support/special_files.ts";
import { allowedBytes, consistsOf, fromLatin1, latin1 } from "./support/wire_grammar.ts";

/** A directory that is served, and a connection to it. */
async function serveDirectory(makeApp = (dir: string): App => new FilesApp(dir)) {
  const dir = await tempDir();
  const serving = serve(makeApp(dir.path));
  const conn = await serving.makeClient().connect();
  return {
    path: dir.path,
    conn,
    serving,
    write: (name: string, content: string | Uint8Array) =>
      Deno.writeFile(
        `${dir.path}/${name}`,
        typeof content === "string" ? latin1(content) : content,
      ),
    mkdir: (name: string) => Deno.mkdir(`${dir.path}/${name}`, { recursive: true }),
    [Symbol.asyncDispose]: async () => {
      conn.close();
      await serving[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
      assertEquals(serving.logger.at("error"), []);
    },
  };
}

/** Status, headers that are asked for, and the text of a response. */
async function summarize(response: Response, ...names: string[]) {
  const body = await response.body?.bytes();
  return [
    response.status,
    ...names.map((name) => {
      const value = response.headers[name];
      return typeof value === "object" ? String(value) : value;
    }),
    body === undefined ? null : fromLatin1(body),
  ];
}

/** Bytes with a period of a prime length, so that no two pieces are the same. */
function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => i % 251);
}

Deno.test("FilesApp serves files of every size, in whole and as HEAD", async (t) => {
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

Deno.test("FilesApp finds files by every name that a path can have", async () => {
  await using files = await serveDirectory();
  await files.mkdir("a/b.c/~d");
  const names = ["x", ".hidden", "..x", "...", "x.", "-", "a:b", "a+b", "_", "%41".slice(1), "A"];
  for (const dir of ["", "a/", "a/b.c/", "a/b.c/~d/"]) {
    for (const name of names) await files.write(`${dir}${name}`, `${dir}${name}`);
    for (const name of names) {
      const response = await files.conn.get(`/${dir}${name}?query`);
      assertEquals(await summarize(response), [200, `${dir}${name}`]);
    }
  }
  assertEquals((await files.conn.get("/X")).status, 404, "names are case-sensitive");
});

Deno.test("FilesApp answers 404 to what is not there", async () => {
  await using files = await serveDirectory();
  await files.write("file.txt", "text");
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
    "/" + "n/".repeat(5000),
  ];
  for (const uri of uris) {
    const response = await files.conn.get(uri);
    assertEquals([...response], [404, "Not Found", {}, null], uri.slice(0, 50));
  }
});

Deno.test("FilesApp knows no other methods than GET and HEAD", async () => {
  await using files = await serveDirectory();
  await files.write("file.txt", "text");
  for (const method of ["PUT", "POST", "DELETE"] as const) {
    const response = await files.serving.makeClient().request(method, "/file.txt");
    assertEquals([...response], [405, "Method Not Allowed", {}, null], method);
  }
});

// ───────────────────────── types

Deno.test("FilesApp names the type by the extension", async () => {
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

Deno.test("every type that there is fits into a header", () => {
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

// ───────────────────────── directories

Deno.test("a path that ends with a slash stands for the index.html of a directory", async () => {
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

Deno.test("a directory without a slash is redirected to itself with one", async () => {
  await using files = await serveDirectory();
  await files.mkdir("sub/de:ep");
  const cases: [asked: string, location: string, target: string][] = [
    ["/sub", "./sub/", "/sub/"],
    ["/sub?", "./sub/?", "/sub/?"],
    ["/sub?a=b", "./sub/?a=b", "/sub/?a=b"],
    ["/sub/de:ep", "./de:ep/", "/sub/de:ep/"],
  ];
  for (const [asked, location, target] of cases) {
    for (const method of ["GET", "HEAD"] as const) {
      const response = await files.conn.request(method, asked, {}, null);
      assertEquals([...response], [301, "Moved Permanently", { location }, null], asked);
      const resolved = new URL(location, `http://localhost${asked}`);
      assertEquals(resolved.href, `http://localhost${target}`);
    }
  }
});

Deno.test("FilesApp may be mounted anywhere", async () => {
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
    assertEquals(redirect, [301, `./${name}/`, null]);
    const deeper = await summarize(await files.conn.get(`${mount}/sub`), "location");
    assertEquals(deeper, [301, "./sub/", null]);
  }
});

// ───────────────────────── ranges

Deno.test("FilesApp serves every single range", async () => {
  await using files = await serveDirectory();
  for (const size of [1, 10, 100_000, 2_000_000]) {
    const content = pattern(size);
    await files.write("file", content);
    const property = fc.asyncProperty(
      fc.nat(size - 1),
      fc.integer({ min: 1, max: size + 10 }),
      async (start, length) => {
        const response = await files.conn.getRange("/file", {}, start, start + length);
        const stop = Math.min(start + length, size);
        assertEquals([response.status, response.reason], [206, "Partial Content"]);
        assertEquals(
          String(response.headers["content-range"]),
          `bytes ${start}-${stop - 1}/${size}`,
        );
        assertEquals(response.headers["content-length"], stop - start);
        const bytes = await response.body!.bytes();
        assertEquals(Buffer.compare(bytes, content.subarray(start, stop)), 0);
      },
    );
    await fc.assert(property, { numRuns: 20 });
  }
});

Deno.test("a range beyond the end is 416, without a content-range", async () => {
  await using files = await serveDirectory();
  await files.write("ten", "0123456789");
  await files.write("empty", "");
  const cases: [name: string, start: number, stop: number][] = [
    ["ten", 10, 11],
    ["ten", 10, 2 ** 53 - 1],
    ["ten", 2 ** 53 - 2, 2 ** 53 - 1],
    ["empty", 0, 1],
  ];
  for (const [name, start, stop] of cases) {
    using conn = await files.serving.makeClient().connect();
    const response = await conn.getRange(`/${name}`, {}, start, stop);
    assertEquals([...response], [416, "Range Not Satisfiable", {}, null]);
  }
});

Deno.test("a range counts for GET only", async () => {
  await using files = await serveDirectory();
  await files.write("ten", "0123456789");
  for (const range of [new Range(2, 5), new Range(10, 11)]) {
    const response = await files.conn.head("/ten", { range });
    assertEquals(await summarize(response, "content-length", "content-range"), [
      200,
      10,
      undefined,
      null,
    ]);
  }
});

Deno.test("a piece of a file stays what it is until it has been written", async () => {
  await using dir = await tempDir();
  const content = pattern(3_000_000);
  await Deno.writeFile(`${dir.path}/file`, content);
  const [, , , body] = await new FilesApp(dir.path).handle(mkreq("GET", "/file"));
  assert(body !== null && !(body instanceof Uint8Array));
  let position = 0;
  await body.writeTo({
    async write(bytes) {
      // Long enough for the next piece to have been read.
      for (let turn = 0; turn < 3; turn++) await turnOfEventLoop();
      const expected = content.subarray(position, position += bytes.length);
      assertEquals(Buffer.compare(bytes, expected), 0);
    },
  });
  assertEquals(position, content.length);
});

// ───────────────────────── conditions

Deno.test("the validators of a file", async () => {
  await using files = await serveDirectory();
  await files.write("file", "0123456789");
  const time = new Date("1994-11-06T08:49:37.500Z");
  await Deno.utime(`${files.path}/file`, time, time);
  const { headers } = await files.conn.head("/file");
  assertEquals(headers["last-modified"], "Sun, 06 Nov 1994 08:49:37 GMT");
  assertMatch(`${headers["etag"]}`, /^"[-0-9a-f]+"$/);

  const again = await files.conn.head("/file");
  assertEquals(again.headers, headers);
  await files.write("other", "0123456789");
  await Deno.utime(`${files.path}/other`, time, new Date(time.getTime() + 1));
  assertNotEquals((await files.conn.head("/other")).headers["etag"], headers["etag"]);
  await files.write("longer", "0123456789a");
  await Deno.utime(`${files.path}/longer`, time, time);
  assertNotEquals((await files.conn.head("/longer")).headers["etag"], headers["etag"]);
});

Deno.test("last-modified is not in the future", async () => {
  await using files = await serveDirectory();
  await files.write("file", "");
  await Deno.utime(`${files.path}/file`, new Date(), new Date("2100-01-01"));
  const before = Math.floor(Date.now() / 1000) * 1000;
  const { headers } = await files.conn.head("/file");
  const modified = Date.parse(`${headers["last-modified"]}`);
  assert(modified >= before && modified <= Date.now(), `${headers["last-modified"]}`);
});

const EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT";
const TIME = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER = "Sun, 06 Nov 1994 08:49:38 GMT";

/** Conditions and the status that they lead to; ETAG stands for the file's own. */
const CONDITIONS: readonly [headers: HeaderDict, status: number][] = [
  [{}, 200],
  [{ "if-none-match": "ETAG" }, 304],
  [{ "if-none-match": "W/ETAG" }, 304],
  [{ "if-none-match": '"a", ETAG' }, 304],
  [{ "if-none-match": '"a",W/ETAG,"b"' }, 304],
  [{ "if-none-match": "*" }, 304],
  [{ "if-none-match": '"a"' }, 200],
  [{ "if-none-match": '"a*"' }, 200],
  [{ "if-none-match": "w/ETAG" }, 200],
  [{ "if-modified-since": TIME }, 304],
  [{ "if-modified-since": LATER }, 304],
  [{ "if-modified-since": EARLIER }, 200],
  [{ "if-modified-since": "yesterday" }, 200],
  [{ "if-modified-since": "2100-01-01" }, 200],
  [{ "if-modified-since": "Mon, 06 Nov 1994 08:49:37 GMT" }, 200],
  [{ "if-none-match": '"a"', "if-modified-since": LATER }, 200],
  [{ "if-none-match": "ETAG", "if-modified-since": EARLIER }, 304],
  [{ "if-match": "ETAG" }, 200],
  [{ "if-match": "*" }, 200],
  [{ "if-match": '"a", ETAG' }, 200],
  [{ "if-match": '"a"' }, 412],
  [{ "if-match": "W/ETAG" }, 412],
  [{ "if-match": '"a"', "if-none-match": "ETAG" }, 412],
  [{ "if-match": "ETAG", "if-none-match": "ETAG" }, 304],
  [{ "if-unmodified-since": TIME }, 200],
  [{ "if-unmodified-since": LATER }, 200],
  [{ "if-unmodified-since": EARLIER }, 412],
  [{ "if-unmodified-since": "yesterday" }, 200],
  [{ "if-match": "ETAG", "if-unmodified-since": EARLIER }, 200],
];

const REASONS: Record<number, string> = {
  200: "OK",
  206: "Partial Content",
  304: "Not Modified",
  412: "Precondition Failed",
};

/** A file that was last changed at TIME, and its tag. */
async function writeOldFile(
  files: { path: string; conn: Connection; write(name: string, text: string): Promise<void> },
): Promise<string> {
  await files.write("file", "0123456789");
  await Deno.utime(`${files.path}/file`, new Date(TIME), new Date(TIME));
  return `${(await files.conn.head("/file")).headers["etag"]}`;
}

function fillIn(headers: HeaderDict, etag: string): HeaderDict {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === "string" ? value.replace("ETAG", etag) : value,
    ]),
  );
}

for (const method of ["GET", "HEAD"] as const satisfies Method[]) {
  Deno.test(`a conditional ${method} is answered as RFC 9110 §13 says`, async (t) => {
    await using files = await serveDirectory();
    const etag = await writeOldFile(files);
    for (const [conditions, status] of CONDITIONS) {
      await t.step(`${Deno.inspect(conditions)} → ${status}`, async () => {
        const response = await files.conn.request(
          method,
          "/file",
          fillIn(conditions, etag),
          null,
        );
        const text = (await response.body?.text()) ?? null;
        assertEquals([response.status, response.reason], [status, REASONS[status]]);
        assertEquals(text, method === "GET" && status === 200 ? "0123456789" : null);
        const validators: HeaderDict = { etag, "last-modified": TIME };
        if (status === 304) assertEquals({ ...response.headers }, validators);
        if (status === 412) assertEquals({ ...response.headers }, {});
      });
    }
  });
}

Deno.test("an if-range decides whether the range counts", async () => {
  await using files = await serveDirectory();
  const etag = await writeOldFile(files);
  const cases: [ifRange: string, counts: boolean][] = [
    [etag, true],
    ['"a"', false],
    [`W/${etag}`, false],
    // A file can change twice in a second.
    [TIME, false],
    ["*", false],
  ];
  for (const [ifRange, counts] of cases) {
    const response = await files.conn.getRange("/file", { "if-range": ifRange }, 2, 5);
    assertEquals(await summarize(response), counts ? [206, "234"] : [200, "0123456789"], ifRange);
    const beyond = await files.serving.makeClient().request("GET", "/file", {
      "if-range": ifRange,
      range: new Range(10, 11),
    });
    assertEquals(await summarize(beyond), counts ? [416, null] : [200, "0123456789"], ifRange);
  }
  const unchanged = { "if-none-match": etag, range: new Range(2, 5) };
  assertEquals((await files.conn.get("/file", unchanged)).status, 304);
});

// ───────────────────────── the constructor

Deno.test("FilesApp wants a directory that exists", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  for (const wrong of [undefined, null, 5, {}, ["/tmp"], new URL("file:///tmp")]) {
    assertTypeError(() => constructWith(FilesApp, wrong), Deno.inspect(wrong));
  }
  for (const wrong of ["", "\0", `${dir.path}\0`]) {
    assertRangeError(() => new FilesApp(wrong), Deno.inspect(wrong));
  }
  const make = (path: string) => () => Promise.resolve().then(() => new FilesApp(path));
  await assertRejects(make(`${dir.path}/none`), Deno.errors.NotFound);
  await assertRejects(make(`${dir.path}/file`), Deno.errors.NotADirectory);
});

Deno.test("FilesApp takes a relative path, a slash at the end, and a link to a directory", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(`${dir.path}/real`);
  await Deno.writeTextFile(`${dir.path}/real/file`, "text");
  await makeLinks({ [`${dir.path}/link`]: "real" });
  const handle = async (path: string) => {
    const [status, , , body] = await new FilesApp(path).handle(mkreq("GET", "/file"));
    return [status, body];
  };
  for (const path of ["real", "real/", "link", "link/", "real/../real/."]) {
    assertEquals(await handle(`${dir.path}/${path}`), [200, latin1("text")], path);
  }
  const [status] = await new FilesApp("tests").handle(mkreq("GET", "/files_test.ts"));
  assertEquals(status, 200);
});
