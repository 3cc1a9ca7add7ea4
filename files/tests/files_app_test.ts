/** FilesApp: served files, responses to other requests, and conditional requests. */
import { type App, routes } from "@degu/degu";
import { Body, type HeadersToSend, type Method, Range } from "@degu/degu/base";
import {
  deleteEntry,
  type FileLogDetails,
  FilesApp,
  type FilesOptions,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import type { Logger } from "@degu/degu/server";
import { makeValidators } from "@degu/internal/files/wire/conditions.ts";
import { makeErrorPrintable } from "@degu/internal/files/serve/files_app.ts";
import { makeBundle } from "./bundles.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { DEFAULT_HOSTS, statusOf } from "../../tests/net/server/default_hosts.ts";
import { createTempDir, fill, listNames, readTree } from "@degu/testing/directories.ts";
import { formatErrorResponse } from "../../tests/net/server/error_answers.ts";
import { assertRangeError, assertTypeError, constructWith } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { exchange } from "@degu/testing/raw_peer.ts";
import { makePattern, serveDirectory, summarize } from "./served_directory.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { ignoreUnlessInstalled, runWithInput } from "../../tests/net/tls/tls_openssl.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { toFileUrl } from "@std/path";
import { open } from "node:fs/promises";
import { streamOf } from "@degu/testing/streams.ts";
import { serveFiles, serveFilesApp } from "@degu/testing/transferring.ts";

/** The headers of every response to GET and HEAD without a digest. */
const CACHE_HEADERS = {
  "cache-control": "no-cache",
  vary: "upload-complete, upload-length, want-repr-digest",
};

// FilesApp: served files, and responses to all other requests.

Deno.test("FilesApp answers 404 for a missing file", async () => {
  await using files = await serveDirectory();
  await files.write("file.txt", "text");
  await files.mkdir("empty");
  const uris = [
    ...["/", "/none", "/none/", "/none/none", "/empty/", "/empty/none"],
    ...["/file.txt/", "/file.txt/none", "/" + "n".repeat(300)],
    ...["/" + "n/".repeat(5000)],
    ...["/%25", "/file%252etxt", "/%252E%252E/", "/.%252E", "/file.txt%3B", "/file.txt%20"],
    // On Windows, the request is refused with 400.
    ...Deno.build.os === "windows" ? [] : ["/%5C"],
  ];
  for (const uri of uris) {
    const summary = await summarize(await files.conn.get(uri), "content-length");
    assertEquals(summary, [404, undefined, null], uri.slice(0, 50));
    const head: unknown[] = [404, "Not Found", CACHE_HEADERS, null];
    assertEquals([...await files.conn.head(uri)], head, uri.slice(0, 50));
  }
});

Deno.test("FilesApp serves a file by a path with components ., as apt requests it", async () => {
  await using files = await serveDirectory();
  await files.mkdir("sub");
  await files.write("sub/file.txt", "text");
  const rows = [
    ["/./sub/file.txt", "200"],
    ["/sub/././file.txt", "200"],
    ["/sub/./file.txt/.", "404"],
    ["/./../sub/file.txt", "400"],
  ];
  for (const [uri, status] of rows) {
    const request = `GET ${uri} HTTP/1.1\r\nconnection: close\r\n\r\n`;
    const { received } = await exchange(files.serving.address, request);
    assertEquals(received.slice(9, 12), status, uri);
    assertEquals(received.split("\r\n\r\n")[1], status === "200" ? "text" : "", uri);
  }
});

Deno.test("FilesApp accepts only GET and HEAD, with write also PUT and DELETE", async () => {
  for (const write of [false, true]) {
    await using files = await serveDirectory((dir) => new FilesApp(dir, { write }));
    await files.write("file.txt", "text");
    const allow = write ? "GET, HEAD, PUT, DELETE" : "GET, HEAD";
    const methods: Method[] = ["POST", "PATCH", "OPTIONS"];
    for (const method of write ? methods : [...methods, "PUT", "DELETE"] as const) {
      const response = await files.serving.makeClient().request(method, "/file.txt");
      assertEquals(response.reason, "Method Not Allowed");
      // So no web page of another origin may send PUT or DELETE.
      assertEquals(response.headers["access-control-allow-origin"], undefined);
      assertEquals(await summarize(response, "allow"), [405, allow, null], method);
    }
    assertEquals(await summarize(await files.conn.get("/file.txt")), [200, "text"]);
  }
});

Deno.test("a web page that DNS rebinding leads to FilesApp reads and writes nothing", async (t) => {
  await using files = await serveDirectory((dir) => new FilesApp(dir, { write: true, list: true }));
  const tree = { "file.txt": "secret" };
  await fill(files.path, tree);
  const rows = DEFAULT_HOSTS.map(([host, status]) => [`${host}`, host, status] as const);
  await testEachRow(t, rows, async (_label, host, status) => {
    const lines = host === null ? "" : `host: ${host}\r\norigin: http://${host}\r\n`;
    const send = async (line: string) => {
      const request = `${line} HTTP/1.1\r\n${lines}content-length: 0\r\n\r\n`;
      return (await exchange(files.serving.address, request)).received;
    };
    const received = await send("GET /file.txt");
    assertEquals([statusOf(received), received.includes("secret")], [status, status === 200]);
    if (status === 200) return;
    for (const line of ["GET /", "PUT /new.txt", "PUT /file.txt", "DELETE /file.txt"]) {
      assertEquals(await send(line), formatErrorResponse(status), line);
    }
    assertEquals(await readTree(files.path), tree);
  });
});

Deno.test({
  name: "curl -C - continues a download",
  ...await ignoreUnlessInstalled("curl"),
  async fn() {
    await using files = await serveDirectory();
    await files.write("file", makePattern(100_000));
    await using dir = await createTempDir();
    const target = `${dir.path}/file`;
    await Deno.writeFile(target, makePattern(100_000).subarray(0, 40_000));
    const [, port] = files.serving.address as [string, number];
    const flags = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"];
    const { code, stdout } = await runWithInput("curl", [
      ...[...flags, "-C", "-", "--output", target, "--write-out", "%{http_code} %{size_download}"],
      `http://127.0.0.1:${port}/file`,
    ], "");
    assertEquals([code, stdout], [0, "206 60000"]);
    assertEquals(await Deno.readFile(target), makePattern(100_000));
  },
});

Deno.test("a refusal is logged, except if a read finds no file", async () => {
  await using dir = await createTempDir();
  const rows: [Method, uri: string, status: number, warnings: number][] = [
    ["GET", "/none", 404, 0],
    ["HEAD", "/none", 404, 0],
    ["POST", "/none?bundle=get", 404, 0],
    ["POST", "/?bundle=get", 400, 1],
    ["POST", "/", 405, 1],
    ["DELETE", "/none", 404, 1],
    ["PUT", "/", 403, 1],
  ];
  for (const [method, uri, status, expected] of rows) {
    const warnings: string[] = [];
    const logger = { warn: (message: string) => void warnings.push(message) };
    const app = new FilesApp(dir.path, { write: true, logger });
    const sent = new Body(new Blob(["bad"]).stream(), 3);
    const request = mkreq(method, uri, {}, method === "POST" || method === "PUT" ? sent : null);
    assertEquals([(await app.handle(request))[0], warnings.length], [status, expected], uri);
  }
});

Deno.test("record of the logger of a FilesApp gets each refused action on a file as data", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "content");
  const refusals: FileLogDetails["refusal"][] = [];
  const lastLines: [keyof Logger, FileLogDetails][] = [];
  const logger: FilesOptions["logger"] = {
    warn: () => {},
    record(level, _line, details) {
      refusals.push(details.refusal);
      lastLines[0] = [level, details];
    },
  };
  const app = new FilesApp(dir.path, { write: true, logger });
  const bytes = () => new Body(new Blob(["new"]).stream(), 3);
  const bundle = makeBundle([["file/other", "1"]]);
  const requests = [
    mkreq("PUT", "/file", { "if-none-match": "*" }, bytes()),
    mkreq("DELETE", "/sub/a%20b", {}, null),
    mkreq("POST", "/?bundle=get", {}, bytes()),
    mkreq("PUT", "/file/new", {}, bytes()),
    mkreq("PUT", "/a".repeat(257), {}, bytes()),
    mkreq("POST", "/?bundle=put", {}, new Body(new Blob([bundle]).stream(), bundle.length)),
  ];
  for (const request of requests) {
    const [, , , body] = await app.handle(request);
    if (body instanceof ReadableStream) await body.pipeTo(new WritableStream());
  }
  const lines = refusals.map((refusal) => {
    const { action, path, status, isInUse } = refusal!;
    return [action, path.join("/"), status, isInUse];
  });
  assertEquals(lines, [
    ["put", "file", 412, false],
    ["delete", "sub/a b", 404, false],
    ["get", "", 400, false],
    ["put", "file/new", 409, false],
    ["put", "", 404, false],
    ["put", "file/other", 409, false],
  ]);
  assertStringIncludes(refusals[4]!.problem, "at most 256 names");
  for (const refusal of refusals) assert(!refusal!.problem.includes("PUT"), refusal!.problem);
  await using serving = serve(app);
  assertEquals((await serving.makeClient().put("/.degu-files", {}, "a")).status, 403);
  const [level, { kind, who }] = lastLines[0]!;
  assertEquals([level, kind], ["warn", "app"]);
  assertMatch(who ?? "", /^127\.0\.0\.1:\d+$/);
});

