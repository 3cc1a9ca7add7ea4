/** Names and paths: their escaping, depth, and reserved names. */
import { Client, Server } from "@degu/degu";
import {
  FilesApp,
  fileUri,
  isReservedName,
  listDirectory,
  listTree,
  type TreeEntry,
} from "@degu/files";
import { parseUri } from "@degu/degu/misc";
import { TimeSlice } from "@degu/internal/files/disk/files.ts";
import { parseFilePath } from "@degu/internal/files/file_name.ts";
import { readTree } from "@degu/internal/files/listing.ts";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { Root } from "@degu/internal/files/root.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { assertRangeError } from "@degu/testing/expectations.ts";
import { assertEquals, assertThrows } from "@std/assert";
import {
  canMount,
  checkStatuses,
  type ExpectedRequest,
  IN_MOUNT_NAMESPACE,
  requestResponses,
} from "./refused_writes.ts";
import { serve } from "@degu/testing/serving.ts";

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
  await using server = new Server(["127.0.0.1", 0], app, { maxRequests: Infinity });
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
    for await (const { names, entries } of readTree(walk)) {
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
