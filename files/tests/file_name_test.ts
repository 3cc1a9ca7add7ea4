/** Names and paths: their escaping, depth, reserved names, and hostile names of a peer. */
import { Client, ConnectionPool, Server } from "@degu/degu";
import {
  download,
  downloadTree,
  FilesApp,
  fileUri,
  isReservedName,
  listDirectory,
  listTree,
  remoteDigest,
  TransferError,
  type TreeEntry,
  type TreeEvent,
} from "@degu/degu/files";
import { parseUri } from "../../tests/base/messages.ts";
import { TimeSlice } from "@degu/internal/files/disk/files.ts";
import { parseFilePath } from "@degu/internal/files/wire/file_name.ts";
import { readTree as readEntries } from "@degu/internal/files/listing.ts";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { Root } from "@degu/internal/files/root.ts";
import { UnfinishedUploads } from "@degu/internal/files/serve/unfinished_uploads.ts";
import { createTempDir, listNames, readMode, readTree } from "@degu/testing/directories.ts";
import { assertRangeError, catchMessage, catchRejection } from "@degu/testing/expectations.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  canMount,
  checkStatuses,
  type ExpectedRequest,
  IN_MOUNT_NAMESPACE,
  requestResponses,
} from "./refused_writes.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { type BodyOut, parseAddress } from "@degu/degu/base";
import { isDeviceName } from "@degu/degu/device";
import {
  BUNDLE_TYPE,
  formatPaths,
  GET_RESPONSE,
  parsePaths,
} from "@degu/internal/files/wire/bundle.ts";
import { windowsDeletions } from "@degu/internal/files/disk/names.ts";
import { makeBundle, readPutStatuses, readRecords, type SentRecord } from "./bundles.ts";
import { HOSTILE_NAMES } from "./hostile_names.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeTree } from "./served_directory.ts";
import { makeUploadHeaders, readStatus, serveWritableDirectory } from "./written_directory.ts";
import { listText } from "./directory_entries.ts";
import { findNameProblem } from "@degu/internal/files/disk/file_names.ts";

// File names as components of a path.

const NAMES: Record<string, string> = {
  "a": "a",
  "a b.txt": "a%20b.txt",
  "A-z_0.9+": "A-z_0.9+",
  "...": "...",
  ".hidden": ".hidden",
  "~": "~",
  "a:b": "a:b",
  "100%": "100%25",
  "%41": "%2541",
  "a;b": "a%3Bb",
  "a?b#c": "a%3Fb%23c",
  "back\\slash": "back%5Cslash",
  "new\nline": "new%0Aline",
  "Öl": "%C3%96l",
  "O\u0308l": "O%CC%88l",
  "日本語": "%E6%97%A5%E6%9C%AC%E8%AA%9E",
  "😀": "%F0%9F%98%80",
  "\ufeffbom": "%EF%BB%BFbom",
  "\ufffd": "%EF%BF%BD",
  "\u202egnp.exe": "%E2%80%AEgnp.exe",
  "constructor": "constructor",
  "__proto__": "__proto__",
  ["n".repeat(255)]: "n".repeat(255),
  ["é".repeat(127)]: "%C3%A9".repeat(127),
  ["€".repeat(85)]: "%E2%82%AC".repeat(85),
};

/** Reports whether a server on this system refuses a name that other systems have. */
const isRefusedHere = (name: string) => Deno.build.os === "windows" && name.includes("\\");

Deno.test("a name is a percent-encoded component of a URI, and decoded again", () => {
  for (const [name, component] of Object.entries(NAMES)) {
    assertEquals(fileUri("dir", name), `/dir/${component}`);
    if (isRefusedHere(name)) continue;
    assertEquals(parseUri(fileUri(name, "")).path, [name, ""]);
    assertEquals(parseFilePath(fileUri("dir", name)), ["dir", name]);
  }
});

/** Texts that aren't valid file names. */
const BAD_NAMES = [
  ...["", ".", "..", "/", "a/b", "\0", "a\0", "\ud800", "a\udc00b", "\udc00\ud800"],
  ...["n".repeat(256), "é".repeat(128), "€".repeat(86)],
  ...[".;", "..;", ".;a", "..;a"],
];

Deno.test("an invalid file name is refused", () => {
  for (const name of BAD_NAMES) {
    assertRangeError(() => fileUri("a", name, "b"), Deno.inspect(name));
    if (name !== "") assertRangeError(() => fileUri(name), Deno.inspect(name));
  }
  for (const invalid of [undefined, null, 5, ["a"], new String("a")]) {
    assertThrows(() => fileUri(invalid as never), TypeError, ": must be a string; got ");
  }
});

