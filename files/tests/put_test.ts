/** PUT requests that write files and directories, their preconditions, and syncs to the disk. */
import type { BodyOut, HeadersToSend, Method } from "@degu/degu/base";
import { download, downloadTree, FilesApp, type TreeEvent, uploadTree } from "@degu/degu/files";
import { reply, ResponseError } from "@degu/degu";
import { mkreq, mkSession } from "@degu/degu/misc";
import type { AppObject, Session } from "@degu/degu/server";
import { fileUri } from "@degu/internal/files/wire/file_name.ts";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { createTempDir, fill, listNames, readMode, readTree } from "@degu/testing/directories.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { makePattern } from "./served_directory.ts";
import { serve } from "@degu/testing/serving.ts";
import { listVisible, serveFiles } from "@degu/testing/transferring.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import {
  digestOf,
  makeChunkedBody,
  makeUploadHeaders,
  readStatus,
  serveWritableDirectory,
} from "./written_directory.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Client } from "@degu/degu/client";
import { BackgroundSync } from "@degu/internal/files/disk/files.ts";
import {
  replacePrivateFile,
  writePrivateFile,
} from "@degu/internal/device/identity/private_files.ts";
import { makeBundle } from "./bundles.ts";
import { patch } from "@degu/testing/patching.ts";
import { assertSynced, recordSyncedPaths } from "@degu/testing/synced.ts";
import { dirname } from "@std/path";
import { open } from "node:fs/promises";

const linux = Deno.build.os === "linux";
/** The mode of a new file, which depends on the umask of this process. */
const DEFAULT_FILE_MODE = await readDefaultFileMode();

