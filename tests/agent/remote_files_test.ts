/** The directories that a peer shares. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { PeerConnections } from "@degu/internal/agent/peer_connections.ts";
import { RemoteFiles } from "@degu/internal/agent/remote_files.ts";
import { parseRemotePath } from "@degu/internal/agent/remote_path.ts";
import { makeTreeAt } from "@degu/testing/agent_files.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";

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

Deno.test("a listing is cached, and unlisted paths are not requested", async () => {
  await using test = await setUp();
  await makeTreeAt(test.path, { "a/b/c": "1", "file": "22" });
  const { remote, asked } = test;
  assertEquals([...(await remote.listIfListed(["a", "b"]))!.keys()], ["c"]);
  assertEquals((await remote.find(["a", "b", "c"]))?.kind, "file");
  assertEquals(await remote.listIfListed(["file"]), null);
  assertEquals(await remote.listIfListed(["none", "x"]), null);
  assertEquals(asked, ["/share/", "/share/a/", "/share/a/b/"]);
  assertEquals(await remote.list(["none"]), null);
});

Deno.test("a tree has each directory before its content", async () => {
  await using test = await setUp();
  await makeTreeAt(test.path, { "b/z": "1", "b/a/d": "22", "a": "", "c": null });
  const { entries, failed } = await test.remote.readTree([]);
  const shown = entries.map(({ names, kind, size }) => `${names.join("/")} ${kind} ${size}`);
  assertEquals(shown, [
    "a file 0",
    "b directory 0",
    "c directory 0",
    "b/a directory 0",
    "b/z file 1",
    "b/a/d file 2",
  ]);
  assertEquals(failed, []);
  assertEquals((await test.remote.readTree(["a"])).failed.length, 1);
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