Deno.test("a text that is not the path of a file is refused", () => {
  const components = [
    ...["", ".", "..", "%2E", "%2E%2E", ".%2E", "%61", "%2D", "%2F", "%00", "a%2Fb", "..;", ".%3B"],
    ...["%", "%2", "a%", "%G0", "% 2", "%+2", "%0x", "a b", "a?b", "a#b", "a//b", "/", "a/"],
    ...["%C3", "%C3%28", "%80", "%C0%AF", "%E0%80%AF", "%ED%A0%80", "%F4%90%80%80", "%FF"],
    ...["é", "\ud800", "\n", "a\n", "%0A\n"],
    ...["n".repeat(256), "%C3%A9".repeat(128), "a/".repeat(256) + "a"],
  ];
  for (const component of components) {
    assertEquals(parseFilePath(`/${component}`), null, Deno.inspect(component));
  }
  for (const text of ["", "a", "a/b"]) assertEquals(parseFilePath(text), null, text);
});

Deno.test("a URI has each name as a component, and a trailing slash for a directory", () => {
  assertEquals(fileUri(), "/");
  assertEquals(fileUri(""), "/");
  assertEquals(fileUri("a"), "/a");
  assertEquals(fileUri("a", ""), "/a/");
  assertEquals(fileUri("my photos", "é.jpg"), "/my%20photos/%C3%A9.jpg");
  assertRangeError(() => fileUri("", "a"), "an empty name");
  assertRangeError(() => fileUri("a", "", ""), "two of them");
});

// Access to the reserved directory.

const mayMount = await canMount();

Deno.test("the reserved directory is created once, and is private", async () => {
  await using dir = await createTempDir();
  for (let time = 0; time < 2; time++) {
    new UnfinishedUploads(dir.path).makeDirectory();
    assertEquals(await listNames(dir.path), [RESERVED_DIRECTORY_NAME]);
    assertEquals(await readMode(`${dir.path}/${RESERVED_DIRECTORY_NAME}`), 0o700);
    await Deno.chmod(`${dir.path}/${RESERVED_DIRECTORY_NAME}`, 0o755);
  }
});

Deno.test({
  name: "peers can't reach the reserved directory by another name (needs unshare)",
  ignore: !mayMount,
  async fn() {
    await using dir = await createTempDir();
    // Names that are aliases on a file system that ignores case or has short names; also where
    // another app serves a subdirectory.
    for (const parent of ["", "sub/"]) {
      await Deno.mkdir(`${dir.path}/${parent}${RESERVED_DIRECTORY_NAME}`, {
        recursive: true,
        mode: 0o700,
      });
      await Deno.mkdir(`${dir.path}/${parent}alias`);
      await Deno.writeTextFile(`${dir.path}/${parent}${RESERVED_DIRECTORY_NAME}/part`, "text");
    }
    const bind = (name: string, alias: string) => `mount --bind "$0/${name}" "$0/${alias}"`;
    const binds = ["", "sub/"].map((parent) =>
      bind(parent + RESERVED_DIRECTORY_NAME, `${parent}alias`)
    );
    const mount = `${binds.join(" && ")} && exec "$@"`;
    const through = [...IN_MOUNT_NAMESPACE, mount, dir.path];
    const [[status, list] = []] = await requestResponses(dir.path, through, [["GET", "/?tree"]]);
    const entries: { path?: string[] }[] = JSON.parse(new TextDecoder().decode(list));
    assertEquals([status, entries.filter(({ path }) => path?.includes("alias"))], [200, []]);
    await checkStatuses(dir.path, through, [
      ["GET", "/alias", 0, null, 404],
      ["PUT", "/alias/new", 5, 0, 403],
      ["DELETE", "/alias", 0, null, 403],
      ...["", "/sub"].flatMap((parent): ExpectedRequest[] => [
        ["GET", `${parent}/alias/part`, 0, null, 404],
        ["GET", `${parent}/alias/`, 0, null, 404],
        ["GET", `${parent}/alias/no/part`, 0, null, 404],
        ["PUT", `${parent}/alias/part`, 5, null, 403],
        ["PUT", `${parent}/alias/new/`, 0, null, 403],
        ["PUT", `${parent}/alias/new/part`, 5, null, 403],
        ["DELETE", `${parent}/alias/part`, 0, null, 403],
      ]),
    ]);
    for (const parent of ["", "sub/"]) {
      assertEquals(await listNames(`${dir.path}/${parent}${RESERVED_DIRECTORY_NAME}`), ["part"]);
    }
  },
});

