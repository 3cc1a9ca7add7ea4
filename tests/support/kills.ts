/**
 * Processes that move or write files and trees, or serve them, and are killed at random moments. What is left must be whole, and nothing
 * may be lost.
 */
import { Client } from "@degu/degu/client";
import { download, downloadTree, FilesApp, upload, uploadTree } from "@degu/degu/files";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { ChangingTrees } from "../trees/changing.ts";
import { entries, tempDir } from "./directories.ts";
import { inLanes, killAtRandom, RunningProcess } from "./processes.ts";
import { programCommand } from "./programs.ts";
import { ServedVersion } from "./served_version.ts";
import { serve, type Serving } from "./serving.ts";
import { partsOf, randomBytes, serveFiles, visible } from "./transferring.ts";

/** Processes at a time: while one starts another works. */
const LANES = 4;

interface Killed {
  readonly name: string;
  /** How many are killed in a test, and by `deno task crash`. */
  readonly ofTest: number;
  readonly kills: number;
  /** Kills so many; rejects if what is left on the disk is wrong. */
  readonly run: (kills: number) => Promise<void>;
}

const sideBySide = (kill: Killed["run"]): Killed["run"] => (kills) => inLanes(LANES, kills, kill);

/** Kinds of processes that are killed. */
export const KILLED: readonly Killed[] = [
  { name: "downloads", ofTest: 12, kills: 100, run: sideBySide(killDownloads) },
  { name: "uploads", ofTest: 12, kills: 100, run: sideBySide(killUploads) },
  { name: "writers of one directory", ofTest: 12, kills: 100, run: killWriters },
  {
    name: "downloads of a tree",
    ofTest: 4,
    kills: 30,
    run: (kills) => killTransfers(false, kills),
  },
  { name: "uploads of a tree", ofTest: 4, kills: 30, run: (kills) => killTransfers(true, kills) },
  { name: "servers of a tree", ofTest: 4, kills: 30, run: killServers },
];

/** Each file that a peer can see is whole, and what is left of others is in nobody's way. */
async function killWriters(kills: number): Promise<void> {
  await using dir = await tempDir();
  await inLanes(LANES, kills, (count) => killWritersInTurn(dir.path, count));
  assert(await checkWhole(dir.path) > 0, "nothing was written at all");
  await using serving = serve(new FilesApp(dir.path, { write: true }));
  const put = (uri: string) => serving.makeClient().request("PUT", uri, {}, new Uint8Array(5));
  assertEquals([(await put("/replaced")).status, (await put("/after")).status], [204, 201]);
}

/** The target is always the old file or the new one, and the next download completes. */
async function killDownloads(kills: number): Promise<void> {
  const size = 4_000_000;
  const there = new ServedVersion(randomBytes(size));
  // The whole takes a quarter of a second: most of the time something is on its way.
  there.beforePiece = () => new Promise((resolve) => setTimeout(resolve, 4));
  await using serving = serve(there.app);
  await using dir = await tempDir();
  const file = `${dir.path}/copy`;
  const command = transferCommand(dir.path, "download", serving.address[1], file, "/file");
  const versions = [there.content, randomBytes(size / 2)];
  let last: Uint8Array = new TextEncoder().encode("old");
  await Deno.writeFile(file, last);
  for (let kill = 0, completed = 0; kill < kills; kill++) {
    const { success, stderr } = await killAtRandom(command, 400);
    const now = await Deno.readFile(file);
    if (success) {
      completed++;
      assert(isSame(now, there.content), "it is another file");
      there.content = versions[completed % 2]!;
      there.etag = `"${completed}"`;
    } else {
      assertEquals(stderr, "");
      // It may have been killed after the rename.
      assert([last, there.content].some((version) => isSame(now, version)), "a torn file");
    }
    last = now;
  }
  there.beforePiece = () => {};
  const { sha256 } = await download(serving.makeClient(), "/file", file);
  assertEquals(sha256, there.actual());
  assert(isSame(await Deno.readFile(file), there.content));
  assertEquals(await entries(dir.path), ["copy"]);
}

/** The file is not there, or all of it, and the next upload completes. */
async function killUploads(kills: number): Promise<void> {
  const size = 16_000_000;
  await using files = await serveFiles((dir) => new FilesApp(dir, { write: true }));
  const file = `${files.here}/file`;
  const port = files.serving.address[1];
  const command = transferCommand(files.here, "upload", port, file, "/copy");
  let content = randomBytes(size);
  await Deno.writeFile(file, content);
  for (let kill = 0; kill < kills; kill++) {
    const { success, stderr } = await killAtRandom(command, 150);
    const isThere = (await visible(files.there)).length > 0;
    if (success) assert(isThere, "it has completed, and there is nothing");
    else assertEquals(stderr, "");
    if (!isThere) continue;
    assert(isSame(await Deno.readFile(`${files.there}/copy`), content), "it is another file");
    await Deno.remove(`${files.there}/copy`);
    // Other content by its first bytes alone: to make so many at random takes longer than to move them.
    content = content.slice();
    crypto.getRandomValues(content.subarray(0, 65536));
    await Deno.writeFile(file, content);
  }
  await upload(files.client, file, "/copy");
  assert(isSame(await Deno.readFile(`${files.there}/copy`), content));
  // A part whose upload was killed in its last moment may be of a version that nobody sends any more.
  assert((await partsOf(files.there)).length <= 1);
}