Deno.test("FilesApp without a logger logs the reason of a refused write to the server's logger", async () => {
  await using files = await serveDirectory((dir) => new FilesApp(dir, { write: true }));
  assertEquals((await files.serving.makeClient().request("DELETE", "/none")).status, 404);
  const [line = ""] = await files.serving.logger.waitFor("info");
  assertMatch(line, /^127\.0\.0\.1:\d+: DELETE "\/none": /);
});

Deno.test("a HEAD for the digest of a damaged file gets no digest, and the error is logged", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "content");
  const warnings: string[] = [];
  const app = new FilesApp(dir.path, { logger: { warn: (line) => void warnings.push(line) } });
  const handle = await open(`${dir.path}/file`);
  await handle.close();
  const damaged = Object.assign(new Error("a bad sector"), { code: "EIO" });
  const prototype = Object.getPrototypeOf(handle);
  using _damaged = patch(prototype, "read", () => () => Promise.reject(damaged));
  const request = mkreq("HEAD", "/file", { "want-repr-digest": "sha-256=10" });
  const [status, , headers] = await app.handle(request);
  assertEquals([status, headers["content-length"], headers["repr-digest"]], [200, 7, undefined]);
  assertEquals(warnings, [`a peer: HEAD "/file": Error: a bad sector`]);
});

