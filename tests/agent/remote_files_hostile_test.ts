/** Directories of a peer that lists what no honest one would. */
import { assertEquals, assertRejects } from "@std/assert";
import { ChunkedBody } from "@degu/degu/base";
import type { Response, ResponseTuple } from "@degu/degu/server";
import { Failure } from "@degu/internal/agent/failure.ts";
import { PeerConnections } from "@degu/internal/agent/peer_connections.ts";
import { RemoteFiles } from "@degu/internal/agent/remote_files.ts";
import { serve } from "@degu/testing/serving.ts";

const { signal } = new AbortController();
const HEADERS = { "content-type": "application/json" };
const encoder = new TextEncoder();

/** What is printed of an entry of a list. */
function entry(name: string, kind: "file" | "directory" = "file"): string {
  return JSON.stringify({ name, kind, size: 0, modified: "2020-01-01T00:00:00.000Z" });
}

function list(entries: readonly string[]): ResponseTuple {
  return [200, "OK", HEADERS, encoder.encode(`[${entries.join()}]`)];
}

/** The files of a peer that answers so to each path below its share. */
function setUp(answer: (path: string) => ResponseTuple | Response, maxEntries?: number) {
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

Deno.test("a tree has as many entries as a peer has files", async () => {
  const many = Array.from({ length: 150_000 }, (_, i) => entry(`${i}`));
  await using test = setUp((path) => path === "" ? list([entry("d", "directory")]) : list(many));
  const { entries, failed } = await test.remote.readTree([]);
  assertEquals([entries.length, failed], [many.length + 1, []]);
});

Deno.test("a name that is reserved here is none of a peer's files", async () => {
  const names = [".degu-files", ".DEGU-FILES", ".a.degu-part", ".a.degu-part.json"];
  await using test = setUp(() => list(["a", ...names].map((name) => entry(name))));
  const { entries, failed } = await test.remote.readTree([]);
  assertEquals(entries.map(({ names }) => names), [["a"]]);
  const problem = "its name is reserved for unfinished files";
  assertEquals(failed, names.toSorted().map((name) => ({ names: [name], problem })));
});

Deno.test("a tree that goes down for ever ends where no path is long enough for it", async () => {
  const name = "d".repeat(200);
  await using test = setUp(() => list([entry(name, "directory")]));
  const { entries, failed } = await test.remote.readTree([]);
  assertEquals(entries.length, 20);
  assertEquals(failed.map(({ names, problem }) => [names.length, problem]), [
    [21, "its path is too long"],
  ]);
});

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
  await using test = setUp(() => [200, "OK", HEADERS, new ChunkedBody(endless())], 5000);
  const error = await assertRejects(() => test.remote.list([]), Failure);
  assertEquals(
    error.message,
    "the directory has more than 5000 files and directories: name smaller parts of it",
  );
});
