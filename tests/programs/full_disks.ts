/**
 * Transfers files to small disks that are mounted below the first argument, and prints the results
 * or errors as JSON. The other arguments name the scenarios. Without `--allow-sys=statfs` the free
 * space is unknown.
 */
import { Body, type HeadersToSend } from "@degu/degu/base";
import {
  download,
  downloadTree,
  FilesApp,
  type FilesOptions,
  StatusError,
  TransferError,
  type TreeEvent,
  type TreeResult,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import type { Session } from "@degu/degu/server";
import { readFreeBytes } from "@degu/internal/files/disk/space.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { waitForFile } from "@degu/testing/directories.ts";
import { makeKeySession } from "@degu/testing/sessions.ts";
import { ServedVersion } from "../../files/tests/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeUploadHeaders } from "../../files/tests/written_directory.ts";

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;

const [base = "", ...scenarios] = Deno.args;
/** The directory of a scenario, and its disk. */
let root: string, disk: string;

const mount = (...options: string[]) =>
  runOrThrow(["mount", "-t", "tmpfs", "-o", options.join(), "tmpfs", disk]);

/** Detaches the mounted disk, which may still have open files, and mounts a new one. */
async function anew(...options: string[]): Promise<void> {
  await runOrThrow(["umount", "--lazy", disk]);
  await mount(...options);
}

const filled = (bytes: number) => new Uint8Array(bytes).fill(7);

/** Returns the sizes of the files on the disk; random parts of their names are omitted. */
function onDisk(directory = disk): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    const path = `${directory}/${name}`;
    if (isDirectory) Object.assign(found, onDisk(path));
    else {
      const random = /[0-9a-f-]{32,}$|\.[0-9a-f]{32}(?=\.degu-part$)/;
      found[path.slice(disk.length + 1).replace(random, "")] = Deno.statSync(path).size;
    }
  }
  return found;
}

/** Makes an app on the disk, and records its log. */
function makeApp() {
  const log: string[] = [];
  const logger = { warn: (text: string) => void log.push(text) };
  const app = new FilesApp(disk, { write: true, list: true, logger });
  return { app, log };
}

/** Sends a PUT of this many bytes, and returns how many of them were read. */
async function put(
  app: FilesApp,
  uri: string,
  bytes: number,
  headers: HeadersToSend = {},
  before: (sent: number) => Promise<void> = () => Promise.resolve(),
  session?: Session,
) {
  let read = 0;
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await before(read);
      const count = Math.min(65536, bytes - read);
      if (count > 0) controller.enqueue(filled(count));
      read += count;
      if (read === bytes) controller.close();
    },
  }, { highWaterMark: 0 });
  const request = mkreq("PUT", uri, headers, new Body(stream, bytes));
  const [status, , sent] = await app.handle(request, session);
  return { status, offset: sent["upload-offset"] ?? null, read };
}

async function head(app: FilesApp, uri: string, headers: HeadersToSend, session?: Session) {
  const [status, , sent] = await app.handle(mkreq("HEAD", uri, headers), session);
  return { status, offset: sent["upload-offset"] ?? null };
}

/** Makes the headers of a resumable upload; with an offset, those of its PUT. */
const announced = (bytes: number, offset?: number) => makeUploadHeaders(filled(bytes), offset);

/** Makes a function that interrupts a PUT after a number of bytes. */
const cutAfter = (bytes: number) => (sent: number) =>
  sent < bytes ? Promise.resolve() : Promise.reject(new Error("cut"));

/** Returns the properties of the error of a transfer. */
async function failureOf(transfer: Promise<unknown>) {
  const error = await transfer.catch((error) => error);
  if (!(error instanceof TransferError)) return { message: Deno.inspect(error) };
  const { kept, free, cause } = error;
  return {
    ...propertiesOf(error),
    free,
    ...cause instanceof StatusError ? { status: cause.status } : {},
    ...kept === null ? {} : { kept: { ...kept, path: kept.path.replace(disk, "DISK") } },
    message: error.message.replaceAll(disk, "DISK"),
  };
}

function propertiesOf(error: unknown) {
  const { code, at, needed } = error as TransferError;
  return { code, at, needed };
}

/**
 * Copies the files of a source to the disk, which is served, or mounted below the served `root`.
 * Returns the result, or the properties of the error that rejects, and the events of failures.
 */
