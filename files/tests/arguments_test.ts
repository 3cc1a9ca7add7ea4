/**
 * The arguments that locate files and trees: names or URIs on a server, local paths or file URLs.
 */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { toFileUrl } from "@std/path";
import { ConnectionPool } from "@degu/degu/client";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  listDirectory,
  listTree,
  makeDirectory,
  remoteDigest,
  upload,
  uploadTree,
} from "@degu/files";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";

async function setUp() {
  const remoteDir = await createTempDir();
  const localDir = await createTempDir();
  const serving = serve(new FilesApp(remoteDir.path, { write: true, list: true }));
  return {
    there: remoteDir.path,
    here: localDir.path,
    client: serving.makeClient(),
    async [Symbol.asyncDispose]() {
      await serving[Symbol.asyncDispose]();
      await remoteDir[Symbol.asyncDispose]();
      await localDir[Symbol.asyncDispose]();
    },
  };
}

Deno.test("each function accepts a path as an array of names, and escapes the names", async () => {
  await using test = await setUp();
  const { client, here: localDir, there: remoteDir } = test;
  await Deno.mkdir(`${localDir}/tree/sub`, { recursive: true });
  await Deno.writeTextFile(`${localDir}/tree/sub/a b%?`, "hello");
  const names = ["my photos", "1 ~?.jpg"] as const;
  assertEquals(await makeDirectory(client, ["my photos"]), true);
  assertEquals(await makeDirectory(client, ["my photos", ""]), false);
  assertEquals((await upload(client, `${localDir}/tree/sub/a b%?`, names)).bytes, 5);
  assertEquals(await Deno.readTextFile(`${remoteDir}/my photos/1 ~?.jpg`), "hello");
  assertEquals((await remoteDigest(client, names)).slice(0, 8), "2cf24dba");
  assertEquals((await download(client, names, `${localDir}/copy`)).bytes, 5);
  const list = async (uri: string | readonly string[]) =>
    (await Array.fromAsync(listDirectory(client, uri))).map(({ name }) => name);
  assertEquals(await list(["my photos"]), ["1 ~?.jpg"]);
  assertEquals(await list([]), ["my photos"]);
  assertEquals(await list([""]), ["my photos"]);
  assertEquals((await uploadTree(client, `${localDir}/tree`, ["my tree"])).files, 1);
  const paths = (await Array.fromAsync(listTree(client, ["my tree"]))).map(({ path }) => path);
  assertEquals(paths, [["sub"], ["sub", "a b%?"]]);
  assertEquals((await downloadTree(client, ["my tree", "sub"], `${localDir}/sub`)).files, 1);
  assertEquals((await downloadTree(client, [], `${localDir}/all`)).files, 2);
  await deleteEntry(client, names);
  await deleteEntry(client, ["my photos"]);
  assertEquals(await list([]), ["my tree"]);
});

Deno.test("file and dir accept file: URLs", async () => {
  await using test = await setUp();
  const { client, here: localDir } = test;
  const url = (path: string) => toFileUrl(`${localDir}/${path}`);
  await Deno.mkdir(`${localDir}/a tree%41`);
  await Deno.writeTextFile(`${localDir}/a tree%41/ä #1`, "hello");
  assertEquals((await upload(client, url("a tree%41/ä #1"), ["a"])).bytes, 5);
  assertEquals((await download(client, ["a"], url("ö %20"))).bytes, 5);
  assertEquals(await Deno.readTextFile(`${localDir}/ö %20`), "hello");
  assertEquals((await uploadTree(client, url("a tree%41"), [])).files, 1);
  assertEquals((await downloadTree(client, [], url("copy"))).files, 2);
  assertEquals(await Deno.readTextFile(`${localDir}/copy/ä #1`), "hello");
});

Deno.test("swapped, misspelled and missing arguments are rejected before any request", async () => {
  let requests = 0;
  await using serving = serve(() => {
    requests++;
    return [500, "Internal Server Error", {}, null];
  });
  const client = serving.makeClient();
  await using pool = new ConnectionPool(client);
  type Uri = string | readonly string[];
  const calls: Record<string, (uri: Uri, path: string | URL) => Promise<unknown>> = {
    download: (uri, path) => download(pool, uri, path),
    upload: (uri, path) => upload(client, path, uri),
    downloadTree: (uri, path) => downloadTree(client, uri, path),
    uploadTree: (uri, path) => uploadTree(client, path, uri),
  };
  const invalidCalls: [unknown, unknown, typeof TypeError | typeof RangeError, string][] = [
    ["/tmp/photos", ["photos"], TypeError, "must be the path of a "],
    [5, "/tmp/a", TypeError, "uri: must be a string"],
    [null, "/tmp/a", TypeError, "uri: must be a string"],
    [new URL("http://a/b"), "/tmp/a", TypeError, "uri: must be a string"],
    [["a", 5], "/tmp/a", TypeError, "must be a string"],
    [["a", "", "b"], "/tmp/a", RangeError, "is empty"],
    [["a/b"], "/tmp/a", RangeError, "has a slash"],
    [["..", "b"], "/tmp/a", RangeError, "refers to a directory"],
    ["a/", "/tmp/a", RangeError, "uri"],
    [["a"], 5, TypeError, "must be the path of a "],
    [["a"], "", RangeError, "must be the path of a "],
    [["a"], "a\0", RangeError, "without NUL bytes"],
    [["a"], new URL("https://a/b"), TypeError, "a file: URL"],
    [["a"], new URL("file:///a%00b"), RangeError, "without NUL bytes"],
    [["a"], new URL("file://host/a"), TypeError, "host"],
  ];
  for (const [uri, path, Class, message] of invalidCalls) {
    for (const call of Object.values(calls)) {
      await assertRejects(() => call(uri as Uri, path as string), Class as never, message);
    }
  }
  assertThrows(() => listDirectory(client, 5 as never), TypeError, "uri: must be a string");
  assertThrows(() => listTree(client, ["a/b"]), RangeError, "has a slash");
  await assertRejects(() => makeDirectory(client, ["a", ".."]), RangeError, "refers to");
  await assertRejects(() => deleteEntry(client, ["", "a"]), RangeError, "is empty");
  await assertRejects(() => remoteDigest(client, [null] as never), TypeError, "must be a string");
  await assertRejects(() => upload(client, "/tmp/a", []), RangeError, "is the URI of a directory");
  for (const target of [null, undefined, 5, {}, { connect: 1 }, { request: "" }] as never[]) {
    await assertRejects(() => download(target, "/a", "/tmp/a"), TypeError, "from: must be");
    await assertRejects(() => upload(target, "/tmp/a", "/a"), TypeError, "to: must be");
  }
  assertEquals(requests, 0);
});
