/** Lists of trees, and what makes one tree like another. */
import type { App } from "@degu/degu";
import { BodyError, ChunkedBodyIter } from "@degu/degu/base";
import {
  download,
  FilesApp,
  fileUri,
  listDirectory,
  listTree,
  TransferError,
} from "@degu/degu/files";
import { fold } from "@degu/internal/disk/names.ts";
import { isSameTime, Plan, type PlanRules, TreeNode } from "@degu/internal/files/tree.ts";
import { makeEmptyFiles } from "@degu/testing/directories.ts";
import { entry, NAMES } from "@degu/testing/directory_entries.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";

// listDirectory and listTree: lists of every length, and invalid responses.

const listing = (dir: string) => new FilesApp(dir, { list: true });

const JSON_TYPE = { "content-type": "application/json" };

/** An app that answers with this text, in chunks of so many bytes. */
function answering(text: string, length = 7): App {
  const bytes = new TextEncoder().encode(text);
  function* chunks() {
    for (let at = 0; at < bytes.length; at += length) {
      yield [null, bytes.subarray(at, at + length)] as const;
    }
    yield [null, new Uint8Array(0)] as const;
  }
  return () => [200, "OK", JSON_TYPE, new ChunkedBodyIter(chunks())];
}

Deno.test("a directory is listed with names in any language", async () => {
  await using files = await serveFiles(listing);
  for (const name of NAMES) await Deno.writeTextFile(`${files.there}/${name}`, name);
  await Deno.mkdir(`${files.there}/${NAMES[2]}.d/${NAMES[3]}`, { recursive: true });
  const time = new Date("2001-02-03T04:05:06.789Z");
  await Deno.utime(`${files.there}/Öl`, time, time);
  const entries = await Array.fromAsync(listDirectory(files.client, "/"));
  const listed = entries.filter(({ kind }) => kind === "file").map(({ name }) => name);
  assertEquals(listed.toSorted(), NAMES.toSorted());
  assertEquals(entries.find(({ name }) => name === "Öl"), {
    name: "Öl",
    kind: "file",
    size: 3,
    modified: time,
  });
  const uri = fileUri(`${NAMES[2]}.d`, "");
  const [inside, ...more] = await Array.fromAsync(listDirectory(files.client, uri));
  assertEquals([inside?.name, inside?.kind, more], ["😀", "directory", []]);
  assertEquals(
    await Array.fromAsync(listDirectory(files.client, fileUri(`${NAMES[2]}.d`, "😀", ""))),
    [],
  );
});

Deno.test("a list of 10,000 entries arrives entry by entry", async () => {
  await using files = await serveFiles(listing);
  const expected = new Set(Array.from({ length: 10_000 }, (_, i) => `file ${i}`));
  makeEmptyFiles(files.there, [...expected]);
  for await (const { name } of listDirectory(files.client, "/")) {
    assert(expected.delete(name), name);
  }
  assertEquals(expected.size, 0);
});

Deno.test("entries are returned before the list is complete", async () => {
  const release = Promise.withResolvers<void>();
  async function* chunks() {
    yield [null, new TextEncoder().encode(`[${JSON.stringify(entry())},`)] as const;
    await release.promise;
    yield [null, new TextEncoder().encode(`${JSON.stringify(entry({ name: "b" }))}]`)] as const;
    yield [null, new Uint8Array(0)] as const;
  }
  await using serving = serve(() => [200, "OK", JSON_TYPE, new ChunkedBodyIter(chunks())]);
  const names = [];
  for await (const { name } of listDirectory(serving.makeClient(), "/")) {
    names.push(name);
    release.resolve();
  }
  assertEquals(names, ["a", "b"]);
});

Deno.test("a response that is not a list says what the server needs", async () => {
  await using files = await serveFiles();
  await Deno.mkdir(`${files.there}/d`);
  await Deno.writeTextFile(`${files.there}/d/index.html`, "[]");
  using conn = await files.client.connect();
  const listed = (uri: string) => Array.fromAsync(listDirectory(conn, uri));
  const html = await assertRejects(() => listed("/d/"), TransferError, "list: true");
  assertEquals([html.code, html.status], ["UNEXPECTED_RESPONSE", null]);
  const none = await assertRejects(
    () => listed("/e/"),
    TransferError,
    "needs a FilesApp with list: true",
  );
  assertEquals([none.code, none.status], ["STATUS", 404]);
  assertEquals(conn.closed, false);
  assertEquals((await conn.get("/d/index.html")).status, 200);
});