async function copyToDisk(
  direction: "upload" | "download" | "mounted",
  source: string,
  appOptions: FilesOptions = {},
  over: "client" | "connection" = "client",
) {
  const served = { upload: disk, download: source, mounted: root }[direction];
  await using serving = serve(new FilesApp(served, { list: true, write: true, ...appOptions }));
  const failures: (TreeEvent & { readonly type: "failed" })[] = [];
  const onEvent = (event: TreeEvent) => {
    if (event.type === "failed") failures.push(event);
  };
  const options = { connections: 4, partial: true, onEvent };
  const client = serving.makeClient();
  using connection = over === "connection" ? await client.connect() : null;
  const uri = direction === "mounted" ? "/disk/" : "/";
  const copying = direction === "download"
    ? downloadTree(connection ?? client, uri, disk, options)
    : uploadTree(connection ?? client, source, uri, options);
  return { result: await copying.catch(propertiesOf), failures };
}

/**
 * Ways to copy trees. None uploads over a single connection, because a server closes the connection
 * after a refusal.
 */
const WAYS = [["download", "client"], ["download", "connection"], ["upload", "client"]] as const;

/** Numbers of large files, their size, and the size of the disk, in MiB. */
const SHARED_DISKS = [[4, 1.25, 3.75], [5, 2, 7.75], [4, 1.25, 2], [3, 3, 10]] as const;