// ───────────────────────── the constructor

Deno.test("FilesApp rejects a directory that does not exist", async () => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  const url = new URL("https://localhost/tmp");
  for (const invalid of [undefined, {}, url]) {
    assertTypeError(() => constructWith(FilesApp, invalid), Deno.inspect(invalid));
  }
  for (const invalid of ["", `${dir.path}\0`]) {
    assertRangeError(() => new FilesApp(invalid), Deno.inspect(invalid));
  }
  const make = (path: string) => () => Promise.resolve().then(() => new FilesApp(path));
  await assertRejects(make(`${dir.path}/none`), Deno.errors.NotFound);
  await assertRejects(make(`${dir.path}/file`), Deno.errors.NotADirectory);
  await assertRejects(
    make(`${dir.path}/file/x`),
    Deno.errors.NotADirectory,
    `'${dir.path}/file/x'`,
  );
});

Deno.test("FilesApp rejects unknown options", async () => {
  await using dir = await createTempDir();
  const invalidOptions = [
    ...[null, { lists: true }, { list: 1 }, { maxBytes: "1" }, { logger: {} }, { onFile: {} }],
  ];
  for (const options of invalidOptions) {
    assertTypeError(() => constructWith(FilesApp, dir.path, options), Deno.inspect(options));
  }
  for (const maxBytes of [-1, 1.5, 2 ** 53]) {
    assertRangeError(() => new FilesApp(dir.path, { maxBytes }), `${maxBytes}`);
  }
  new FilesApp(dir.path, { list: undefined, write: true });
  assertEquals(await listNames(dir.path), [], "no directory is created before it is needed");
});