const WRITTEN_BYTES = 200_000;

async function killWritersInTurn(dir: string, kills: number): Promise<void> {
  const flags = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  const args = [dir, `${WRITTEN_BYTES}`];
  for (let kill = 0; kill < kills; kill++) {
    const command = programCommand("put_until_killed.ts", { flags, args });
    const { success, stderr } = await killAtRandom(command, 60);
    assert(!success && stderr === "", stderr);
    await checkWhole(dir);
  }
}

/** Checks that each file that peers can see is whole; returns how many there are. */
async function checkWhole(dir: string): Promise<number> {
  let count = 0;
  for (const name of await entries(dir)) {
    if (name === RESERVED) continue;
    const path = `${dir}/${name}`;
    if (name === "new") {
      count += await checkWhole(path);
      continue;
    }
    const bytes = await Deno.readFile(path).catch(() => null);
    // Another process has deleted it meanwhile.
    if (bytes === null) continue;
    assertEquals(bytes.length, WRITTEN_BYTES, path);
    assert(bytes.every((byte) => byte === bytes[0]), `${path} is of two versions`);
    count++;
  }
  return count;
}

/** Runs `transfer.ts` with the right to a directory. */
function transferCommand(dir: string, ...args: readonly unknown[]): Deno.Command {
  const flags = ["--allow-net=127.0.0.1", `--allow-read=${dir}`, `--allow-write=${dir}`];
  return programCommand("transfer.ts", { flags, args: args.map(String) });
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

// Trees of files.

/** When something has been moved for sure. */
const MOST_MILLISECONDS = 250;

/** Changes trees and moves them, each time disturbed, and continues. */
async function moveDisturbed(
  isUpload: boolean,
  kills: number,
  /** Moves the tree; true if it was all moved. */
  move: (trees: ChangingTrees) => Promise<boolean>,
): Promise<void> {
  await using dir = await tempDir();
  const trees = new ChangingTrees(`${dir.path}/source`, `${dir.path}/target`);
  for (let kill = 0; kill < kills; kill++) {
    trees.change();
    assertEquals(trees.problems(await move(trees)), []);
    if (kill % 5 === 4) await complete(trees, isUpload);
  }
  await complete(trees, isUpload);
  assertEquals(trees.leftParts(), []);
}

/** The directory that is served, and the one of the client. */
function endsOf({ source, target }: ChangingTrees, isUpload: boolean): [string, string] {
  return isUpload ? [target, source] : [source, target];
}

/** Kills servers, and continues with another one: half of them while they receive. */
async function killServers(kills: number): Promise<void> {
  await killServersOf(true, Math.ceil(kills / 2));
  await killServersOf(false, Math.floor(kills / 2));
}

async function killServersOf(isUpload: boolean, kills: number): Promise<void> {
  await moveDisturbed(isUpload, kills, async (trees) => {
    const [served] = endsOf(trees, isUpload);
    await using running = new RunningProcess(transferCommand(served, "serve", 0, served).spawn());
    const [, port]: [string, number] = JSON.parse(await running.printed(/.*\n/));
    const client = new Client(["127.0.0.1", port], { timeout: 10 });
    const timer = setTimeout(() => running.kill(), Math.random() * MOST_MILLISECONDS);
    const isMoved = await moveTree(client, trees, isUpload).then(() => true, () => false);
    clearTimeout(timer);
    running.kill();
    await running.ended();
    return isMoved;
  });
}

/** Kills clients. */
async function killTransfers(isUpload: boolean, kills: number): Promise<void> {
  await using servings = new AsyncDisposableStack();
  // The same server for all of them.
  let serving: Serving | null = null;
  await moveDisturbed(isUpload, kills, async (trees) => {
    const [served, local] = endsOf(trees, isUpload);
    serving ??= servings.use(serve(new FilesApp(served, { list: true, write: isUpload })));
    const task = isUpload ? "uploadTree" : "downloadTree";
    const command = transferCommand(local, task, serving.address[1], local, "/");
    const { success, stderr } = await killAtRandom(command, MOST_MILLISECONDS);
    assertEquals(stderr, "");
    // What a server has received whole it still writes.
    while (serving.server.sessions.size > 0) await new Promise((next) => setTimeout(next, 1));
    return success;
  });
}

async function moveTree(client: Client, { source, target }: ChangingTrees, isUpload: boolean) {
  return isUpload
    ? await uploadTree(client, source, "/", { delete: true })
    : await downloadTree(client, "/", target, { delete: true });
}

/** Runs the same again, undisturbed: it has to end, and then both are the same. */
async function complete(trees: ChangingTrees, isUpload: boolean): Promise<void> {
  const [served] = endsOf(trees, isUpload);
  await using serving = serve(new FilesApp(served, { list: true, write: isUpload }));
  const { failed, deletionsKept } = await moveTree(serving.makeClient(), trees, isUpload);
  assertEquals([failed, deletionsKept], [0, null]);
  assertEquals(trees.problems(true), []);
}
