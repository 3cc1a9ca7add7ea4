/** Paths here and at a peer, the directory of the device, and the directories that a peer shares. */
import { ChunkedBody } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import type { Response, ResponseTuple } from "@degu/degu/server";
import { Failure } from "@degu/internal/agent/failure.ts";
import { directoryPathIn, filePathIn, findLocalTarget } from "@degu/internal/agent/local_target.ts";
import { OwnDirectory } from "@degu/internal/agent/own_directory.ts";
import { PeerConnections } from "@degu/internal/agent/peer_connections.ts";
import { RemoteFiles } from "@degu/internal/agent/remote_files.ts";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
} from "@degu/internal/agent/remote_path.ts";
import { AgentFiles, makeTreeAt, treeOf } from "@degu/testing/agent_files.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { content, makeTrees } from "@degu/testing/trees.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";

// Where files go on this device.

Deno.test("a file goes into a directory, or gets the name of the target; a directory always goes into it", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await makeTreeAt(path, { "dir": null, "file": "" });
  const cases: [target: string, several: boolean, file: string, directory: string][] = [
    ["dir", false, "dir/n", "dir/n"],
    ["dir/", true, "dir/n", "dir/n"],
    ["new", false, "new", "new/n"],
    ["new", true, "new/n", "new/n"],
    ["new/", false, "new/n", "new/n"],
  ];
  for (const [name, several, file, directory] of cases) {
    const target = await findLocalTarget(`${path}/${name}`, several);
    assertEquals(filePathIn(target, "n"), `${path}/${file}`, name);
    assertEquals(await directoryPathIn(target, "n"), `${path}/${directory}`, name);
  }
  const file = await findLocalTarget(`${path}/file`, false);
  assertEquals(filePathIn(file, "n"), `${path}/file`);
  await assertRejects(() => directoryPathIn(file, "n"), Failure, "is not a directory");
  await assertRejects(() => findLocalTarget(`${path}/file`, true), Failure, "is not a directory");
  await assertRejects(() => findLocalTarget(`${path}/no/new`, false), Failure, "mkdir -p");
});

// Paths on another device.

Deno.test("PEER:[PATH] is parsed as a peer, names, and whether a directory is meant", () => {
  const cases: [text: string, peer: string, names: string[], directory: boolean][] = [
    ["camera:", "camera", [], true],
    ["camera:/", "camera", [], true],
    ["camera:.", "camera", [], true],
    ["camera:a", "camera", ["a"], false],
    ["camera:/a//b/./c/", "camera", ["a", "b", "c"], true],
    ["camera:a/.", "camera", ["a"], true],
    ["camera:a:b/c d", "camera", ["a:b", "c d"], false],
    ["camera:日本", "camera", ["日本"], false],
  ];
  for (const [text, peer, names, directory] of cases) {
    assertEquals(parseRemotePath(text), { peer, names, directory }, text);
  }
});

Deno.test("a colon after a slash, or at the beginning, is not a peer's path", () => {
  for (const text of ["a", "./a:b", "/a:b", ":a", "", "a/b:c"]) {
    assertEquals(isRemotePath(text), false, text);
    assertThrows(() => parseRemotePath(text), Failure, "PEER:PATH");
  }
});

Deno.test("an invalid name is a usage error", () => {
  for (const text of ["c:..", "c:a/../b", "c:a\0", `c:${"é".repeat(128)}`, "c:\ud800"]) {
    assertEquals(assertThrows(() => parseRemotePath(text), Failure).exitCode, 2, text);
  }
});

Deno.test("what is formatted is parsed back unchanged", () => {
  const name = fc.string({ minLength: 1, maxLength: 30, unit: "grapheme" })
    .filter((text) => !/^\.{1,2}$|[/\0]/.test(text));
  fc.assert(fc.property(fc.array(name, { maxLength: 5 }), fc.boolean(), (names, isDirectory) => {
    const directory = isDirectory || names.length === 0;
    const text = formatRemotePath("camera", names, directory);
    assertEquals(parseRemotePath(text), { peer: "camera", names, directory });
  }));
});