Deno.test("FilesApp accepts a relative path, a trailing slash, and a link to a directory", async () => {
  await using dir = await createTempDir();
  await Deno.mkdir(`${dir.path}/real`);
  await Deno.writeTextFile(`${dir.path}/real/file`, "text");
  await makeLinks({ [`${dir.path}/link`]: "real" });
  const handle = async (path: string | URL) => {
    const [status, , , body] = await new FilesApp(path).handle(mkreq("GET", "/file"));
    return [status, body];
  };
  for (const path of ["real", "real/", "link", "link/", "real/../real/."]) {
    assertEquals(await handle(`${dir.path}/${path}`), [200, encodeLatin1("text")], path);
  }
  assertEquals(await handle(toFileUrl(`${dir.path}/real`)), [200, encodeLatin1("text")]);
  const [status] = await new FilesApp("files/tests").handle(mkreq("GET", "/files_app_test.ts"));
  assertEquals(status, 200);
});

// GET and HEAD: files of every size and type, index files and redirects.

Deno.test("FilesApp chooses the type by the extension", async () => {
  await using files = await serveDirectory();
  const types: Record<string, string> = {
    "a.html": "text/html",
    "a.txt": "text/plain",
    "a.JSON": "application/json",
    "a.tar.gz": "application/gzip",
    "a.unknown": "application/octet-stream",
    "a": "application/octet-stream",
    ".html": "application/octet-stream",
    "a.": "application/octet-stream",
  };
  for (const [name, type] of Object.entries(types)) {
    await files.write(name, "x");
    const head = await files.conn.head(`/${name}`);
    assertEquals(head.headers["content-type"], type, name);
    const { status, reason, headers, body } = await files.conn.get(`/${name}`);
    assertEquals([status, reason, headers, await body?.text()], [200, "OK", head.headers, "x"]);
  }
});

Deno.test("a path with a trailing slash serves index.html, and a path without is redirected, wherever the app is mounted", async () => {
  const makeApp = (dir: string): App => {
    const app = new FilesApp(dir);
    return routes({ "/a/": app, "/b/": routes({ "/c/": app }), "/": app });
  };
  await using files = await serveDirectory(makeApp);
  await files.mkdir("sub/de ep");
  await files.mkdir("odd/index.html");
  for (const dir of ["", "sub/", "sub/de ep/"]) {
    await files.write(`${dir}index.html`, `index of /${dir}`);
  }
  const redirected: [uri: string, location: string][] = [
    ["/sub", "/sub/"],
    ["/sub?", "/sub/?"],
    ["/sub?a=b", "/sub/?a=b"],
    ["/sub/de%20ep", "/sub/de%20ep/"],
    ["/./sub/./de%20ep?a", "/sub/de%20ep/?a"],
  ];
  assertThrows(
    () => routes({ "GET /a/": new FilesApp(files.path) }),
    RangeError,
    "must be a mount",
  );
  for (const mount of ["", "/a", "/b/c"]) {
    for (const dir of ["/", "/sub/", "/sub/de%20ep/"]) {
      const text = `index of ${dir.replace("%20", " ")}`;
      const index = await summarize(await files.conn.get(`${mount}${dir}`), "content-type");
      assertEquals(index, [200, "text/html", text]);
      const indexSummary = await summarize(await files.conn.get(`${mount}${dir}index.html`));
      assertEquals(indexSummary, [200, text]);
    }
    assertEquals((await files.conn.get(`${mount}/odd/`)).status, 404);
    const mountRedirect: typeof redirected = mount === "" ? [] : [["", "/"], ["?a", "/?a"]];
    for (const [uri, path] of [...redirected, ...mountRedirect]) {
      const requestUri = `${mount}${uri}`;
      const location = `${mount}${path}`;
      for (const method of ["GET", "HEAD"]) {
        const request = `${method} ${requestUri} HTTP/1.1\r\nconnection: close\r\n\r\n`;
        const { received } = await exchange(files.serving.address, request);
        assert(received.startsWith("HTTP/1.1 301 Moved Permanently\r\n"), received);
        assertEquals(/^location: (.*)\r$/m.exec(received)?.[1], location, requestUri);
        assert(received.endsWith("\r\n\r\n"), received);
      }
    }
  }
});