Deno.test("a list that is abandoned or aborted closes the connection; a complete one keeps it", async () => {
  const more = new Array(10_000).fill(JSON.stringify(entry()));
  await using serving = serve(answering(`[${more.join()}]`, 65536));
  const client = serving.makeClient();
  using conn = await client.connect();
  const list = listDirectory(conn, "/");
  assertEquals((await Array.fromAsync(list)).length, more.length);
  assertEquals((await Array.fromAsync(list)).length, more.length, "each iteration is a request");
  assertEquals(conn.closed, false);
  for await (const _entry of list) {
    // One request at a time.
    await assertRejects(() => download(conn, "/a", "/tmp/never"), BodyError);
    break;
  }
  assertEquals(conn.closed, true);
  const controller = new AbortController();
  const reason = new Error("enough");
  const error = await assertRejects(async () => {
    for await (const _entry of listDirectory(client, "/", { signal: controller.signal })) {
      controller.abort(reason);
    }
  }, Error);
  assertEquals(error, reason);
  const aborted = listDirectory(client, "/", { signal: AbortSignal.abort(reason) });
  assertEquals(await assertRejects(() => Array.fromAsync(aborted), Error), reason);
});

Deno.test("listDirectory and listTree validate their arguments at once", () => {
  const client = { connect: () => {} } as never;
  for (const list of [listDirectory, listTree]) {
    for (const uri of ["/a", "/a?b"]) {
      assertThrows(() => list(client, uri), RangeError, 'must end with "/"');
    }
    assertThrows(() => list(client, "a/"), RangeError);
    assertThrows(() => list(client, 1 as never), TypeError);
    assertThrows(() => list({} as never, "/"), TypeError, "from: must be a Client");
    assertThrows(() => list(null as never, "/"), TypeError);
    assertThrows(() => list(client, "/", { sginal: 1 } as never), TypeError);
    assertThrows(() => list(client, "/", { signal: 1 } as never), TypeError);
  }
  for (const uri of ["/a/?b", "/?tree"]) {
    assertThrows(() => listTree(client, uri), RangeError, 'must end with "/"');
  }
});

Deno.test("listTree lists everything below a directory, parents before what is in them", async () => {
  await using files = await serveFiles(listing);
  const paths = ["a", "a/b c", "a/b c/Öl", "a/d", "e"];
  await Deno.mkdir(`${files.there}/a/b c`, { recursive: true });
  await Deno.mkdir(`${files.there}/a/d`);
  for (const name of ["a/b c/Öl", "e"]) await Deno.writeTextFile(`${files.there}/${name}`, name);
  await makeLinks({ [`${files.there}/a/link`]: "d" });
  const listed = await Array.fromAsync(listTree(files.client, "/"));
  assertEquals(
    listed.map(({ path }) => path.join("/")).toSorted(),
    [...paths, "a/link"].toSorted(),
  );
  for (const [i, { path, name }] of listed.entries()) {
    assertEquals(path.at(-1), name);
    const parent = path.slice(0, -1).join("/");
    assert(parent === "" || listed.slice(0, i).some(({ path }) => path.join("/") === parent));
  }
  const link = listed.find(({ name }) => name === "link");
  assertEquals([link?.kind, link?.reason], ["other", "link"]);
  const below = await Array.fromAsync(listTree(files.client, fileUri("a", "b c", "")));
  assertEquals(below.map(({ path }) => path), [["Öl"]]);
  using connection = await files.client.connect();
  assertEquals((await Array.fromAsync(listTree(connection, "/a/d/"))).length, 0);
  assertEquals((await Array.fromAsync(listTree(connection, "/"))).length, 6);
});

