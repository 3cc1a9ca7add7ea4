/** The directories that a peer shares. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ChunkedBody } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import type { Response, ResponseTuple } from "@degu/degu/server";
import { Failure } from "@degu/internal/agent/failure.ts";
import { PeerConnections } from "@degu/internal/agent/peer_connections.ts";
import { RemoteFiles } from "@degu/internal/agent/remote_files.ts";
import { parseRemotePath } from "@degu/internal/agent/remote_path.ts";
import { makeTreeAt } from "@degu/testing/agent_files.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
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