// FilesApp: validators of a file, and conditional requests.

type Files = Awaited<ReturnType<typeof serveDirectory>>;

const EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT";
const TIME = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER = "Sun, 06 Nov 1994 08:49:38 GMT";
const FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT";

/**
 * Conditions and the resulting status: for a file of TIME, for a file that was just written, and
 * for a file that was just given a time in the same second. ETAG stands for the file's own etag,
 * which only the first file has.
 */
const CONDITIONS: readonly [HeadersToSend, status: number, ofNew?: number, ofOldTime?: number][] = [
  [{}, 200, 200, 200],
  [{ "if-none-match": "ETAG" }, 304],
  [{ "if-none-match": '"a", ETAG' }, 304],
  [{ "if-none-match": '"a",W/ETAG,"b"' }, 304],
  // Empty elements, and commas within a tag.
  [{ "if-none-match": ', ,\t"a",,ETAG ,' }, 304],
  [{ "if-none-match": '"a,*", "b, *, c"' }, 200, 200],
  [{ "if-match": ',"a,b",, ETAG,' }, 200],
  [{ "if-none-match": "*" }, 304, 304],
  [{ "if-none-match": '"a"' }, 200, 200],
  [{ "if-modified-since": TIME }, 304, 200, 304],
  [{ "if-modified-since": LATER }, 304],
  [{ "if-modified-since": EARLIER }, 200, 200, 200],
  [{ "if-modified-since": FUTURE }, 304, 200],
  [{ "if-modified-since": "yesterday" }, 200],
  [{ "if-modified-since": "Mon, 06 Nov 1994 08:49:37 GMT" }, 200],
  // A year has four digits.
  [{ "if-modified-since": "Fri, 31 Dec 9999 23:59:59 GMT" }, 304],
  [{ "if-modified-since": "Sat, 01 Jan 10000 00:00:00 GMT" }, 200],
  // The obsolete date formats for LATER and EARLIER, and invalid variants.
  [{ "if-modified-since": "Sunday, 06-Nov-94 08:49:38 GMT" }, 304],
  [{ "if-modified-since": "Sun Nov  6 08:49:38 1994" }, 304],
  [{ "if-unmodified-since": "Sunday, 06-Nov-94 08:49:36 GMT" }, 412, 412, 412],
  [{ "if-unmodified-since": "Sun Nov  6 08:49:36 1994" }, 412, 412, 412],
  [{ "if-modified-since": "Sunday, 31-Feb-94 08:49:38 GMT" }, 200],
  [{ "if-none-match": '"a"', "if-modified-since": LATER }, 200],
  [{ "if-none-match": "ETAG", "if-modified-since": EARLIER }, 304],
  [{ "if-match": "ETAG" }, 200],
  [{ "if-match": "*" }, 200, 200],
  [{ "if-match": '"a"' }, 412, 412, 412],
  [{ "if-match": "W/ETAG" }, 412],
  [{ "if-match": '"a"', "if-none-match": "ETAG" }, 412],
  [{ "if-match": "ETAG", "if-none-match": "ETAG" }, 304],
  [{ "if-unmodified-since": TIME }, 200, 412, 200],
  [{ "if-unmodified-since": LATER }, 200],
  [{ "if-unmodified-since": EARLIER }, 412, 412, 412],
  [{ "if-unmodified-since": FUTURE }, 200, 200],
  [{ "if-match": "ETAG", "if-unmodified-since": EARLIER }, 200],
  [{ range: new Range(2, 5) }, 206, 206],
  [{ "if-range": "ETAG", range: new Range(2, 5) }, 206],
  [{ "if-range": '"a"', range: new Range(2, 5) }, 200, 200],
  [{ "if-range": "W/ETAG", range: new Range(2, 5) }, 200],
  // A file can change twice in a second.
  [{ "if-range": TIME, range: new Range(2, 5) }, 200, 200],
  [{ "if-none-match": "ETAG", range: new Range(2, 5) }, 304],
  [{ "if-range": "ETAG", range: new Range(10, 11) }, 416],
  [{ "if-range": '"a"', range: new Range(10, 11) }, 200],
];

