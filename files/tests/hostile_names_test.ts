/**
 * Names from a peer that lead to other directories on Windows. On each system, no file outside of
 * the root is read, written or deleted, and none inside if the disk can't store such names.
 */
import type { BodyOut } from "@degu/degu/base";
import { isDeviceName } from "@degu/device";
import { downloadTree, fileUri, isReservedName, TransferError, type TreeEvent } from "@degu/files";
import { BUNDLE_TYPE, formatPaths, GET_RESPONSE, parsePaths } from "@degu/internal/files/bundle.ts";
import { windowsDeletions } from "@degu/internal/files/disk/names.ts";
import {
  makeBundle,
  readPutStatuses,
  readRecords,
  type SentRecord,
} from "@degu/testing/bundles.ts";
import { listNames, readTree } from "@degu/testing/directories.ts";
import { HOSTILE_NAMES } from "@degu/testing/hostile_names.ts";
import { patch } from "@degu/testing/patching.ts";
import { makeTree } from "@degu/testing/served_directory.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  makeUploadHeaders,
  readStatus,
  serveWritableDirectory,
} from "@degu/testing/written_directory.ts";
import { assert, assertEquals } from "@std/assert";
import { listText } from "./directory_entries.ts";
import { findNameProblem } from "@degu/internal/files/disk/file_names.ts";

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
  ) => await readStatus(await files.request(method, uri, headers, body));
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