// The directory of the device, which is neither sent, nor written or deleted in.

Deno.test("the directory is known by whatever path, and so is what is in it", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await makeTreeAt(path, { "state/home/peers": null, "state/home-2": null });
  await makeLinks({ [`${path}/link`]: `${path}/state/home` });
  const own = await OwnDirectory.at(`${path}/link`);
  assert(own.is(await Deno.lstat(`${path}/state/home`)));
  assert(!own.is(await Deno.lstat(`${path}/state/home-2`)));
  for (const each of ["link", "link/peers", "state/home", "state/../state/home/peers"]) {
    await assertRejects(() => own.check(`${path}/${each}`), Failure, "keys", each);
  }
  const real = await Deno.realPath(path);
  await assertRejects(() => own.check(`${real}/state/home/new`), Failure);
  for (const each of ["state", "state/home-2", "new"]) await own.check(`${path}/${each}`);
});

Deno.test("a new path is known by the directory that it would be in", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await makeTreeAt(path, { "home": null });
  await makeLinks({ [`${path}/link`]: `${path}/home` });
  const own = await OwnDirectory.at(`${path}/home`);
  await assertRejects(() => own.check(`${path}/link/new/deep`), Failure);
  await own.check(`${path}/new/deep`);
});

for (const direction of ["download", "upload"] as const) {
  Deno.test(`${direction}: a tree that it is in is copied without it, and nothing in it is written or deleted`, async () => {
    const keys = { "state/own/key": "secret", "state/own/peers/a": "peer" };
    for (const there of [{ "state/own/key": "forged" }, { "state/own": "a file" }, {}]) {
      const [source, target] = direction === "download" ? [there, keys] : [keys, there];
      await using trees = await makeTrees(direction, { ...source, "a": "1" }, {
        ...target,
        "old": "2",
      });
      const root = direction === "download" ? trees.target : trees.source;
      const before = await content(`${trees.target}/state`).catch(() => null);
      const own = await OwnDirectory.at(`${root}/state/own`);
      const told = new Set<string>();
      const filter = await own.filter(root, (path) => told.add(path.join("/")));
      const { result, outcomes } = await trees.copy({ filter, delete: true });
      assertEquals([result.failed, outcomes["a"]], [0, "copied"]);
      assertEquals([...told], ["state/own"]);
      const after = await content(trees.target);
      assertEquals([after["a"], after["old"]], ["1", undefined]);
      if (before !== null) assertEquals(await content(`${trees.target}/state`), before);
      else assertEquals(after, { "a": "1", "state": null });
    }
  });
}

Deno.test("no command moves files out of it or into it, or deletes there", async () => {
  await using files = await AgentFiles.start();
  const { home, share, inbox } = files;
  await makeTreeAt(share, { "d/device.json": "forged" });
  const before = await treeOf(home);
  for (
    const command of [
      ["get", "camera:d/device.json", `${home}/`],
      ["get", "-r", "camera:d", `${home}/peers`],
      ["sync", "--delete", "camera:d", home],
      ["sync", `${home}/identity`, "camera:"],
      ["put", "-r", home, "camera:"],
      ["put", `${home}/device.json`, "camera:"],
    ]
  ) {
    const { code, stderr } = await files.run(...command);
    assertEquals(code, 1, command.join(" "));
    assertStringIncludes(stderr, "is the directory of this device, or in it");
  }
  assertEquals(await treeOf(home), before);
  assertEquals(await treeOf(inbox), {});
});

// The directories that a peer shares.

const { signal } = new AbortController();

