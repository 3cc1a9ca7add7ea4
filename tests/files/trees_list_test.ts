/** listDirectory and listTree: lists of every length, and invalid responses. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { BodyError, ChunkedBodyIter, type HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import type { App } from "@degu/degu";
import { download, fileUri, listDirectory, listTree, TransferError } from "@degu/degu/files";
import { makeEmptyFiles } from "@degu/testing/directories.ts";
import { entry, NAMES } from "@degu/testing/directory_entries.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { serveFiles } from "@degu/testing/transferring.ts";

const listing = (dir: string) => new FilesApp(dir, { list: true });

/** An app that answers with this text, in chunks of so many bytes. */
function answering(
  text: string,
  headers: HeaderDict = { "content-type": "application/json" },
  length = 7,
): App {
  const bytes = new TextEncoder().encode(text);
  function* chunks() {
    for (let at = 0; at < bytes.length; at += length) {
      yield [null, bytes.subarray(at, at + length)] as const;
    }
    yield [null, new Uint8Array(0)] as const;
  }
  return () => [200, "OK", headers, new ChunkedBodyIter(chunks())];
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
  const headers = { "content-type": "application/json" };
  await using serving = serve(() => [200, "OK", headers, new ChunkedBodyIter(chunks())]);
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
  await using serving = serve((...args) => {
    const app = answering(`[${more.join()}]`, undefined, 65536) as (...args: unknown[]) => never;
    return app(...args);
  });
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

Deno.test("listDirectory validates its arguments at once", () => {
  const client = { connect: () => {} } as never;
  for (const uri of ["/a", "/a?b"]) {
    assertThrows(() => listDirectory(client, uri), RangeError, 'must end with "/"');
  }
  assertThrows(() => listDirectory(client, "a/"), RangeError);
  assertThrows(() => listDirectory(client, 1 as never), TypeError);
  assertThrows(() => listDirectory({} as never, "/"), TypeError, "from: must be a Client");
  assertThrows(() => listDirectory(null as never, "/"), TypeError);
  assertThrows(() => listDirectory(client, "/", { sginal: 1 } as never), TypeError);
  assertThrows(() => listDirectory(client, "/", { signal: 1 } as never), TypeError);
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

Deno.test("listTree validates its arguments at once", () => {
  const client = { connect: () => {} } as never;
  for (const uri of ["/a", "/a/?b", "/?tree"]) {
    assertThrows(() => listTree(client, uri), RangeError, 'must end with "/"');
  }
  assertThrows(() => listTree({} as never, "/"), TypeError, "from: must be a Client");
  assertThrows(() => listTree(client, "/", { sginal: 1 } as never), TypeError);
});
