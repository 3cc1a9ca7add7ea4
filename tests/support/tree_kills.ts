/**
 * Processes that move trees of files, or serve them, and are killed at random moments. What is left must be whole, and nothing may be lost.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Client } from "@degu/degu/client";
import { downloadTree, FilesApp, uploadTree } from "@degu/degu/files";
import { ChangingTrees } from "../trees/changing.ts";
import { tempDir } from "./directories.ts";
import { programCommand } from "./programs.ts";
import { serve } from "./serving.ts";

/** When something has been moved for sure. */
const MOST_MILLISECONDS = 250;

/** Kills programs that download a tree, and continues. */
export function killTreeDownloads(kills: number): Promise<void> {
  return killTransfers("download", kills);
}

/** Kills programs that upload a tree, and continues. */
export function killTreeUploads(kills: number): Promise<void> {
  return killTransfers("upload", kills);
}

/** Kills servers from which, and to which, a tree is moved, and continues with another server. */
export async function killTreeServers(kills: number): Promise<void> {
  await killServers(true, Math.ceil(kills / 2));
  await killServers(false, Math.floor(kills / 2));
}

async function killServers(isUpload: boolean, kills: number): Promise<void> {
  await using dir = await tempDir();
  const trees = new ChangingTrees(`${dir.path}/source`, `${dir.path}/target`);
  for (let kill = 0; kill < kills; kill++) {
    trees.change();
    const served = isUpload ? trees.target : trees.source;
    const { child, address, [Symbol.asyncDispose]: end } = await startServer(served);
    const client = new Client(["127.0.0.1", address], { timeout: 10 });
    const timer = setTimeout(() => child.kill("SIGKILL"), Math.random() * MOST_MILLISECONDS);
    const moved = await (isUpload
      ? uploadTree(client, trees.source, "/", { delete: true })
      : downloadTree(client, "/", trees.target, { delete: true })).then(
        () =>
          true,
        () => false,
      );
    clearTimeout(timer);
    await end();
    assertEquals(trees.problems(moved), []);
    if (kill % 5 === 4) await complete(trees, isUpload);
  }
  await complete(trees, isUpload);
  assertEquals(trees.leftParts(), []);
}

async function killTransfers(direction: "download" | "upload", kills: number): Promise<void> {
  await using dir = await tempDir();
  const trees = new ChangingTrees(`${dir.path}/source`, `${dir.path}/target`);
  const isUpload = direction === "upload";
  const served = isUpload ? trees.target : trees.source;
  await using serving = serve(new FilesApp(served, { list: true, write: isUpload }));
  const [, port] = serving.address as readonly [string, number];
  const local = isUpload ? trees.source : trees.target;
  for (let kill = 0; kill < kills; kill++) {
    trees.change();
    const command = programCommand("transfer_tree.ts", {
      flags: ["--allow-net=127.0.0.1", `--allow-read=${local}`, `--allow-write=${local}`],
      args: [direction, `${port}`, local, "/"],
    });
    const child = command.spawn();
    const stderr = new Response(child.stderr).text();
    const reader = child.stdout.getReader();
    assert(!(await reader.read()).done, "it did not start");
    const timer = setTimeout(() => kill9(child), Math.random() * MOST_MILLISECONDS);
    const { success } = await child.status;
    clearTimeout(timer);
    await reader.cancel();
    assertEquals(await stderr, "");
    // What a server has received whole it still writes.
    while (serving.server.sessions.size > 0) await new Promise((next) => setTimeout(next, 1));
    assertEquals(trees.problems(success), []);
    if (kill % 5 === 4) await complete(trees, isUpload);
  }
  await complete(trees, isUpload);
  assertEquals(trees.leftParts(), []);
}

function kill9(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended just now.
  }
}

/** Runs the same again, undisturbed: it has to end, and then both are the same. */
async function complete(trees: ChangingTrees, isUpload: boolean): Promise<void> {
  const served = isUpload ? trees.target : trees.source;
  await using serving = serve(new FilesApp(served, { list: true, write: isUpload }));
  const client = serving.makeClient();
  const result = isUpload
    ? await uploadTree(client, trees.source, "/", { delete: true })
    : await downloadTree(client, "/", trees.target, { delete: true });
  assertEquals([result.failed, result.deletionsKept], [0, null]);
  assertEquals(trees.problems(true), []);
}

async function startServer(dir: string) {
  const command = programCommand("transfer_tree.ts", {
    flags: ["--allow-net=127.0.0.1", `--allow-read=${dir}`, `--allow-write=${dir}`],
    args: ["serve", "0", dir],
  });
  const child = command.spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const [, address]: [string, number] = JSON.parse(new TextDecoder().decode(value));
  const end = async () => {
    kill9(child);
    await child.status;
    await reader.cancel();
    await child.stderr.cancel();
  };
  return { child, address, [Symbol.asyncDispose]: end };
}