const REASONS: Record<number, string> = {
  200: "OK",
  206: "Partial Content",
  304: "Not Modified",
  412: "Precondition Failed",
  416: "Range Not Satisfiable",
};

/** Writes a file with the time TIME; its ctime is the current time. */
async function writeOld(files: Files, name: string, content: string, time = TIME): Promise<void> {
  await files.write(name, content);
  await Deno.utime(`${files.path}/${name}`, new Date(time), new Date(time));
}

/** Returns the etag of a file that was changed two seconds ago or earlier. */
async function tagOf(files: Files, name: string): Promise<string> {
  const { etag } = (await files.conn.head(`/${name}`)).headers;
  assert(typeof etag === "string", `${name} has no tag`);
  return etag;
}

function fillIn(headers: HeadersToSend, etag: string): HeadersToSend {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === "string" ? value.replace("ETAG", etag) : value,
    ]),
  );
}

Deno.test("a file that has not changed for two seconds has a tag, and is answered as RFC 9110 §13 requires", async (t) => {
  await using files = await serveDirectory();
  await writeOld(files, "file", "0123456789");
  await writeOld(files, "twin", "0123456789");
  await writeOld(files, "later", "0123456789", LATER);
  await writeOld(files, "longer", "0123456789a");
  await writeOld(files, "rewritten", "0123456789");
  using _clock = setClockAhead();
  const names = ["file", "twin", "later", "longer", "rewritten"];
  const tags: string[] = [];
  for (const name of names) tags.push(await tagOf(files, name));
  const [etag = ""] = tags;

  await t.step("different files have different tags, and the tag of a file is stable", async () => {
    for (const tag of tags) assertMatch(tag, /^"[-0-9a-f]+"$/);
    assertEquals(new Set(tags).size, names.length);
    for (const [i, name] of names.entries()) assertEquals(await tagOf(files, name), tags[i]);
  });

  // The size and the time are the same again, and only ctime differs. Deno reports ctime in whole
  // seconds, and no program can set it, so wait for the next second of the file system's clock.
  await new Promise((resolve) => setTimeout(resolve, 1050 - new Date().getMilliseconds()));
  await writeOld(files, "rewritten", "abcdefghij");
  await t.step("a file that was just rewritten has no tag yet", async () => {
    using _back = setClockAhead(-3000);
    const [status, tag, text] = await summarize(await files.conn.get("/rewritten"), "etag");
    assertEquals([status, tag, text], [200, undefined, "abcdefghij"]);
  });

  for (const method of ["GET", "HEAD"] as const) {
    for (const [conditions, status] of CONDITIONS) {
      await t.step(`${method} ${Deno.inspect(conditions)} → ${status}`, async () => {
        const headers = fillIn(conditions, etag);
        // The server closes the connection after a refused range.
        using conn = await files.serving.makeClient().connect();
        const response = await conn.request(method, "/file", headers, null);
        const text = (await response.body?.text()) ?? null;
        // A range has no effect on HEAD.
        const isWhole = method === "HEAD" && (status === 206 || status === 416);
        const expected = isWhole ? 200 : status;
        assertEquals([response.status, response.reason], [expected, REASONS[expected]]);
        const content: Record<number, string> = { 200: "0123456789", 206: "234" };
        assertEquals(text, method === "GET" ? content[status] ?? null : null);
        const validators: HeadersToSend = { etag, "last-modified": TIME };
        if (status === 304) {
          assertEquals({ ...response.headers }, { ...CACHE_HEADERS, ...validators });
        }
        const isNamed = status !== 412 && status !== 416 || isWhole;
        assertEquals(response.headers["etag"], isNamed ? etag : undefined);
      });
    }
  }

  await t.step("a rewritten file gets another tag, whatever its modification time", async () => {
    assertNotEquals(await tagOf(files, "rewritten"), tags.at(-1));
    const stale = { "if-none-match": tags.at(-1)! };
    assertEquals(await summarize(await files.conn.get("/rewritten", stale)), [200, "abcdefghij"]);
  });
});