// The depth of trees is limited, because the time to check a path grows faster than its length.

const MAX_DEPTH = 256;

/** Returns the entries of a tree whose paths are too long to be requested. */
async function tooDeep(entries: AsyncIterable<TreeEntry>): Promise<unknown[]> {
  const deep = await Array.fromAsync(entries);
  return deep.filter(({ path }) => path.length > MAX_DEPTH)
    .map(({ path, kind, reason }) => [path.length, kind, reason]);
}

Deno.test("a path has at most 256 names; deeper entries are listed as not requestable, and refused", async () => {
  await using dir = await createTempDir();
  const names = Array.from({ length: MAX_DEPTH }, (_, i) => `d${i % 10}`);
  const deepestNames = names.slice(0, MAX_DEPTH - 1);
  await Deno.mkdir(`${dir.path}/${names.join("/")}`, { recursive: true });
  for (const path of [deepestNames, names]) {
    await Deno.writeTextFile(`${dir.path}/${path.join("/")}/file`, "text");
  }
  const app = new FilesApp(dir.path, { list: true, write: true });
  const options = { maxRequests: Infinity, logger: new RecordingLogger() };
  await using server = new Server(["127.0.0.1", 0], app, options);
  server.serveForever();
  const client = new Client(server.address);
  const status = async (method: "GET" | "PUT", ...path: string[]) => {
    const body = method === "PUT" ? new Uint8Array(1) : null;
    const response = await client.request(method, fileUri(...path), {}, body);
    // Otherwise, the connection stays open until it is garbage-collected.
    await response.body?.bytes();
    return response.status;
  };
  assertEquals(await status("GET", ...deepestNames, "file"), 200);
  assertEquals(await status("GET", ...names, "file"), 404);
  assertEquals(await status("PUT", ...deepestNames, "new"), 201);
  assertEquals(await status("PUT", ...names, "new"), 404);
  const expected = [[MAX_DEPTH + 1, "other", "name"]];
  assertEquals(await tooDeep(listTree(client, "/")), expected);
  const walk = {
    root: new Root(dir.path),
    path: dir.path,
    timeSlice: new TimeSlice(),
    isLocal: true,
  };
  const local = async function* () {
    for await (const { names, entries } of readEntries(walk)) {
      yield* entries.map((entry) => ({ ...entry, path: [...names, entry.name] }));
    }
  };
  assertEquals(await tooDeep(local()), expected);
});

const RESERVED = [".degu-files", ".DEGU-files", ".a.degu-part", ".a b.Degu-Part", ".degu-files ."];
const FREE = [
  "a",
  ".a",
  "degu-files",
  ".degu-files2",
  "a.degu-part",
  ".degu-part",
  "degu-part",
  ".a.degu-part.txt",
];

Deno.test("isReservedName is true exactly for the names that FilesApp neither serves nor lists", async () => {
  await using dir = await createTempDir();
  for (const name of [...RESERVED, ...FREE]) await Deno.writeTextFile(`${dir.path}/${name}`, name);
  await using serving = serve(new FilesApp(dir.path, { list: true }));
  const client = serving.makeClient();
  for (const name of [...RESERVED, ...FREE]) {
    const response = await client.get(fileUri(name));
    await response.discard();
    assertEquals(isReservedName(name), response.status === 404, name);
  }
  const entries = [];
  for await (const { name } of listDirectory(client, [])) entries.push(name);
  assertEquals(entries.toSorted(), FREE.toSorted());
});

// Names from a peer that lead to other directories on Windows. On each system, no file outside of
// the root is read, written or deleted, and none inside if the disk can't store such names.

const TEXT = new TextEncoder().encode("evil");
const ENTRY = { kind: "file", size: TEXT.length, modified: "2024-05-06T07:08:09.123Z" };

/** Runs a test on this system, and with the naming rules of Windows. */
function test(rule: string, fn: (holdsNames: boolean) => Promise<void>): void {
  for (const os of new Set([Deno.build.os, "windows"] as const)) {
    Deno.test(`${rule}: names of ${os}`, async () => {
      using _system = patch(Deno, "build", (build) => ({ ...build, os }));
      using _deleting = patch(windowsDeletions, "areTested", () => true);
      await fn(os !== "windows");
    });
  }
}