const SCENARIOS: Record<string, () => Promise<unknown>> = {
  /**
   * Files that don't fit are refused before their bodies are read, also in the response to HEAD.
   */
  async refusedAtOnce() {
    const { app, log } = makeApp();
    const whole = await put(app, "/a", 4 * MEBIBYTE);
    const resumable = await put(app, "/a", 4 * MEBIBYTE, announced(4 * MEBIBYTE, 0));
    const asked = await head(app, "/a", announced(4 * MEBIBYTE));
    const fits = await head(app, "/a", announced(MEBIBYTE));
    const left = onDisk();
    const small = await put(app, "/a", MEBIBYTE);
    // The replaced file stays until the new one is complete.
    const replacing = await put(app, "/a", 1.5 * MEBIBYTE);
    return { whole, resumable, asked, fits, left, small, replacing, log };
  },

  /** A resumed upload needs space only for its remaining bytes. */
  async resumedHere() {
    const { app } = makeApp();
    const bytes = 1.5 * MEBIBYTE;
    await put(app, "/a", bytes, announced(bytes, 0), cutAfter(MEBIBYTE)).catch(() => {});
    const begun = onDisk();
    const asked = await head(app, "/a", announced(bytes));
    const other = await head(app, "/b", announced(bytes - 1), makeKeySession("1", "A"));
    // The same file from the start: its part is removed first.
    const again = await put(app, "/a", bytes, announced(bytes, 0));
    return { begun, asked, other, again, left: onDisk() };
  },

  /** The part of an interrupted upload takes the space that another upload needs. */
  async interruptedPart() {
    const mine = makeKeySession("1", "A");
    const bytes = 1.5 * MEBIBYTE;
    const results = [];
    for (const isRestarted of [false, true]) {
      await anew("size=2m");
      let { app } = makeApp();
      await put(app, "/a", bytes, announced(bytes, 0), cutAfter(MEBIBYTE), mine).catch(() => {});
      if (isRestarted) ({ app } = makeApp());
      // Not even without the part there is space for this file.
      const tooLarge = await head(app, "/b", announced(3 * MEBIBYTE), mine);
      const ofOther = await head(app, "/b", announced(bytes), makeKeySession("2", "B"));
      const kept = onDisk();
      const small = await put(app, "/small", 0.5 * MEBIBYTE, {}, undefined, mine);
      const keptBesideSmall = onDisk();
      const { status } = await put(app, "/b", 1.25 * MEBIBYTE, {}, undefined, mine);
      results.push({ tooLarge, ofOther, kept, small, keptBesideSmall, status, left: onDisk() });
    }
    return results;
  },

  /**
   * A disk that becomes full while a file is written: its part stays, and the next request resumes
   * it.
   */
  async filledUp() {
    const { app, log } = makeApp();
    const bytes = 3 * MEBIBYTE;
    // Another process uses up the space that was free at the start, if the app can query the free
    // space.
    await mount("remount", "size=4m");
    await put(app, "/a", bytes, announced(bytes, 0), cutAfter(MEBIBYTE)).catch(() => {});
    const before = onDisk();
    const fillDisk = async (sent: number) => {
      if (sent === 0) await Deno.writeFile(`${disk}/other`, filled(1.5 * MEBIBYTE));
    };
    const full = await put(app, "/a", bytes - MEBIBYTE, announced(bytes, MEBIBYTE), fillDisk);
    const kept = onDisk();
    const asked = await head(app, "/a", announced(bytes));
    await mount("remount", "size=8m");
    const { offset } = await head(app, "/a", announced(bytes));
    const position = Number(offset);
    const rest = await put(app, "/a", bytes - position, announced(bytes, position));
    return { before, full, kept, asked, offset, rest, left: onDisk(), log };
  },

  /** An endless stream fills the disk: nothing of it is kept, and the next stream fits. */
  async stream() {
    const { app, log } = makeApp();
    await mount("remount", "size=4m");
    await Deno.writeFile(`${disk}/a`, filled(1));
    await using serving = serve(app);
    let isCanceled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(filled(65536)),
      cancel: () => void (isCanceled = true),
    });
    const error = await upload(serving.makeClient(), endless, "/a").catch((error) => error);
    const kept = onDisk();
    const stream = new Blob([filled(3 * MEBIBYTE)]).stream();
    const { total } = await upload(serving.makeClient(), stream, "/a");
    const { code, at, needed } = error;
    return { code, at, needed, isCanceled, kept, total, left: onDisk(), log };
  },

  /** A file that doesn't fit is not downloaded, and its part stays unchanged. */
  async downloads() {
    const served = new ServedVersion(filled(3 * MEBIBYTE));
    await using serving = serve(served.app);
    const client = serving.makeClient();
    const none = await failureOf(download(client, "/f", `${disk}/copy`));
    const left = onDisk();
    served.cutAfterBytes = MEBIBYTE;
    await mount("remount", "size=8m");
    await download(client, "/f", `${disk}/copy`).catch(() => {});
    await mount("remount", "size=2m");
    served.cutAfterBytes = Infinity;
    const some = await failureOf(download(client, "/f", `${disk}/copy`));
    const kept = onDisk();
    // The remaining bytes fit, though the whole file wouldn't.
    await mount("remount", "size=3600k");
    const { resumedFrom, bytes } = await download(client, "/f", `${disk}/copy`);
    return { none, left, some, kept, resumedFrom, bytes };
  },

  /**
   * A disk that becomes full during a download: the received bytes stay, and the message says so.
   */
  async downloadFilledUp() {
    const served = new ServedVersion(filled(3 * MEBIBYTE));
    await using serving = serve(served.app);
    const client = serving.makeClient();
    await mount("remount", "size=4m");
    served.beforePiece = async (sent) => {
      if (sent !== MEBIBYTE) return;
      await waitForFile(disk, (name, size) => name.endsWith(".degu-part") && size === MEBIBYTE);
      await Deno.writeFile(`${disk}/other`, filled(2 * MEBIBYTE));
    };
    const full = await failureOf(download(client, "/f", `${disk}/copy`));
    served.beforePiece = () => {};
    const kept = onDisk();
    await Deno.remove(`${disk}/other`);
    const { resumedFrom, sha256 } = await download(client, "/f", `${disk}/copy`);
    return { full, kept, resumedFrom, isRight: sha256 === served.computeSha256() };
  },

  /** A file of a tree that doesn't fit fails alone, in both directions. */
  async trees() {
    const results = [];
    for (const [i, [direction, over]] of WAYS.entries()) {
      const sizes = { huge: 4 * MEBIBYTE, large: 1.25 * MEBIBYTE, small: 5, fits: 100_000 };
      await anew("size=2m");
      const source = `${root}/${i}`;
      await Deno.mkdir(source);
      for (const [name, size] of Object.entries(sizes)) {
        await Deno.writeFile(`${source}/${name}`, filled(size));
      }
      const { result, failures } = await copyToDisk(direction, source, {}, over);
      const errors = Object.fromEntries(
        failures.map(({ path, error }) => [path.join("/"), propertiesOf(error)]),
      );
      results.push({ result, errors, left: onDisk() });
    }
    return results;
  },

  /** Small files that are copied to a disk with free space, which can hold some of them. */
  async fileLimit() {
    const results = [];
    for (const direction of ["upload", "download"] as const) {
      await anew("size=2m", "nr_inodes=40");
      const source = `${root}/${direction}`;
      await Deno.mkdir(source);
      for (let index = 0; index < 60; index++) {
        await Deno.writeFile(`${source}/small${index}`, filled(5));
      }
      const { result, failures } = await copyToDisk(direction, source);
      const stored = Object.keys(onDisk()).length;
      const errors = failures.map(({ error }) => {
        const { code, needed, free, message } = error as TransferError;
        return { code, needed, free, message };
      });
      results.push({ result, errors, stored });
    }
    return results;
  },

  /** Large files that are copied at the same time to a disk with space for some of them. */
  async sharedSpace() {
    const results = [];
    const log: string[] = [];
    const logger = { warn: (text: string) => void log.push(text) };
    for (const [i, direction] of (["upload", "download", "mounted"] as const).entries()) {
      for (const [count, size, space] of SHARED_DISKS) {
        await anew(`size=${space * KIBIBYTE}k`);
        const source = `${root}/${i}-${count}`;
        await Deno.mkdir(source);
        for (let index = 0; index < count; index++) {
          await Deno.writeFile(`${source}/large${index}`, filled(size * MEBIBYTE));
          await Deno.writeFile(`${source}/small${index}`, filled(5));
        }
        const { result, failures } = await copyToDisk(direction, source, { logger });
        const { files, failed } = result as TreeResult;
        const errors = failures.map(({ error }) => (error as TransferError).code);
        const stored = Object.keys(onDisk()).filter((name) => name.startsWith("large")).length;
        const fitting = Math.min(count, Math.floor((space * MEBIBYTE - 65536) / (size * MEBIBYTE)));
        const parts = Object.entries(onDisk()).filter(([name, size]) =>
          size > 0 && name.includes(".degu")
        );
        const isFilled = log.splice(0).some((text) => !text.includes("too little space"));
        const isExact = Number.isInteger(space / size);
        const counts = { count, files, failed, stored, fitting };
        results.push({ direction, ...counts, errors, parts, isFilled, isExact });
        await Deno.remove(source, { recursive: true });
      }
    }
    return results;
  },

  /** Reusing bytes of the target needs space for a second copy. */
  async reused() {
    const bytes = 1.25 * MEBIBYTE;
    const whole = new Uint8Array(bytes + 5);
    whole.set(filled(bytes));
    const results = [];
    for (const [i, direction] of (["upload", "download"] as const).entries()) {
      await anew("size=2m");
      const there = `${root}/there${i}`;
      await Deno.mkdir(there);
      await Deno.writeFile(`${disk}/log`, filled(bytes));
      await Deno.writeFile(`${there}/log`, whole);
      await Deno.utime(`${disk}/log`, 1, 1);
      const served = direction === "upload" ? disk : there;
      await using serving = serve(new FilesApp(served, { write: true, reuse: true }));
      const client = serving.makeClient();
      const copy = () => {
        return direction === "upload"
          ? upload(client, `${there}/log`, "/log")
          : download(client, "/log", `${disk}/log`);
      };
      const failure = await failureOf(copy());
      const left = onDisk();
      await mount("remount", "size=4m");
      const copied = await copy();
      results.push({ failure, left, moved: [copied.bytes, copied.reused], now: onDisk() });
    }
    return results;
  },

  /** A file system that doesn't report its space doesn't count as full. */
  async withoutFigures() {
    await anew("size=0");
    const free = readFreeBytes(disk);
    const { app } = makeApp();
    const { status } = await put(app, "/a", 3 * MEBIBYTE);
    const served = new ServedVersion(filled(MEBIBYTE));
    await using serving = serve(served.app);
    const { bytes } = await download(serving.makeClient(), "/f", `${disk}/copy`);
    return { free, status, bytes };
  },

  /** Blocks that are reserved for root, half of 8 MiB, don't count as free. */
  async reserved() {
    await runOrThrow(["umount", "--lazy", disk]);
    await runOrThrow(["mount", "-o", "loop", `${base}/image`, disk]);
    return { free: readFreeBytes(disk) };
  },
};

const results: Record<string, { found?: unknown; error?: string }> = {};
for (const name of scenarios) {
  root = `${base}/${name}`;
  disk = `${root}/disk`;
  await Deno.mkdir(disk, { recursive: true });
  await mount("size=2m");
  try {
    results[name] = { found: await SCENARIOS[name]!() };
  } catch (error) {
    results[name] = { error: Deno.inspect(error) };
  } finally {
    await runOrThrow(["umount", "--lazy", disk]);
  }
}
console.log(JSON.stringify(results));