Deno.test("listTree rejects where a list is cut, and where an entry is in no directory of it", async () => {
  const element = (path: string[], kind = "file") => {
    const { name: _name, ...fields } = entry({ kind });
    return JSON.stringify({ path, ...fields });
  };
  const end = '{"end":true}';
  const rows: [string, string][] = [
    [`[${element(["a"])}]`, "complete"],
    [`[${element(["a"])}`, "ends early"],
    [`[${element(["a"])},${element(["a", "b"])},${end}]`, "no directory"],
    [`[${element(["a", "b"])},${element(["a"], "directory")},${end}]`, "no directory"],
    [JSON.stringify([entry()]), "path"],
  ];
  for (const [text, message] of rows) {
    await using serving = serve(answering(text));
    const error = await assertRejects(
      () => Array.fromAsync(listTree(serving.makeClient(), "/")),
      TransferError,
      message,
    );
    assertEquals(error.code, "BAD_LIST");
  }
  await using files = await serveFiles();
  const none = await assertRejects(
    () => Array.fromAsync(listTree(files.client, "/")),
    TransferError,
    "list: true",
  );
  assertEquals(none.status, 404);
});

// What makes one tree like another: names, times, what is copied, kept and deleted.

const TIME = 1_700_000_000_000;

/** Makes a tree of paths of files of one byte; `d/l!link` is something else. */
function treeOf(paths: readonly string[]): TreeNode {
  const root = TreeNode.root();
  for (const path of paths) {
    const [names = "", reason] = path.split("!") as [string, "link" | undefined];
    let node = root;
    for (const name of names.split("/")) {
      const isLast = names === [...node.path, name].join("/");
      const kind = !isLast ? "directory" : reason === undefined ? "file" : "other";
      const size = kind === "file" ? 1 : 0;
      node.add(new TreeNode(node, name, kind, size, TIME, isLast ? reason ?? null : null));
      node = node.get(name)!;
    }
  }
  return root;
}

const pathOf = (node: TreeNode) => node.path.join("/");

/** A plan in words. */
function planned(
  source: readonly string[],
  target: readonly string[] | null,
  rules: Partial<PlanRules> = {},
): Record<string, unknown> {
  const all = {
    compare: "time",
    replace: true,
    delete: false,
    filter: undefined,
    ...rules,
  } as const;
  const plan = new Plan(treeOf(source), target && treeOf(target), all);
  const { doubtful, blocked, deletions, staying, isIncomplete, isEmpty, ...lists } = plan;
  const words: Record<string, unknown> = {
    doubtful: doubtful.flatMap(({ files }) => files.map(({ source }) => pathOf(source!))),
    blocked: blocked.map(({ obstacle }) => pathOf(obstacle.node)),
    deletions: deletions.filter(({ node }) => !staying.has(node))
      .map(({ node, doubts }) => [node, ...doubts].map(pathOf).join(" unless it is ")),
    isIncomplete,
    isEmpty,
  };
  for (const [name, items] of Object.entries(lists)) {
    words[name] = items.map((item) => pathOf("node" in item ? item.node : item));
  }
  return Object.fromEntries(
    Object.entries(words).filter(([, value]) => value === true || (value as unknown[]).length > 0),
  );
}