test("no request writes, reads or deletes outside of the root, or inside by another name", async (holdsNames) => {
  await using files = await serveWritableDirectory({ list: true, reuse: true });
  await using pool = new ConnectionPool(files.serving.makeClient());
  const stateBefore = [await readTree(files.root), await listNames(files.path)];
  /** Returns the statuses of a request for each path with each of the names. */
  const statuses = async (ask: (uri: string) => Promise<number>): Promise<Set<number>> => {
    const statusSet = new Set<number>();
    for (const name of HOSTILE_NAMES) {
      const paths = [[name], ["sub", name, "x"], ...holdsNames ? [] : [[name, "x"], ["sub", name]]];
      for (const names of paths) statusSet.add(await ask(fileUri(...names)));
    }
    return statusSet;
  };
  const request = async (
    method: "GET" | "HEAD" | "PUT" | "DELETE",
    uri: string,
    headers = {},
    body: BodyOut = null,
  ) => await readStatus(await pool.request(method, uri, headers, body));
  const statusSets = [
    await statuses((uri) => request("GET", uri)),
    await statuses((uri) => request("GET", `${uri}/?tree`)),
    await statuses((uri) => request("HEAD", uri, makeUploadHeaders(TEXT))),
    await statuses((uri) => request("PUT", uri, {}, TEXT)),
    await statuses((uri) => request("PUT", uri, makeUploadHeaders(TEXT, 0), TEXT)),
    await statuses((uri) => request("PUT", `${uri}/`)),
    await statuses((uri) => request("DELETE", uri)),
    await statuses((uri) => request("DELETE", `${uri}/`)),
  ];
  const reused = { "upload-length": "4", "repr-digest": makeUploadHeaders(TEXT)["repr-digest"]! };
  await statuses((uri) => {
    return request("PUT", "/new", {
      ...reused,
      "reuse": `"${uri}";length=4`,
      "upload-offset": "4",
    });
  });
  if (holdsNames) return; // files outside are compared at the end
  // A server on Windows refuses a backslash in a path with 400, before its app gets the request.
  assertEquals(statusSets.map((statusSet) => [...statusSet]), [
    ...[[400, 404], [400, 404], [400, 403], [400, 403]],
    ...[[400, 403], [400, 403], [400, 403], [400, 403]],
  ]);
  assertEquals([await readTree(files.root), await listNames(files.path)], stateBefore);
});

test("no bundle writes or reads outside of the root, or inside by another name", async (holdsNames) => {
  await using files = await serveWritableDirectory({ list: true });
  const stateBefore = [await readTree(files.root), await listNames(files.path)];
  const paths = HOSTILE_NAMES.flatMap((name) => [[name], [name, "x"], ["sub", name]]);
  const sent = paths.flatMap((
    path,
  ): SentRecord[] => [["", "evil", { path }], ["", null, { path }]]);
  const { request } = files;
  const statuses = await readPutStatuses(
    await request("POST", "/?bundle=put", {}, makeBundle(sent)),
  );
  if (!holdsNames) {
    assertEquals(new Set(statuses as number[]), new Set([403]));
    assertEquals([await readTree(files.root), await listNames(files.path)], stateBefore);
  }
  const pathList = formatPaths(paths);
  const records = await readRecords(
    GET_RESPONSE,
    await request("POST", "/?bundle=get", {}, pathList),
  );
  assert(records.every(({ content }) => holdsNames || content.length === 0));
});

/** The names that are not reserved. A list has reserved names as skipped entries. */
const LISTED_NAMES = HOSTILE_NAMES.filter((name) => !isReservedName(name));

/** Serves a list with all the names, as files and as directories, and one harmless file. */
function serveHostile() {
  const file = (...path: string[]) => ({ path, ...ENTRY });
  const directory = (...path: string[]) => ({ path, ...ENTRY, kind: "directory", size: 0 });
  const entries = LISTED_NAMES.flatMap((name, i) => [
    file(name),
    ...[directory(`d${i}`), file(`d${i}`, name), directory(`e${i}`), directory(`e${i}`, name)],
    file(`e${i}`, name, "x"),
  ]);
  const list = listText([...entries, file("ok"), { end: true }]);
  return serve(async ({ method, query, body }) => {
    if (query === "tree") return [200, "OK", { "content-type": "application/json" }, encode(list)];
    if (query === "bundle=get") {
      const records = [...parsePaths(await body!.bytes())].map((path): SentRecord => {
        return ["", "evil", { status: 200, path, modified: ENTRY.modified }];
      });
      return [200, "OK", { "content-type": BUNDLE_TYPE }, makeBundle(records)];
    }
    if (method !== "GET") return [404, "Not Found", {}, null];
    return [200, "OK", { "last-modified": "Mon, 06 May 2024 07:08:09 GMT" }, TEXT];
  });
}