async function readDefaultFileMode(): Promise<number> {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/file`, "");
  return await readMode(`${dir.path}/file`);
}

Deno.test("PUT responds with 201 to a new file, with 204 to a replaced one, and repeats the digest", async () => {
  await using files = await serveWritableDirectory();
  const body = encodeLatin1("hello");
  const digest = digestOf(body);
  const sendPut = async (headers: HeadersToSend) => {
    const response = await files.request("PUT", "/a", headers, body);
    await response.body?.bytes();
    return [response.status, response.reason, response.headers["repr-digest"]];
  };
  assertEquals(await sendPut({}), [201, "Created", undefined]);
  assertEquals(await sendPut({}), [204, "No Content", undefined]);
  assertEquals(await sendPut({ "repr-digest": digest }), [204, "No Content", digest]);
  await Deno.remove(`${files.root}/a`);
  const twoDigests = `sha-512=:AAAA:, ${digest}`;
  assertEquals(await sendPut({ "repr-digest": twoDigests }), [201, "Created", digest]);
  assertEquals(await sendPut({ "repr-digest": "sha-512=:AAAA:" }), [204, "No Content", undefined]);
});

Deno.test("the response to a PUT of content has no validator", async () => {
  await using files = await serveWritableDirectory();
  using _clock = setClockAhead();
  for (const headers of [{}, {}, { "if-match": "*" }]) {
    const response = await files.request("PUT", "/a", headers, encodeLatin1("hello"));
    assertEquals([response.ok, { ...response.headers }], [true, {}]);
  }
  const { headers } = await files.request("HEAD", "/a");
  assertEquals(["etag" in headers, "last-modified" in headers], [true, true]);
});

Deno.test("a new file gets the default mode, and a replaced file keeps its mode without special bits", async () => {
  await using files = await serveWritableDirectory();
  await files.put("/new", encodeLatin1("x"));
  assertEquals(await readMode(`${files.root}/new`), DEFAULT_FILE_MODE);
  for (const oldMode of [0o600, 0o755, 0o444, 0o4755]) {
    await Deno.chmod(`${files.root}/file`, oldMode);
    assertEquals(await files.put("/file", encodeLatin1("x")), 204);
    assertEquals(await readMode(`${files.root}/file`), oldMode & 0o777);
  }
  assertEquals(await readMode(`${files.root}/${RESERVED_DIRECTORY_NAME}`), 0o700);
});

Deno.test("PUT rejects a file above maxBytes with 413", async () => {
  await using files = await serveWritableDirectory({ maxBytes: 1000 });
  assertEquals(await files.put("/a", makePattern(1000)), 201);
  assertEquals(await files.put("/b", makePattern(1001)), 413);
  assertEquals(await files.put("/c", makeChunkedBody(makePattern(1000))), 201);
  assertEquals(await files.put("/d", makeChunkedBody(makePattern(1001))), 413);
  assertEquals(await files.put("/e", makeChunkedBody(makePattern(600), makePattern(401))), 413);
  assertEquals(await files.listUnfinished(), []);
  await using onlyEmptyFiles = await serveWritableDirectory({ maxBytes: 0 });
  assertEquals(await onlyEmptyFiles.put("/empty", makeChunkedBody()), 201);
  assertEquals(await onlyEmptyFiles.put("/a", makePattern(0)), 201);
  assertEquals(await onlyEmptyFiles.put("/b", makePattern(1)), 413);
});

Deno.test("a PUT that FilesApp refuses is not asked for its body, and an accepted one is", async () => {
  await using dir = await createTempDir();
  await Deno.mkdir(`${dir.path}/sub`);
  await Deno.writeTextFile(`${dir.path}/old`, "old");
  const apps = {
    readOnly: new FilesApp(dir.path),
    writable: new FilesApp(dir.path, { write: true }),
    small: new FilesApp(dir.path, { write: true, maxBytes: 4 }),
  };
  await using serving = serve((request, session, api) =>
    apps[request.shiftPath() as keyof typeof apps].handle(request, session, api)
  );
  const rows: [uri: string, status: number, headers?: string][] = [
    ["/readOnly/new", 405],
    ["/small/new", 413],
    ["/writable/sub", 409],
    ["/writable/old/below", 409],
    ["/writable/old", 412, "if-none-match: *\r\n"],
    ["/writable/new", 400, "upload-complete: ?2\r\n"],
    // A stream of fewer bytes than its digest has.
    ["/writable/new", 400, "upload-complete: ?1\r\n"],
    [`/writable/${RESERVED_DIRECTORY_NAME}/x`, 403],
  ];
  const headers = "expect: 100-continue\r\ncontent-length: 5\r\n";
  for (const [uri, status, header = ""] of rows) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`PUT ${uri} HTTP/1.1\r\n${headers}${header}\r\n`);
    const { received } = await peer.readToEnd();
    assert(received.startsWith(`HTTP/1.1 ${status} `), `${uri}: ${received}`);
    assertEquals(received.includes("100 Continue"), false);
  }
  using peer = await RawPeer.connect(serving.address);
  await peer.send(`PUT /writable/new HTTP/1.1\r\n${headers}\r\n`);
  assertEquals(await peer.readPreamble(), "HTTP/1.1 100 Continue\r\n\r\n");
  await peer.send("hello");
  assertStringIncludes(await peer.readPreamble(), "HTTP/1.1 201 Created\r\n");
  assertEquals(await Deno.readTextFile(`${dir.path}/new`), "hello");
});

Deno.test("a truncated body creates no file and leaves no unfinished file", async () => {
  await using files = await serveWritableDirectory();
  for (const uri of ["/file", "/new", "/deep/new"]) {
    for (const sentBytes of ["", "12345"]) {
      {
        using peer = await RawPeer.connect(files.serving.address);
        await peer.send(`PUT ${uri} HTTP/1.1\r\ncontent-length: 10\r\n\r\n${sentBytes}`);
        while ((await files.listUnfinished()).length === 0);
      }
      while ((await files.listUnfinished()).length > 0);
    }
  }
  assertEquals(await files.read("file"), "public");
  assertEquals(await listVisible(files.root), ["file", "sub"]);
});

Deno.test({
  name: "GET returns either the old or the new content while PUT replaces a file",
  ignore: !linux,
  async fn() {
    await using files = await serveWritableDirectory();
    const contents = [1, 2, 3].map((value) => new Uint8Array(400_000).fill(value));
    await files.put("/a", contents[0]!);
    let hasEnded = false;
    const replaceRepeatedly = async () => {
      for (let i = 1; i < 15; i++) await files.put("/a", contents[i % 3]!);
      hasEnded = true;
    };
    const readRepeatedly = async () => {
      while (!hasEnded) {
        // One connection per GET, because the number of requests of a connection is limited.
        const { status, body } = await files.request("GET", "/a");
        assertEquals(status, 200);
        const bytes = await body!.bytes();
        assertEquals(bytes.length, 400_000);
        assertEquals(bytes.indexOf(bytes[0]! % 3 + 1), -1, "bytes of two versions");
      }
    };
    await Promise.all([replaceRepeatedly(), readRepeatedly()]);
    assertEquals(files.serving.logger.messagesOf("error"), []);
  },
});

Deno.test("PUT replaces a file only if the preconditions match its current version", async () => {
  await using files = await serveWritableDirectory();
  using _clock = setClockAhead();
  const etag = String((await files.request("HEAD", "/file")).headers.etag);
  const otherEtag = '"1-2-3-4-5"';
  const [past, future] = [0, Date.now() + 9e6].map((time) => new Date(time).toUTCString());
  const cases: [uri: string, headers: HeadersToSend, status: number][] = [
    ["/new", { "if-match": "*" }, 412],
    ["/file", { "if-match": otherEtag }, 412],
    ["/sub/file", { "if-match": etag }, 412],
    ["/file", { "if-none-match": etag }, 412],
    ["/file", { "if-match": etag }, 204],
    ["/file", { "if-match": etag }, 412],
    ["/file", { "if-none-match": "*" }, 412],
    ["/file", { "if-none-match": otherEtag }, 204],
    ["/file", { "if-unmodified-since": past! }, 412],
    ["/file", { "if-unmodified-since": future! }, 204],
    ["/new", { "if-none-match": "*" }, 201],
    ["/new", { "if-none-match": "*" }, 412],
    ["/newest", { "if-unmodified-since": past! }, 201],
  ];
  for (const [i, [uri, headers, status]] of cases.entries()) {
    const name = uri.slice(1);
    const oldContent = await files.read(name).catch(() => null);
    const description = Deno.inspect([uri, headers]);
    assertEquals(await files.put(uri, encodeLatin1(`${i}`), headers), status, description);
    const content = await files.read(name).catch(() => null);
    assertEquals(content, status === 412 ? oldContent : `${i}`, description);
  }
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("PUT detects a precondition that becomes false while the body arrives", async () => {
  const conditions: [name: string, HeadersToSend, finalContent: string][] = [
    ["new", { "if-none-match": "*" }, "of somebody else"],
    ["file", { "if-match": "*" }, "gone"],
  ];
  for (const [name, condition, finalContent] of conditions) {
    for (const uploadHeaders of [{}, makeUploadHeaders(encodeLatin1("1234567890"), 0)]) {
      await using files = await serveWritableDirectory();
      const path = `${files.root}/${name}`;
      const body = files.makeBodyWithAction(async () => {
        if (finalContent === "gone") await Deno.remove(path);
        else await Deno.writeTextFile(path, finalContent);
      });
      assertEquals(await files.put(`/${name}`, body, { ...uploadHeaders, ...condition }), 412);
      assertEquals(await Deno.readTextFile(path).catch(() => "gone"), finalContent);
      assertEquals(await files.listUnfinished(), []);
    }
  }
});

// PUT of directories: paths that end with a slash.

const EMPTY = new Uint8Array(0);

Deno.test("PUT creates a directory and its parents with 201, and answers 204 if it exists", async () => {
  await using files = await serveWritableDirectory();
  const uri = fileUri("new", "Ö", "a b", "");
  assertEquals(await files.put(uri, null), 201);
  assertEquals(await listNames(`${files.root}/new/Ö/a b`), []);
  assertEquals(await files.put(uri, EMPTY), 204);
  assertEquals(await files.put(fileUri("new", ""), null), 204);
  assertEquals(await files.put(uri, null, { "if-none-match": "*" }), 412);
  assertEquals(await files.put(fileUri("other", ""), null, { "if-match": "*" }), 412);
  assertEquals((await listNames(files.root)).includes("other"), false);
});

Deno.test("PUT creates a directory only with an empty body", async () => {
  await using files = await serveWritableDirectory();
  for (const uri of ["/new/", "/file/", "/sub/"]) {
    assertEquals(await files.put(uri, encodeLatin1("x")), 409, uri);
  }
  assertEquals(await files.put("/new/", makeChunkedBody()), 409);
  assertEquals((await listNames(files.root)).includes("new"), false);
});

// Headers and sessions that FilesApp refuses.

const CONTENT = encodeLatin1("new");

/** Headers whose values are malformed or don't match the body. */
const INVALID_HEADERS: Record<string, readonly string[]> = {
  "repr-digest": [digestOf(encodeLatin1("other")), "sha-256=:AAAA:", "x"],
  "upload-modified": ["yesterday", "+010000-01-01T00:00:00.000Z", "-000001-12-31T23:59:59.999Z"],
  "upload-complete": ["?1", "?0;a", "0", "?0"],
};

Deno.test("PUT rejects a malformed or wrong header, and changes no file", async () => {
  await using files = await serveWritableDirectory();
  for (const [name, values] of Object.entries(INVALID_HEADERS)) {
    for (const value of values) {
      for (const uri of ["/file", "/new", "/sub/deep/new"]) {
        const status = await files.put(uri, CONTENT, { [name]: value });
        assertEquals(status, 400, `${uri}: ${name}: ${value}`);
      }
    }
  }
  assertEquals(await files.read("file"), "public");
  assertEquals(await listNames(`${files.root}/sub`), ["file"]);
  assertEquals(await listVisible(files.root), ["file", "sub"]);
  assertEquals(await files.listUnfinished(), []);
});

Deno.test("only a session that is trusted or anonymous may change files, also a session that a middleware has made", async () => {
  await using dir = await createTempDir();
  const app = new FilesApp(dir.path, { write: true });
  const fail = (error: Error) => () => Promise.reject(error);
  const rows: readonly (readonly [isTrusted: () => unknown, status: number])[] = [
    [() => Promise.resolve(true), 201],
    [() => true, 204],
    ...["trusted", false, undefined, null, 1, "true", {}].map((value) =>
      [() => Promise.resolve(value), 403] as const
    ),
    [() => undefined, 403],
    [fail(new Error("EIO")), 403],
    [fail(new ResponseError(reply(403))), 403],
    [fail(new ResponseError(reply(503))), 503],
  ];
  const put = async (session: unknown) =>
    (await app.handle(mkreq("PUT", "/a", {}, "x"), session as Session))[0];
  for (const [isTrusted, expected] of rows) {
    const session = mkSession({ user: "anna", isTrusted: isTrusted as () => boolean });
    assertEquals(await put(session), expected, `${isTrusted}`);
  }
  assertEquals(await put(mkSession()), 204);
  const signal = AbortSignal.any([]);
  for (const user of [undefined, "anna"]) assertEquals(await put({ user, signal }), 403);
});

Deno.test("no name that a peer chooses forges a log line", async () => {
  await using files = await serveWritableDirectory();
  const name = "a\nWARNING \u202eb\x1b[2J";
  assertEquals(await files.put(fileUri(name, "b"), encodeLatin1("x")), 201);
  assertEquals(await files.put(fileUri(name), encodeLatin1("x")), 409);
  const [warning = ""] = files.warnings;
  assert(warning.endsWith(`/a\\u{a}WARNING \\u{202e}b\\u{1b}[2J is a directory`), warning);
});

Deno.test("a FilesApp refuses all changes by a session that is no longer trusted", async () => {
  await using dir = await createTempDir();
  let trusts: unknown = true;
  const files = new FilesApp(dir.path, { write: true });
  const isTrusted = () => trusts as boolean;
  const app: AppObject = {
    onConnect: () => ({ user: "anna", isTrusted }),
    handle: (request, session) => files.handle(request, session),
  };
  await using serving = serve(app);
  const client = serving.makeClient();
  const put = async (text: string) => {
    using conn = await client.connect();
    // The peer is still trusted when the session begins.
    await (await conn.get("/")).discard();
    trusts = response;
    const { status } = await conn.put("/a", {}, text);
    trusts = true;
    return status;
  };
  let response: unknown = true;
  assertEquals(await put("1"), 201);
  for (response of [false, undefined, 1, "true"]) assertEquals(await put("2"), 403);
  assertEquals(await Deno.readTextFile(`${dir.path}/a`), "1");
});

/** The error of a disk that refuses a rename between two directories. */
const makeRenameError = () => Object.assign(new Error("refused (os error 18)"), { code: "EXDEV" });

Deno.test("a peer that is no longer trusted after the copy on a disk that refuses the rename changes nothing", async () => {
  await using dir = await createTempDir();
  const app = new FilesApp(dir.path, { write: true });
  let isTrusted = true;
  using _patch = patch(Deno, "renameSync", () => () => {
    isTrusted = false;
    throw makeRenameError();
  });
  const session = mkSession({ user: "anna", isTrusted: () => isTrusted });
  const [status] = await app.handle(mkreq("PUT", "/sub/a", {}, "x"), session);
  assertEquals([status, isTrusted], [403, false]);
  assertEquals(await listVisible(dir.path), []);
});

// Data survives a power failure: files and their directories are synced to the disk before the
// response.

const SENT = makeBundle([["a/b/small", "1"], ["sub/small", "2"], ["empty/dir", null]]);
const RESUMED = makeUploadHeaders(encodeLatin1("12345"), 0);

/** Requests, and the paths that must be synced for each; `.` is the served directory. */
const ROWS: readonly [Method, uri: string, HeadersToSend, BodyOut, synced: readonly string[]][] = [
  ["PUT", "/new", {}, encodeLatin1("1"), [".", "./new"]],
  ["PUT", "/file", {}, encodeLatin1("1"), [".", "./file"]],
  ["PUT", "/x/y/new", {}, encodeLatin1("1"), [".", "./x", "./x/y", "./x/y/new"]],
  ["PUT", "/x/new", RESUMED, encodeLatin1("12345"), [".", "./x", "./x/new"]],
  ["PUT", "/sub/new", { "if-none-match": "*" }, encodeLatin1("1"), ["./sub", "./sub/new"]],
  ["PUT", "/x/y/", {}, null, [".", "./x", "./x/y"]],
  ["DELETE", "/sub/file", {}, null, ["./sub"]],
  ["DELETE", "/empty", {}, null, ["."]],
  ["POST", "/?bundle=put", {}, SENT, [
    ...[".", "./a", "./a/b", "./a/b/small"],
    ...["./empty", "./empty/dir", "./sub", "./sub/small"],
  ]],
];

for (const [method, uri, headers, body, synced] of ROWS) {
  Deno.test(`synced before the response: ${method} ${uri}${headers === RESUMED ? ", resumed" : ""}`, async () => {
    await using files = await serveWritableDirectory();
    await Deno.mkdir(`${files.root}/empty`);
    const syncedPaths = await recordSyncedPaths(files.root, async () => {
      const status = await readStatus(await files.request(method, uri, headers, body));
      assert(status < 300, `${status}`);
    });
    assertSynced(files.root, syncedPaths, synced);
  });
}

Deno.test("synced before the response: an upload of an identical file", async () => {
  await using files = await serveWritableDirectory();
  await files.put("/sub/new", encodeLatin1("12345"), RESUMED);
  const syncedPaths = await recordSyncedPaths(files.root, async () => {
    const headers = makeUploadHeaders(encodeLatin1("12345"), 5);
    assertEquals(await readStatus(await files.request("PUT", "/sub/new", headers)), 204);
  });
  assertSynced(files.root, syncedPaths, [".", "./sub"]);
});

/** Refuses each rename between two directories, except that to the parent directory. */
function refuseRenames(onRefusal: (path: string) => void): Disposable {
  return patch(Deno, "renameSync", (renameSync) => (from, to) => {
    if (dirname(dirname(`${from}`)) === dirname(`${to}`)) return renameSync(from, to);
    onRefusal(`${from}`);
    throw makeRenameError();
  });
}

/** A change of the unfinished file, the headers of the request, and the status of the response. */
const COPIED: readonly [change: string, headers: HeadersToSend, status: number][] = [
  ["none", RESUMED, 201],
  ["none", {}, 201],
  ["other bytes", RESUMED, 409],
  ["a bad sector", RESUMED, 500],
];

Deno.test("synced before the response: a copy on a disk that refuses the rename, unless the file has changed", async () => {
  for (const [change, headers, status] of COPIED) {
    await using files = await serveWritableDirectory();
    await using handle = await open(files.root);
    const prototype = Object.getPrototypeOf(handle);
    using cleanup = new DisposableStack();
    let refusals = 0;
    using _patch = refuseRenames((path) => {
      refusals++;
      if (change === "other bytes") Deno.writeTextFileSync(path, "54321");
      const failing = () => () => Promise.reject(Object.assign(new Error("EIO"), { code: "EIO" }));
      if (change === "a bad sector") cleanup.use(patch(prototype, "read", failing));
    });
    const syncedPaths = await recordSyncedPaths(files.root, async () => {
      const response = await files.request("PUT", "/x/new", headers, encodeLatin1("12345"));
      assertEquals(await readStatus(response), status);
    });
    assertEquals((await readTree(files.root))["x/new"], status === 201 ? "12345" : undefined);
    if (status !== 201) continue;
    assertSynced(files.root, syncedPaths, [".", "./x", "./x/new"]);
    assertEquals(await readMode(`${files.root}/x/new`), DEFAULT_FILE_MODE);
    // Later files of the directory are written beside their targets.
    assertEquals(await files.put("/x/other", encodeLatin1("12345")), 201);
    assertEquals(refusals, 1);
    const full = Object.assign(new Error("full"), { code: "ENOSPC" });
    using _full = patch(Deno.FsFile.prototype, "write", () => () => Promise.reject(full));
    const refused = await files.request("PUT", "/x/a", {}, CONTENT);
    assertEquals([refused.status, refused.headers["refusal-reason"]], [507, undefined]);
  }
});

Deno.test("a served directory that vanishes while a body arrives is reported as missing", async () => {
  await using files = await serveWritableDirectory();
  const remove = () => Deno.remove(files.root, { recursive: true });
  const response = await files.request("PUT", "/new", {}, files.makeBodyWithAction(remove));
  assertEquals([response.status, response.headers["refusal-reason"]], [503, "root-gone"]);
});

Deno.test("a resumable file with its final name is complete, even if its directory can't be synced", async () => {
  await using files = await serveWritableDirectory();
  await using handle = await open(files.root);
  const error = Object.assign(new Error("a bad sector"), { code: "EIO" });
  using _failing = patch(Object.getPrototypeOf(handle), "sync", () => () => Promise.reject(error));
  assertEquals(await files.put("/new", encodeLatin1("12345"), RESUMED), 500);
  assertEquals(await files.read("new"), "12345");
});

Deno.test("a deleted file is reported as deleted, even if too many files are open to sync its directory", async () => {
  await using files = await serveWritableDirectory();
  await using handle = await open(files.root);
  const error = Object.assign(new Error("full"), { code: "EMFILE" });
  using _full = patch(Object.getPrototypeOf(handle), "sync", () => () => Promise.reject(error));
  assertEquals((await files.request("DELETE", "/file")).status, 204);
});

const LARGE = "l".repeat(70_000);

/**
 * Operations on a local directory with a server of another one, and the paths that must be synced.
 */
const OPERATIONS: Readonly<
  Record<string, [(here: string, from: Client, there: string) => Promise<unknown>, string[]]>
> = {
  "a private file": [(localDir) => writePrivateFile(`${localDir}/key`, "x"), ["./key"]],
  "a private file that is replaced": [
    (localDir) => replacePrivateFile(`${localDir}/key`, "x", `${localDir}/new`),
    ["./key"],
  ],
  "a file, after many of its bytes were written": [async (localDir) => {
    await Deno.writeTextFile(`${localDir}/file`, "x");
    const sync = new BackgroundSync(`${localDir}/file`, 0);
    await sync.add(100_000_000);
    await sync.waitUntilIdle();
  }, ["./file"]],
  "a download": [async (localDir, client, remoteDir) => {
    await Deno.writeTextFile(`${remoteDir}/x`, "x");
    await download(client, "/x", `${localDir}/x`);
  }, [".", "./x"]],
  "small files of a tree": tree({ "a/b/x": "x", y: "y" }, {}, [
    ".",
    "./a",
    "./a/b",
    "./a/b/x",
    "./y",
  ]),
  "a small file in an existing directory": tree({ "a/x": "x" }, { a: null }, ["./a", "./a/x"]),
  "a large file of a tree": tree({ "a/b": LARGE }, {}, [".", "./a", "./a/b"]),
  "a large file in an existing directory": tree({ "a/b": LARGE }, { a: null }, ["./a", "./a/b"]),
  "a large file whose directory was removed during the call": [
    async (localDir, client, remoteDir) => {
      await fill(`${remoteDir}/tree`, { "0": LARGE, "a/c/b": LARGE });
      await fill(localDir, { "a/c": null });
      const onEvent = (event: TreeEvent) => {
        if (event.type === "copied" && event.path[0] === "0") Deno.removeSync(`${localDir}/a/c`);
      };
      await downloadTree(client, "/tree/", localDir, { connections: 1, onEvent });
    },
    [".", "./0", "./a", "./a/c", "./a/c/b"],
  ],
  "files that a move has removed": [async (localDir, client) => {
    await fill(localDir, { "a/b": "x", "c/d": LARGE, "e/f": null });
    using _later = setClockAhead(10_000);
    await uploadTree(client, localDir, ["moved", ""], { move: true });
  }, ["./a", "./c"]],
  "directories of a tree": tree({ "a/b": null }, {}, [".", "./a", "./a/b"]),
  "deletions": tree({ "a/x": "x" }, { "a/x": "x", "a/y": "y" }, ["./a"]),
};

/** Copies a tree, and deletes superfluous entries of the target. */
function tree(
  source: Readonly<Record<string, string | null>>,
  target: Readonly<Record<string, string | null>>,
  synced: string[],
): (typeof OPERATIONS)[string] {
  return [async (localDir, client, remoteDir) => {
    await fill(`${remoteDir}/tree`, source);
    await fill(localDir, target);
    await downloadTree(client, "/tree/", localDir, { delete: true, compare: "digest" });
  }, synced];
}

for (const [label, [work, synced]] of Object.entries(OPERATIONS)) {
  Deno.test(`synced before a call returns: ${label}`, async () => {
    await using files = await serveFiles((dir) => new FilesApp(dir, { list: true, write: true }));
    const { clientDir, serverDir, client } = files;
    const syncedPaths = await recordSyncedPaths(
      clientDir,
      () => work(clientDir, client, serverDir),
    );
    assertSynced(clientDir, syncedPaths, synced);
  });
}