async function setUp() {
  const dir = await tempDir();
  const files = new FilesApp(dir.path, { list: true });
  const asked: string[] = [];
  const serving = serve((request, session) => {
    asked.push(request.uri);
    return request.shiftPath() === "share" ? files.handle(request, session) : [404, "no", {}, null];
  });
  const connections = new PeerConnections(serving.makeClient(), signal, () => {});
  return {
    path: dir.path,
    asked,
    connections,
    remote: new RemoteFiles(connections, "share", signal),
    [Symbol.asyncDispose]: async () => {
      connections[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a directory is listed once", async () => {
  await using test = await setUp();
  await makeTreeAt(test.path, { "a/b/c": "1", "file": "22" });
  const { remote, asked } = test;
  assertEquals([...(await remote.list(["a", "b"]))!.keys()], ["c"]);
  assertEquals((await remote.find(["a", "b", "c"]))?.kind, "file");
  for (let i = 0; i < 2; i++) assertEquals(await remote.list(["file"]), null);
  assertEquals((await remote.find([]))?.kind, "directory");
  assertEquals(asked, ["/share/a/b/", "/share/file/", "/share/"]);
});

Deno.test("what can't be copied is found, but not usable, and the message says why", async () => {
  await using test = await setUp();
  await makeTreeAt(test.path, { "a": "1" });
  await makeLinks({ [`${test.path}/link`]: "/" });
  const path = parseRemotePath("c:link");
  assertEquals((await test.remote.find(["link"]))?.kind, "other");
  const error = await assertRejects(() => test.remote.get(path), Failure);
  assertStringIncludes(error.message, '"c:link" is a symbolic link that leads');
  await assertRejects(() => test.remote.get(parseRemotePath("c:none")), Failure, "is not there");
});

Deno.test("a missing path is explained by the deepest directory that exists", async () => {
  await using test = await setUp();
  await makeTreeAt(test.path, { "photos/one/1.jpg": "" });
  const cases = [
    ["c:photos/one/2.jpg", 'did you mean "c:photos/one/1.jpg"?'],
    ["c:photos/on/1.jpg", 'did you mean "c:photos/one"?'],
    ["c:zzz", '"degu ls c:" lists what is there'],
  ] as const;
  for (const [path, hint] of cases) {
    assertStringIncludes((await test.remote.missing(parseRemotePath(path))).message, hint);
  }
  const inbox = new RemoteFiles(test.connections, "inbox", signal);
  assertStringIncludes((await inbox.missing(parseRemotePath("c:a"))).message, "--inbox DIR");
});

const HEADERS = { "content-type": "application/json" };
const encoder = new TextEncoder();

/** What is printed of an entry of a list. */
function entry(name: string, kind: "file" | "directory" = "file"): string {
  return JSON.stringify({ name, kind, size: 0, modified: "2020-01-01T00:00:00.000Z" });
}

/** The files of a peer that answers so to each path below its share. */
function setUpAnswers(answer: (path: string) => ResponseTuple | Response, maxEntries?: number) {
  const serving = serve(({ uri }) => answer(uri.slice("/share/".length)));
  const connections = new PeerConnections(serving.makeClient(), signal, () => {});
  return {
    remote: new RemoteFiles(connections, "share", signal, maxEntries),
    [Symbol.asyncDispose]: async () => {
      connections[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a list that never ends is given up", async () => {
  let sent = 0;
  const endless = () =>
    new ReadableStream<Uint8Array>({
      pull(controller) {
        const entries = Array.from({ length: 1000 }, () => `${entry(`${sent++}`)},`).join("");
        const text = sent === 1000 ? `[${entries}` : entries;
        const chunk = encoder.encode(text);
        controller.enqueue(encoder.encode(`${chunk.length.toString(16)}\r\n${text}\r\n`));
      },
    });
  await using test = setUpAnswers(() => [200, "OK", HEADERS, new ChunkedBody(endless())], 5000);
  const error = await assertRejects(() => test.remote.list([]), Failure);
  assertEquals(
    error.message,
    "the directory has more than 5000 files and directories: name smaller parts of it",
  );
});