const DELETE = { delete: true };
const rows: [string, string[], string[] | null, Partial<PlanRules>, Record<string, unknown>][] = [
  ["nothing at both ends", [], [], DELETE, { isEmpty: true }],
  ["unreadable at the source", ["a!unreadable", "b"], ["c"], DELETE, {
    failed: ["a"],
    copies: ["b"],
    deletions: ["c"],
    isIncomplete: true,
  }],
  ["unreadable at the target", ["a", "d/b"], ["a!unreadable", "d!unreadable"], DELETE, {
    copies: ["a"],
    failed: ["d/b", "d"],
  }],
  ["a directory in the way, and replace: false", ["a"], ["a/b"], { delete: true, replace: false }, {
    failed: ["a"],
  }],
  ["a directory in the way with something unreadable in it", ["a"], ["a/l!unreadable"], DELETE, {
    failed: ["a"],
  }],
  ["a pipe in the way", ["a"], ["a!special"], DELETE, { failed: ["a"] }],
  ["another spelling at the target", ["Photos/a"], ["photos/a", "photos/b"], DELETE, {
    makes: ["Photos"],
    doubtful: ["Photos/a"],
    deletions: ["photos/a unless it is Photos/a", "photos/b", "photos unless it is Photos"],
  }],
  ["two spellings at the source", ["A", "a"], [], DELETE, { doubtful: ["A", "a"] }],
  ["two spellings at both ends", ["A", "a"], ["A", "a"], DELETE, { unchanged: ["A", "a"] }],
  ["NFC and NFD", ["\u00e9"], ["e\u0301"], DELETE, {
    doubtful: ["\u00e9"],
    deletions: ["e\u0301 unless it is \u00e9"],
  }],
  ["below another spelling of a link", ["l!link"], ["L/x"], DELETE, {
    skipped: ["l"],
    deletions: ["L/x unless it is l", "L unless it is l"],
  }],
];

for (const [name, source, target, rules, expected] of rows) {
  Deno.test(`plan: ${name}`, () => assertEquals(planned(source, target, rules), expected));
}

Deno.test("plan: what is filtered is at neither end", () => {
  const asked: string[] = [];
  const filter = ({ path }: { readonly path: readonly string[] }) => {
    asked.push(path.join("/"));
    return !path.at(-1)!.startsWith(".");
  };
  const source = [".git/a", "b", "c/.x", "u/.l!unreadable"];
  const target = [".git/z", ".y", "c/.x", "c/d", "b", "e/.z"];
  assertEquals(planned(source, target, { delete: true, filter }), {
    unchanged: ["b"],
    makes: ["u"],
    deletions: ["c/d"],
  });
  assertEquals(new Set(asked).size, asked.length, "each path once");
  assertEquals(asked.includes(".git/a") || asked.includes(".git/z"), false, "nothing below it");
  assertEquals(asked.indexOf("c") < asked.indexOf("c/d"), true, "parents first");
  assertEquals(planned(["a/b"], ["a/.x"], { delete: true, filter }).copies, ["a/b"]);
  assertEquals(planned(["a"], ["a/.x"], { delete: true, filter }), { failed: ["a"] });
});

Deno.test("names are folded by full lower case and composition", () => {
  for (const [one, other] of [["ABC", "abc"], ["É", "e\u0301"], ["Å", "å"], ["ẞ", "ß"]]) {
    assertEquals(fold(one!), fold(other!));
  }
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    return fold(fold(text)) === fold(text) && fold(text.normalize("NFD")) === fold(text);
  }));
});

Deno.test("two times are the same if one is the other, cut to seconds or to even seconds", () => {
  const rows: [number, number, boolean][] = [
    [TIME, TIME, true],
    [TIME + 1, TIME + 2, false],
    [TIME + 999, TIME, true],
    [TIME + 1999, TIME, true],
    [TIME + 2000, TIME, false],
    [TIME + 1999, TIME + 1000, true],
    [TIME + 2999, TIME + 1000, false],
    [-1, -2000, true],
  ];
  for (const [one, other, same] of rows) {
    assertEquals([isSameTime(one, other), isSameTime(other, one)], [same, same]);
  }
});

Deno.test("a name in thousands of spellings is planned in little time and memory", () => {
  const source = TreeNode.root();
  const target = TreeNode.root();
  for (let i = 0; i < 30_000; i++) {
    const letters = Array.from("abcdefghijklmno", (letter, bit) => {
      return (i >> bit) & 1 ? letter.toUpperCase() : letter;
    });
    const tree = i < 20_000 ? source : target;
    tree.add(new TreeNode(tree, letters.join(""), "file", 1, TIME));
  }
  const rules = { compare: "time", replace: true, delete: true, filter: undefined } as const;
  const { doubtful, deletions } = new Plan(source, target, rules);
  assertEquals(doubtful.map(({ files }) => files.length), [20_000]);
  assertEquals(new Set(deletions.map(({ doubts }) => doubts)).size, 1, "one list for all");
  assertEquals(deletions.length, 10_000);
});
