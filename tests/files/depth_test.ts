/** How deep trees may be: a check of where a path leads costs more than in proportion to its length. */
import { assertEquals } from "@std/assert";
import { Client, Server } from "@degu/degu";
import {
  downloadTree,
  FilesApp,
  fileUri,
  listTree,
  type TreeEvent,
  uploadTree,
} from "@degu/degu/files";
import { tempDir } from "@degu/testing/directories.ts";

const MAX_DEPTH = 256;

/** Makes so many directories, one in the other, with a file in each of the last three. */
async function makeDeep(root: string, depth: number): Promise<string[]> {
  const names = Array.from({ length: depth }, (_, i) => `d${i % 10}`);
  await Deno.mkdir(`${root}/${names.join("/")}`, { recursive: true });
  for (let i = 0; i < 3; i++) {
    await Deno.writeTextFile(`${root}/${names.slice(0, depth - i).join("/")}/file`, "text");
  }
  return names;
}

Deno.test("a path has at most 256 names: deeper ones are listed as what can't be asked for, and refused", async () => {
  await using served = await tempDir();
  await using copy = await tempDir();
  const names = await makeDeep(served.path, MAX_DEPTH);
  const app = new FilesApp(served.path, { list: true, write: true });
  await using server = new Server(["127.0.0.1", 0], app, { maxRequests: Infinity });
  server.serveForever();
  const client = new Client(server.address);
  const status = async (method: "GET" | "PUT", ...path: string[]) => {
    const body = method === "PUT" ? new Uint8Array(1) : null;
    return (await client.request(method, fileUri(...path), {}, body)).status;
  };
  const deepest = names.slice(0, MAX_DEPTH - 1);
  assertEquals(await status("GET", ...deepest, "file"), 200);
  assertEquals(await status("GET", ...names, "file"), 404);
  assertEquals(await status("PUT", ...deepest, "new"), 201);
  assertEquals(await status("PUT", ...names, "new"), 404);
  const deep: unknown[] = [];
  for await (const { path, kind, reason } of listTree(client, "/")) {
    if (path.length > MAX_DEPTH) deep.push([path.length, kind, reason]);
  }
  assertEquals(deep, [[MAX_DEPTH + 1, "other", "name"]]);

  const failed = async (transfer: (onEvent: (event: TreeEvent) => void) => Promise<unknown>) => {
    const paths: number[] = [];
    await transfer((event) => event.type === "failed" && paths.push(event.path.length));
    return paths;
  };
  const down = await failed((onEvent) =>
    downloadTree(client, "/", copy.path, { dryRun: true, onEvent })
  );
  assertEquals(down, [MAX_DEPTH + 1]);
  await makeDeep(copy.path, MAX_DEPTH);
  const up = await failed((onEvent) =>
    uploadTree(client, copy.path, "/", { dryRun: true, onEvent })
  );
  assertEquals(up, [MAX_DEPTH + 1]);
});