Deno.test("a file that is rewritten repeatedly is never mistaken for an earlier version", async () => {
  await using files = await serveDirectory();
  let validators: HeadersToSend = {};
  for (let version = 100; version < 200; version++) {
    await files.write("file", `${version}`);
    const response = await files.conn.get("/file", validators);
    assertEquals(await summarize(response), [200, `${version}`]);
    const { etag, "last-modified": modified } = response.headers;
    validators = {
      ...(etag === undefined ? {} : { "if-none-match": etag }),
      ...(modified === undefined ? {} : { "if-modified-since": modified }),
    };
  }
});

Deno.test("a file that was just written has no validator; with an old time it has last-modified, but no tag", async () => {
  await using files = await serveDirectory();
  for (const [conditions, , ofNew, ofOldTime] of CONDITIONS) {
    if (ofNew === undefined) continue;
    await files.write("young", "0123456789");
    await writeOld(files, "old", "0123456789", "1994-11-06T08:49:37.500Z");
    for (const [name, expected] of [["young", ofNew], ["old", ofOldTime]] as const) {
      if (expected === undefined) continue;
      const response = await files.conn.get(`/${name}`, conditions);
      const [gotStatus, tag, modified] = await summarize(response, "etag", "last-modified");
      const expectedModified = name === "old" && gotStatus !== 412 ? TIME : undefined;
      const expectedSummary = [expected, undefined, expectedModified];
      assertEquals([gotStatus, tag, modified], expectedSummary, Deno.inspect(conditions));
    }
  }
});

Deno.test("last-modified is never in the future, and a future time never causes a 304", async () => {
  await using files = await serveDirectory();
  await files.write("file", "");
  await Deno.utime(`${files.path}/file`, new Date(), new Date("2100-01-01"));
  const before = Math.floor(Date.now() / 1000) * 1000;
  const { headers } = await files.conn.head("/file");
  const lastModified = headers["last-modified"] ?? "";
  const modified = Date.parse(`${lastModified}`);
  assert(modified >= before && modified <= Date.now(), `${lastModified}`);
  assertEquals((await files.conn.head("/file", { "if-modified-since": lastModified })).status, 200);
});

Deno.test("the tag includes everything that distinguishes versions, from two seconds after both times", () => {
  const now = 1_000_000_000;
  const oldTime = new Date(now - 5000);
  const stats = { dev: 1, ino: 2, nlink: 1, size: 3, blocks: 8, mtime: oldTime, ctime: oldTime };
  const { etag } = makeValidators(stats, now);
  assert(etag !== null);
  const otherTime = new Date(now - 4999);
  const changes = { dev: 2, ino: 3, size: 4, mtime: otherTime, ctime: otherTime };
  for (const [field, value] of Object.entries(changes)) {
    assertNotEquals(makeValidators({ ...stats, [field]: value }, now).etag, etag, field);
  }
  for (const time of ["mtime", "ctime"] as const) {
    for (const age of [2000, 1999, 1, 0, -1, -3_600_000]) {
      const { etag } = makeValidators({ ...stats, [time]: new Date(now - age) }, now);
      assertEquals(etag !== null, age >= 2000, `${time}, ${age} ms ago`);
    }
  }
  const lastModifiedOf = (time: number) =>
    makeValidators({ ...stats, mtime: new Date(time) }, now).lastModified;
  assertEquals(lastModifiedOf(now - 2000), (now - 2000) / 1000);
  for (const age of [1999, 0]) assertEquals(lastModifiedOf(now - age), null, `${age} ms ago`);
  // A time in the future is reported as the current second, unless it is in that second.
  assertEquals(lastModifiedOf(now + 999), null);
  assertEquals(lastModifiedOf(now + 1000), now / 1000);
  assertEquals(lastModifiedOf(now + 3_600_000), now / 1000);
});

