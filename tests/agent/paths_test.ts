/** Paths here and at a peer, the directory of the device, and the directories that a peer shares. */
import { ChunkedBody } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import type { Request, Response, ResponseTuple, Session } from "@degu/degu/server";
import { Failure } from "@degu/internal/agent/failure.ts";
import { ownDirectory } from "@degu/internal/agent/local_paths.ts";
import { connectionsTo } from "@degu/internal/agent/peer_connections.ts";
import { type Area, RemoteFiles } from "@degu/internal/agent/remote_files.ts";
import {
  formatRemotePath,
  isRemotePath,
  parseRemotePath,
} from "@degu/internal/agent/remote_path.ts";
import { AgentFiles } from "@degu/testing/agent_files.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { content, fill, makeTrees } from "@degu/testing/trees.ts";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";

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
  // A colon after a slash, or at the beginning, is no peer's.
  for (const text of ["a", "./a:b", "/a:b", ":a", "", "a/b:c"]) {
    assertEquals(isRemotePath(text), false, text);
    assertThrows(() => parseRemotePath(text), Failure, "PEER:PATH");
  }
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

Deno.test("the directory is known by whatever path, and so is what is in it, or would be", async () => {
  await using dir = await tempDir();
  const { path } = dir;
  await fill(path, { "state/home/peers": null, "state/home-2": null });
  await makeLinks({ [`${path}/link`]: `${path}/state/home` });
  const own = await ownDirectory(`${path}/link`);
  const inside = ["link", "link/peers", "state/home", "state/../state/home/peers"];
  for (const each of [...inside, "state/home/new", "link/new/deep"]) {
    await assertRejects(() => own.check(`${path}/${each}`), Failure, "keys", each);
  }
  for (const each of ["state", "state/home-2", "new", "new/deep"]) {
    await own.check(`${path}/${each}`);
  }
});

for (const direction of ["download", "upload"] as const) {
  Deno.test(`${direction}: a tree that it is in is copied without it, and nothing in it is written or deleted`, async () => {
    const keys = { "state/own/key": "secret", "state/own/peers/a": "peer" };
    for (const there of [{ "state/own/key": "forged" }, { "state/own": "a file" }, {}]) {
      const [source, target] = direction === "download" ? [there, keys] : [keys, there];
      const from = { ...source, "a": "1" };
      await using trees = await makeTrees(direction, from, { ...target, "old": "2" });
      const root = direction === "download" ? trees.target : trees.source;
      const before = await content(`${trees.target}/state`).catch(() => null);
      const own = await ownDirectory(`${root}/state/own`);
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
  const { homes, share, inbox } = files;
  const home = homes.at("viewer");
  await fill(share, { "d/device.json": "forged" });
  const before = await content(home);
  for (
    const command of [
      ["get", "camera:d/device.json", `${home}/`],
      ["get", "-r", "camera:d", `${home}/peers`],
      ["sync", "--delete", "camera:d", home],
      ["sync", `${home}/identity`, "camera:"],
      ["put", "-r", home, "camera:"],
      ["put", `${home}/device.json`, "camera:"],
    ]
  ) await files.fail(1, "is the directory of this device, or in it", ...command);
  assertEquals(await content(home), before);
  assertEquals(await content(inbox), {});
});

// The directories that a peer shares.

const { signal } = new AbortController();

/** The files of a peer whose share answers so. */
function setUp(
  answer: (
    request: Request,
    session: Session,
  ) => ResponseTuple | Response | Promise<ResponseTuple | Response>,
  maxEntries?: number,
) {
  const asked: string[] = [];
  const serving = serve((request, session) => {
    asked.push(request.uri);
    const area = request.shiftPath();
    return area === "share" ? answer(request, session) : [404, "no", {}, null];
  });
  const connections = connectionsTo(serving.makeClient(), signal, () => {});
  return {
    asked,
    remote: (area: Area = "share") => new RemoteFiles(connections, "c", area, signal, maxEntries),
    [Symbol.asyncDispose]: async () => {
      connections[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a directory is listed once, and a path that leads to nothing usable is explained", async () => {
  await using dir = await tempDir();
  const app = new FilesApp(dir.path, { list: true });
  await using test = setUp((...args) => app.handle(...args));
  await fill(dir.path, { "a/b/c": "1", "file": "22", "photos/one/1.jpg": "" });
  await makeLinks({ [`${dir.path}/link`]: "/" });
  const remote = test.remote();
  assertEquals([...(await remote.list(["a", "b"]))!.keys()], ["c"]);
  assertEquals((await remote.find(["a", "b", "c"]))?.kind, "file");
  for (let i = 0; i < 2; i++) assertEquals(await remote.list(["file"]), null);
  assertEquals((await remote.find([]))?.kind, "directory");
  assertEquals(test.asked, ["/share/a/b/", "/share/file/", "/share/"]);
  assertEquals((await remote.find(["link"]))?.kind, "other");
  const rows: [path: string, message: string][] = [
    ["link", '"c:link" is a symbolic link that leads'],
    [
      "photos/one/2.jpg",
      '"c:photos/one/2.jpg" is not there: "degu ls c:photos/one/" lists what is',
    ],
    ["photos/on/1.jpg", '"degu ls c:photos/" lists what is there'],
    ["zzz", '"degu ls c:" lists what is there'],
  ];
  for (const [path, message] of rows) {
    await assertRejects(() => remote.get(path.split("/")), Failure, message);
  }
  assertStringIncludes((await test.remote("inbox").missing(["b"])).message, "--inbox DIR");
});

Deno.test("a list that never ends is given up", async () => {
  let sent = 0;
  const entry = { kind: "file", size: 0, modified: "2020-01-01T00:00:00.000Z" };
  const endless = () =>
    new ReadableStream<Uint8Array>({
      pull(controller) {
        const begin = sent === 0 ? "[" : "";
        const entries = Array.from(
          { length: 1000 },
          () => `${JSON.stringify({ ...entry, name: `${sent++}` })},`,
        );
        const text = begin + entries.join("");
        const chunk = `${text.length.toString(16)}\r\n${text}\r\n`;
        controller.enqueue(new TextEncoder().encode(chunk));
      },
    });
  const headers = { "content-type": "application/json" };
  await using test = setUp(() => [200, "OK", headers, new ChunkedBody(endless())], 5000);
  const error = await assertRejects(() => test.remote().list([]), Failure);
  assertEquals(
    error.message,
    "the directory has more than 5000 files and directories: name smaller parts of it",
  );
});
