/**
 * Kills processes at random moments while they copy, write or serve files and trees. Each remaining
 * file must be complete, and no file may be lost.
 */
import { Client } from "@degu/degu/client";
import {
  download,
  downloadTree,
  FilesApp,
  TransferError,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { createTempDir, listNames, readTree } from "@degu/testing/directories.ts";
import {
  importMapFlags,
  killAtRandom,
  makeProgramCommand,
  RunningProcess,
  runProgram,
} from "@degu/testing/processes.ts";
import { findMountObstacle, THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { ServedVersion } from "../../files/tests/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { listParts, listVisible, randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { ChangingTrees } from "../../files/tests/trees/changing.ts";
import { cutCopies } from "./cuts.ts";
import { killPeerWriters } from "./killed_peer_writers.ts";

/** The number of simultaneous processes: while one starts, another works. */
const LOOP_COUNT = 4;

interface Killed {
  readonly name: string;
  /** The number of kills in a test, and in `deno task crash`. */
  readonly ofTest: number;
  readonly kills: number;
  /** Why the processes can't run on this machine. */
  readonly obstacle?: string | null;
  /** Kills processes; rejects if the files on the disk are wrong afterwards. */
  readonly run: (kills: number) => Promise<void>;
}

/**
 * Kinds of processes to kill. Each does several things at the same time, so that a kill interrupts
 * all of them.
 */
export const KILLED: readonly Killed[] = [
  { name: "writers of a device's peers", ofTest: 10, kills: 200, run: killPeerWriters },
  { name: "downloads, uploads and writers", ofTest: 4, kills: 100, run: killFiles },
  { name: "uploads of streams, and their servers,", ofTest: 8, kills: 100, run: killStreams },
  { name: "downloads and uploads of trees", ofTest: 2, kills: 30, run: killTrees },
  { name: "moves of trees", ofTest: 2, kills: 30, run: killMoves },
  { name: "servers of a tree", ofTest: 2, kills: 30, run: killServers },
  {
    name: "servers of a tree on a mounted disk",
    ofTest: 2,
    kills: 30,
    obstacle: await findMountObstacle(),
    run: killMountedServers,
  },
  {
    name: "copies of trees onto older ones",
    ofTest: 12,
    kills: 60,
    run: cutCopies,
  },
];

/** The work of a process until it is killed. */
interface Work {
  /** The directory that the process needs permissions for. */
  readonly dir: string;
  /** The arguments for `transfer.ts`. */
  readonly args: readonly [task: string, ...unknown[]];
  /** Checks the disk, and prepares the next kill. */
  check(isDone: boolean): Promise<void>;
  /** Completes the work without a kill. */
  complete(): Promise<void>;
}

/**
 * The time in which a process is killed. The whole download takes a tenth of a second, so most kills
 * interrupt a transfer. After this time at least one file of a tree has been transferred.
 */
const KILL_MILLISECONDS = 250;

/** Kills processes that each do all of this work, one process after the other. */
async function killSequentially(works: readonly Work[], kills: number): Promise<void> {
  const command = transferCommand(works.map(({ dir }) => dir), works.flatMap(({ args }) => args));
  for (let kill = 0; kill < kills; kill++) {
    const { stdout, stderr } = await killAtRandom(command, KILL_MILLISECONDS, [kill, kills]);
    assertEquals(stderr, "");
    for (const { args: [task], check } of works) await check(stdout.includes(`${task}: done`));
  }
  for (const { complete } of works) await complete();
}

/** Makes a command that runs `transfer.ts` with permissions for these directories. */
function transferCommand(dirs: readonly string[], args: readonly unknown[]): Deno.Command {
  const flags = ["--allow-net=127.0.0.1", `--allow-read=${dirs}`, `--allow-write=${dirs}`];
  return makeProgramCommand("transfer.ts", { flags, args: args.map(String) });
}

/**
 * Starts a server of a directory, and kills it while a client copies. Resolves to whether the copy
 * was complete before.
 */
async function killServer(dir: string, copy: (client: Client) => Promise<unknown>) {
  await using running = new RunningProcess(transferCommand([dir], ["serve", 0, dir]).spawn());
  const [, port]: [string, number] = JSON.parse(await running.waitForStdout(/.*\n/));
  const client = new Client(["127.0.0.1", port], { timeout: 60 });
  const timer = setTimeout(() => running.kill(), Math.random() * KILL_MILLISECONDS);
  const isDone = await copy(client).then(() => true, () => false);
  clearTimeout(timer);
  running.kill();
  await running.waitForEnd();
  return isDone;
}

// Files.

const DOWNLOAD_BYTES = 1_600_000, PIECE_MILLISECONDS = 4;
const UPLOAD_BYTES = 4_000_000;
const WRITTEN_BYTES = 200_000;

async function killFiles(kills: number): Promise<void> {
  await using dir = await createTempDir();
  const shares = Array.from({ length: LOOP_COUNT }, (_, i) => Math.floor((kills + i) / LOOP_COUNT));
  await Promise.all(shares.map(async (count) => {
    await using open = new AsyncDisposableStack();
    const works = [await startDownload(open), await startUpload(open), makeWriter(dir.path)];
    await killSequentially(works, count);
  }));
  assert(await checkWhole(dir.path) > 0, "no file was written");
  await using serving = serve(new FilesApp(dir.path, { write: true }));
  const sendPut = (uri: string) => serving.makeClient().request("PUT", uri, {}, new Uint8Array(5));
  assertEquals([(await sendPut("/replaced")).status, (await sendPut("/after")).status], [204, 201]);
}

/** After each kill, the target is the old or the new file, and the next download completes. */
async function startDownload(open: AsyncDisposableStack): Promise<Work> {
  const served = new ServedVersion(randomBytes(DOWNLOAD_BYTES));
  served.beforePiece = () => new Promise((resolve) => setTimeout(resolve, PIECE_MILLISECONDS));
  const { path: dir } = open.use(await createTempDir());
  const serving = open.use(serve(served.app));
  const file = `${dir}/copy`;
  const versions = [served.content, randomBytes(DOWNLOAD_BYTES / 2)];
  let last: Uint8Array = new TextEncoder().encode("old");
  let completed = 0;
  await Deno.writeFile(file, last);
  return {
    dir,
    args: ["download", serving.address[1], file, "/file"],
    async check(isDone) {
      const now = await Deno.readFile(file);
      if (isDone) {
        assert(isSame(now, served.content), "a different file");
        served.content = versions[++completed % 2]!;
        served.etag = `"${completed}"`;
      } else {
        // The process may have been killed after the rename.
        assert(
          [last, served.content].some((version) => isSame(now, version)),
          "a mix of two versions",
        );
      }
      last = now;
    },
    async complete() {
      served.beforePiece = () => {};
      const { sha256 } = await download(serving.makeClient(), "/file", file);
      assertEquals(sha256, served.computeSha256());
      assert(isSame(await Deno.readFile(file), served.content));
      assertEquals(await listNames(dir), ["copy"]);
    },
  };
}

/** After each kill, the file is missing or complete, and the next upload completes. */
async function startUpload(
  open: AsyncDisposableStack,
  task: "upload" | "uploadStream" = "upload",
): Promise<Work> {
  const files = open.use(await serveFiles((dir) => new FilesApp(dir, { write: true })));
  const [file, copy] = [`${files.clientDir}/file`, `${files.serverDir}/copy`];
  let content = randomBytes(UPLOAD_BYTES);
  await Deno.writeFile(file, content);
  return {
    dir: files.clientDir,
    args: [task, files.serving.address[1], file, "/copy"],
    async check(isDone) {
      const hasFile = (await listVisible(files.serverDir)).length > 0;
      if (isDone) assert(hasFile, "the upload completed, but the file is missing");
      if (!hasFile) return;
      assert(isSame(await Deno.readFile(copy), content), "a different file");
      await Deno.remove(copy);
      // Only the first bytes differ, because random content takes longer than the transfer.
      content = content.slice();
      crypto.getRandomValues(content.subarray(0, 65536));
      await Deno.writeFile(file, content);
    },
    async complete() {
      await upload(files.client, file, "/copy");
      assert(isSame(await Deno.readFile(copy), content));
      // The part of an upload that was killed at its end may belong to an outdated version.
      assert((await listParts(files.serverDir)).length <= 1);
    },
  };
}

/**
 * Asserts that each file that peers can see is complete, and that leftovers don't block later
 * transfers.
 */
function makeWriter(dir: string): Work {
  return {
    dir,
    args: ["write", 0, dir, WRITTEN_BYTES],
    check: async () => void await checkWhole(dir),
    complete: async () => {},
  };
}

/** Checks that each file that peers can see is complete; returns the number of files. */
async function checkWhole(dir: string): Promise<number> {
  let count = 0;
  for (const name of await listNames(dir)) {
    if (name === RESERVED_DIRECTORY_NAME) continue;
    const path = `${dir}/${name}`;
    if (name === "new") {
      count += await checkWhole(path);
      continue;
    }
    const bytes = await Deno.readFile(path).catch(() => null);
    // Another process has deleted the file.
    if (bytes === null) continue;
    assertEquals(bytes.length, WRITTEN_BYTES, path);
    assert(bytes.every((byte) => byte === bytes[0]), `${path} is of two versions`);
    count++;
  }
  return count;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Kills clients that upload a stream, and servers that receive one. */
async function killStreams(kills: number): Promise<void> {
  await using open = new AsyncDisposableStack();
  const work = await startUpload(open, "uploadStream");
  await killSequentially([work], Math.ceil(kills / 2));
  const { path: dir } = open.use(await createTempDir());
  for (let kill = 0; kill < Math.floor(kills / 2); kill++) {
    const content = randomBytes(UPLOAD_BYTES);
    const stream = new Blob([content]).stream();
    const isDone = await killServer(dir, (client) => upload(client, stream, "/copy"));
    const names = await listVisible(dir);
    assert(!isDone || names.length === 1, "the upload completed, but the file is missing");
    if (names.length === 0) continue;
    assert(isSame(await Deno.readFile(`${dir}/copy`), content), "a different file");
    await Deno.remove(`${dir}/copy`);
  }
  // The next server removes the leftovers after a day.
  using _clock = setClockAhead(25 * 60 * 60 * 1000);
  new FilesApp(dir, { write: true });
  assertEquals(await listParts(dir), []);
}

// Trees of files.

/** Kills clients, each of which downloads one tree and uploads another. */
async function killTrees(kills: number): Promise<void> {
  await using open = new AsyncDisposableStack();
  const works = [await startTree(open, false), await startTree(open, true)];
  await killSequentially(works, kills);
}

async function startTree(open: AsyncDisposableStack, isUpload: boolean): Promise<Work> {
  const { trees, served, local, check, complete } = await makeTrees(open, isUpload);
  const options = { list: true, write: isUpload, reuse: true };
  const serving = open.use(serve(new FilesApp(served, options)));
  return {
    dir: local,
    args: [isUpload ? "uploadTree" : "downloadTree", serving.address[1], local, "/"],
    async check(isDone) {
      // The server still writes files that it has received completely.
      while (serving.server.sessions.size > 0) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await check(isDone);
      trees.change();
    },
    complete,
  };
}

/** The number of files that are moved before the outbox is filled again. */
const OUTBOX_FILES = 600, OUTBOX_LARGE = 4, OUTBOX_LARGE_BYTES = 500_000;

/** Kills clients that empty an outbox: each file is complete, at the source or at the target. */
async function killMoves(kills: number): Promise<void> {
  await using open = new AsyncDisposableStack();
  const app = (dir: string) => new FilesApp(dir, { list: true, write: true, reuse: true });
  const { clientDir, serverDir, serving, client } = open.use(await serveFiles(app));
  const texts = new Map<string, string>();
  const fill = () => {
    for (let i = 0; i < OUTBOX_FILES; i++) {
      const [name, text] = [`${texts.size}`, `${texts.size} `];
      const times = i < OUTBOX_LARGE ? OUTBOX_LARGE_BYTES / text.length : 1;
      texts.set(name, text.repeat(times));
      Deno.writeTextFileSync(`${clientDir}/${name}`, texts.get(name)!);
    }
  };
  const check = async (isDone: boolean) => {
    // The server still writes files that it has received completely.
    while (serving.server.sessions.size > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const [ours, theirs] = [await readTree(clientDir), await readTree(serverDir)];
    for (const [name, text] of texts) {
      const contents = [ours[name], theirs[name]].filter((each) => each !== undefined);
      assert(contents.length > 0, `${name} is lost`);
      assert(contents.every((each) => each === text), `${name} is torn`);
    }
    const unmoved = Object.keys(ours).filter((name) => texts.has(name));
    if (isDone) assertEquals(unmoved, []);
    if (unmoved.length === 0) fill();
  };
  const complete = async () => {
    using _clock = setClockAhead(70_000);
    await uploadTree(client, clientDir, [], { move: true });
    assertEquals(await listNames(clientDir), []);
    await check(false);
  };
  fill();
  const args = ["moveTree", serving.address[1], clientDir, "/"] as const;
  await killSequentially([{ dir: clientDir, args, check, complete }], kills);
}

/** Kills servers, half of them while they receive, and continues with another server. */
async function killServers(kills: number): Promise<void> {
  await killServersOf(true, Math.ceil(kills / 2));
  await killServersOf(false, Math.floor(kills / 2));
}

/** Does the same on a disk that is mounted below the served directory. */
async function killMountedServers(kills: number): Promise<void> {
  await using dir = await createTempDir();
  const run = `--allow-run=mount,umount,${Deno.execPath()}`;
  const flags = ["--allow-net=127.0.0.1", "--allow-read", `--allow-write=/tmp`, run, "--allow-env"];
  const args = [dir.path, `${kills}`];
  const through = THROUGH_MOUNT_NAMESPACE;
  await runProgram("mounted_kills.ts", { flags: [...flags, ...importMapFlags()], args, through });
}

/**
 * Kills servers while they receive a tree, or send one.
 *
 * @param location The directory of the target below the served directory, if it is not this
 * directory.
 */
export async function killServersOf(
  isUpload: boolean,
  kills: number,
  location?: { readonly root: string; readonly path: string },
): Promise<void> {
  await using open = new AsyncDisposableStack();
  const { trees, served, move, check, complete } = await makeTrees(open, isUpload, location);
  for (let kill = 0; kill < kills; kill++) {
    await check(await killServer(served, move));
    trees.change();
  }
  await complete();
}

/** Makes a tree that has changed, and its copy; one of them is served. */
async function makeTrees(
  open: AsyncDisposableStack,
  isUpload: boolean,
  location?: { readonly root: string; readonly path: string },
) {
  const { path } = open.use(await createTempDir());
  const target = location === undefined ? `${path}/target` : `${location.root}/${location.path}`;
  const trees = new ChangingTrees(`${path}/source`, target);
  trees.change();
  const [served, local] = isUpload
    ? [location?.root ?? trees.target, trees.source]
    : [trees.source, trees.target];
  const uri = location === undefined ? "/" : `/${location.path}/`;
  // Without a listener, the expected errors of the first call would be logged.
  const options = { delete: true, onEvent: () => {} };
  const move = async (client: Client) =>
    isUpload
      ? await uploadTree(client, local, uri, options)
      : await downloadTree(client, "/", local, options);
  /** Copies the rest without a kill. The call must end, and both trees must be equal. */
  const moveRest = async () => {
    const appOptions = { list: true, write: isUpload, reuse: true };
    await using serving = serve(new FilesApp(served, appOptions));
    const client = serving.makeClient();
    // The first call may delete entries in the way of others, which the second one copies.
    await move(client).catch((error) => {
      if (!(error instanceof TransferError && error.code === "INCOMPLETE")) throw error;
    });
    const { failed, deletionsSkipped } = await move(client);
    assertEquals([failed, deletionsSkipped], [0, null]);
    assertEquals(trees.problems(true), []);
  };
  let checks = 0;
  return {
    ...{ trees, served, local, move },
    async check(isMoved: boolean) {
      assertEquals(trees.problems(isMoved), []);
      if (++checks % 5 === 0) await moveRest();
    },
    async complete() {
      await moveRest();
      assertEquals(trees.leftParts(), []);
    },
  };
}