Deno.test("an error with control characters in a path is logged without them", () => {
  const fields = { name: "IoError", code: "EIO", errno: -5 };
  const error = Object.assign(new Error("EIO: open '/a\n\x1b[2J'"), fields);
  const safeError = makeErrorPrintable(error);
  assert(safeError instanceof Error && safeError !== error);
  assertEquals(`${safeError}`, "IoError: EIO: open '/a\\u{a}\\u{1b}[2J'");
  const { code, errno } = safeError as { code?: unknown; errno?: unknown };
  assertEquals([code, errno], ["EIO", -5]);
  assertEquals(safeError.cause, undefined);
  for (const text of [`${safeError.stack}`, Deno.inspect(safeError)]) {
    assert(!text.includes("\x1b") && !text.includes("/a\n"), text);
  }
  for (const value of [new Error("plain"), "text\n", null]) {
    assertEquals(makeErrorPrintable(value), value);
  }
});

// Caches in front of a FilesApp: no old response, and a response of a cache is named.

const WANT = { "want-repr-digest": "sha-256=10" };
const STATE = { "upload-version": "1", "upload-length": "7" };

Deno.test("a cache must ask before it reuses a response, and stores no digest and no state", async () => {
  await using files = await serveFilesApp({ write: true, list: true });
  await fill(files.serverDir, { f: "content", "d/f": "" });
  const rows: readonly [uri: string, headers: HeadersToSend, status: number, directive: string][] =
    [
      ["/f", {}, 200, "no-cache"],
      ["/f", { "if-none-match": "*" }, 304, "no-cache"],
      ["/none", {}, 404, "no-cache"],
      ["/d", {}, 301, "no-cache"],
      ["/", {}, 200, "no-cache"],
      ["/f", WANT, 200, "no-store"],
      ["/f", STATE, 200, "no-store"],
      ["/f", { "upload-complete": "?1" }, 200, "no-store"],
    ];
  for (const [uri, headers, status, directive] of rows) {
    for (const method of ["GET", "HEAD"] as const) {
      const response = await files.client.request(method, uri, headers);
      await response.body?.bytes();
      const { "cache-control": cacheControl, vary } = response.headers;
      const label = `${method} ${uri} ${JSON.stringify(headers)}`;
      assertEquals([response.status, cacheControl], [status, directive], label);
      for (const name of Object.keys(headers)) {
        if (!/^(if-|upload-version)/.test(name)) assert(`${vary}`.includes(name), label);
      }
    }
  }
  const { headers } = await files.client.request("DELETE", "/f");
  assertEquals(headers["cache-control"], undefined);
});

/** Serves a directory behind a cache that sends HEAD as GET. */
function serveBehindConvertingCache() {
  return serveFiles((dir) => {
    const app = new FilesApp(dir, { write: true, list: true });
    return (request, session, api) => {
      const forwarded = request.method === "HEAD"
        ? mkreq("GET", request.uri, request.headers)
        : request;
      return app.handle(forwarded, session, api);
    };
  });
}

Deno.test("uploads and deletions work if a cache sends HEAD as GET", async () => {
  await using files = await serveBehindConvertingCache();
  const { client, clientDir, serverDir } = files;
  const large = "x".repeat(100_000);
  await fill(clientDir, { f: "content", "d/small": "1", "d/large": large });
  await upload(client, `${clientDir}/f`, "/f");
  await upload(client, `${clientDir}/f`, "/f");
  await upload(client, streamOf(new TextEncoder().encode("stream")), "/s");
  await uploadTree(client, `${clientDir}/d`, "/d/");
  const { [".degu-files"]: _, ...tree } = await readTree(serverDir);
  assertEquals(tree, { f: "content", s: "stream", d: null, "d/small": "1", "d/large": large });
  await deleteEntry(client, "/f");
  assertEquals((await readTree(serverDir)).f, undefined);
});

Deno.test("without its package of types, FilesApp serves each file as application/octet-stream, and says so once", async () => {
  const printed = await runProgram("types_without_packages.ts", {
    flags: [
      ...importMapFlags(),
      "--no-npm",
      "--allow-net=127.0.0.1",
      "--allow-read",
      "--allow-write",
    ],
  });
  const answers = printed.trimEnd().split("\n");
  const logLines: string[] = JSON.parse(answers.pop()!);
  assertEquals(answers, Array.from({ length: 3 }, () => "200 application/octet-stream hello"));
  assertEquals(logLines.length, 1, logLines.join("\n"));
  assertStringIncludes(
    logLines[0]!,
    "the package mime can't be loaded, so all files have the type",
  );
});