const encode = (text: string) => new TextEncoder().encode(text);

test("no list makes a download write outside of the target; each name that the disk can't store fails alone, and prevents deletions", async (holdsNames) => {
  await using tree = await makeTree();
  await using serving = serveHostile();
  const readSurroundings =
    async () => [await listNames(tree.path), await readTree(`${tree.path}/outside`)];
  const surroundings = await readSurroundings();
  const failed = new Map<string, unknown>();
  const onEvent = (event: TreeEvent) => {
    if (event.type === "failed") failed.set(event.path.join("/"), event.error);
  };
  const options = { partial: true, delete: true, onEvent };
  const result = await downloadTree(serving.makeClient(), "/", tree.root, options);
  assertEquals(await Deno.readTextFile(`${tree.root}/ok`), "evil");
  assertEquals(await readSurroundings(), surroundings);
  if (holdsNames) return;
  assertEquals([result.files, result.deletionsSkipped], [1, "failed"]);
  assertEquals(failed.size, LISTED_NAMES.length * 4);
  for (const [path, error] of failed) {
    assert(error instanceof TransferError, `${path}: ${error}`);
    assert(
      /the disk can't hold the name|a parent directory could not be created/.test(error.message),
      error.message,
    );
  }
  const createdPaths = Object.keys(await readTree(tree.root)).filter((path) =>
    !/^(?:[de]\d+|sub)/.test(path)
  );
  assertEquals(createdPaths, ["file", "ok"]);
});

Deno.test("no device has a name that leads to another directory", () => {
  for (const name of [...HOSTILE_NAMES, "CON", "Nul", "aux", "prn", "com0", "LPT9"]) {
    assertEquals(isDeviceName(name), false, name);
  }
});

// The names that Windows does not allow, or interprets in another way.

const SAFE_NAMES = [
  ...[
    "a",
    "a b.txt",
    ".hidden",
    "...a",
    "Öl",
    "日本語",
    "😀",
    "a~",
    "a~b",
    "~1",
    "#",
    "%41",
    "a'b",
  ],
  ...["con1", "console", "a.con", "com", "com10", "lpt", "nul-1", "null.txt", "conin", "aux_"],
  ...["longerthan8~1", "file.txt.~1~", "a~1.text", "~$letter.docx", "$Recycle.Bin"],
];

Deno.test("on Windows a name with another meaning is no name of a file", () => {
  for (const name of HOSTILE_NAMES) assert(findNameProblem(name, "windows") !== null, name);
  for (const name of SAFE_NAMES) assertEquals(findNameProblem(name, "windows"), null, name);
  for (let code = 1; code < 0x20; code++) {
    assertEquals(findNameProblem(`a${String.fromCharCode(code)}`, "windows"), "name-character");
  }
});

Deno.test("other systems allow every name without a slash", () => {
  for (const system of ["linux", "darwin", "freebsd"] as const) {
    for (const name of [...HOSTILE_NAMES, ...SAFE_NAMES]) {
      assertEquals(findNameProblem(name, system), null, name);
    }
  }
});

Deno.test("a name of a file that looks like a secret is in the errors and in the log", async (t) => {
  for (const name of ["cookie.txt", "authorization (copy)", "user:word@home", "-----BEGIN"]) {
    await t.step(name, async () => {
      await using directory = await createTempDir();
      await using serving = serve(new FilesApp(directory.path, { list: true }));
      const client = serving.makeClient();
      const uri = fileUri(name);
      const messages = [
        `${await catchRejection(download(client, uri, `${directory.path}/a`), name)}`,
        `${await catchRejection(remoteDigest(client, uri), name)}`,
        catchMessage(() => new FilesApp(`/${name}`)),
        catchMessage(() => parseAddress(`unix:@${name}%`)),
      ];
      await client.request("PUT", uri, {}, "a");
      messages.push(...await serving.logger.waitFor("info", "PUT"));
      for (const message of messages) {
        assert(!message.includes("not shown"), message);
        assert(message.includes(name) || message.includes(uri), message);
      }
    });
  }
});
