/**
 * Writes to a served directory with file systems that are mounted below it, and prints the results
 * or errors of the scenarios as JSON. The first argument is the directory of all scenarios; the
 * others name the scenarios.
 */
import { BodyIter, type HeadersToSend } from "@degu/degu/base";
import type { Client } from "@degu/degu/client";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  type FilesOptions,
  listDirectory,
  makeDirectory,
  TransferError,
  type TreeEvent,
  upload,
  uploadTree,
  type UploadTreeOptions,
} from "@degu/degu/files";
import { PUT_RESPONSE } from "@degu/internal/files/wire/bundle.ts";
import { makeBundle, readRecords } from "../../files/tests/bundles.ts";
import { runOrThrow } from "@degu/testing/commands.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { makeUploadHeaders } from "../../files/tests/written_directory.ts";

const MEBIBYTE = 1024 * 1024;

const [base = "", ...scenarios] = Deno.args;
/** The served directory of a scenario, and a directory beside it. */
let root: string, local: string;
const mountedPaths: string[] = [];

/** Mounts a RAM disk at a directory below the root, which is created. */
async function mountRam(path: string, ...options: string[]): Promise<void> {
  await mount(path, ["-t", "tmpfs", "-o", ["mode=755", ...options].join(), "tmpfs"]);
}

async function mount(path: string, args: readonly string[]): Promise<void> {
  await Deno.mkdir(`${root}/${path}`, { recursive: true });
  await runOrThrow(["mount", ...args, `${root}/${path}`]);
  mountedPaths.push(`${root}/${path}`);
}

const filled = (bytes: number, value = 7) => new Uint8Array(bytes).fill(value);

/** Returns the sizes of the files below a directory; random parts of names are omitted. */
function sizesIn(directory = root, prefix = directory.length + 1): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    const path = `${directory}/${name}`;
    const text = path.slice(prefix).replace(/-[0-9a-f-]{32,}$|\.[0-9a-f]{32}(?=\.degu-part$)/, "");
    if (isDirectory) Object.assign(sizes, sizesIn(path, prefix));
    else sizes[text] = Deno.statSync(path).size;
  }
  return sizes;
}

/** Reports whether a part below a directory has this size. */
function hasPart(size: number, directory = root): boolean {
  return [...Deno.readDirSync(directory)].some(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return hasPart(size, path);
    return name.startsWith("part-") && Deno.statSync(path).size === size;
  });
}

/** Returns the paths of the reserved directories below the root, and their permission bits. */
function reservedDirectories(directory = root): string[] {
  return [...Deno.readDirSync(directory)].flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (!isDirectory) return [];
    if (name !== ".degu-files") return reservedDirectories(path);
    return [`${path.slice(root.length + 1)} ${(Deno.statSync(path).mode! & 0o777).toString(8)}`];
  }).toSorted();
}

/** Serves the root, and returns functions that send requests. */
function serveRoot(options: FilesOptions = {}) {
  const logger = new RecordingLogger();
  const app = new FilesApp(root, { list: true, write: true, reuse: true, logger, ...options });
  const serving = serve(app);
  const client: Client = serving.makeClient();
  const request = async (
    method: "PUT" | "HEAD" | "GET" | "DELETE",
    uri: string,
    headers: HeadersToSend = {},
    body: number | Uint8Array | null = null,
  ) => {
    const bytes = typeof body === "number" ? filled(body) : body;
    const response = await client.request(method, uri, headers, bytes);
    await response.discard();
    const { status, headers: { "refusal-reason": reason, "disk-free": free } } = response;
    return { status, reason, free: free === undefined ? undefined : Number(free) };
  };
  return {
    ...{ client, request, logger },
    statusOf: async (...args: Parameters<typeof request>) => (await request(...args)).status,
    async offsetOf(uri: string, bytes: number) {
      const response = await client.request("HEAD", uri, announce(bytes));
      return Number(response.headers["upload-offset"]);
    },
    /** Sends the beginning of a resumable upload, and cuts the connection. */
    async begin(uri: string, bytes: number, sent: number) {
      const body = new BodyIter(
        (async function* () {
          yield filled(sent);
          // The server must have received the bytes before the connection is closed.
          while (!hasPart(sent)) await new Promise((resolve) => setTimeout(resolve, 1));
          throw new Error("cut");
        })(),
        bytes,
      );
      await client.request("PUT", uri, announce(bytes, 0), body).catch(() => {});
    },
    [Symbol.asyncDispose]: () => serving[Symbol.asyncDispose](),
  };
}

/** Makes the headers of a resumable upload; with an offset, the headers of its PUT. */
const announce = (bytes: number, offset?: number) => makeUploadHeaders(filled(bytes), offset);

/** Writes files of these sizes below a directory. */
async function fill(directory: string, sizes: Readonly<Record<string, number>>): Promise<void> {
  for (const [name, size] of Object.entries(sizes)) {
    const path = `${directory}/${name}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(path, filled(size, name.length));
  }
}

function describe(error: unknown) {
  if (!(error instanceof TransferError)) return { name: `${error}` };
  return { code: error.code, at: error.at };
}

/** Copies a tree, and returns its result, the errors of its files, and the target. */
async function copyTree(
  direction: "upload" | "download",
  client: Client,
  options: UploadTreeOptions = {},
) {
  const errors: Record<string, unknown> = {};
  const onEvent = (event: TreeEvent) => {
    if (event.type === "failed") errors[event.path.join("/")] = describe(event.error);
  };
  const treeOptions = { partial: true, ...options, onEvent };
  const copying = direction === "upload"
    ? uploadTree(client, local, "/", treeOptions)
    : downloadTree(client, "/", root, treeOptions);
  const result = await copying.then(
    ({ files, unchanged, deleted, failed }) => ({ files, unchanged, deleted, failed }),
    describe,
  );
  return { result, errors };
}

const SCENARIOS: Record<string, () => Promise<unknown>> = {
  /** Each way to write, on disks that are one and two levels deep. */
  async written() {
    await mountRam("disk");
    await mountRam("disk/sub/inner");
    await using served = serveRoot();
    const statuses: number[] = [];
    for (const directory of ["", "/disk", "/disk/sub", "/disk/sub/inner", "/disk/sub/inner/new"]) {
      statuses.push(
        await served.statusOf("PUT", `${directory}/whole`, {}, 5),
        await served.statusOf("PUT", `${directory}/resumable`, announce(6, 0), 6),
        await served.statusOf("PUT", `${directory}/dir/`),
        await served.statusOf("PUT", `${directory}/whole`, {}, 7),
      );
    }
    const bundle = makeBundle([["b", "1"], ["disk/b", "2"], ["disk/sub/inner/deep/b", "3"]]);
    const response = await served.client.request("POST", "/?bundle=put", {}, bundle);
    const records = await readRecords(PUT_RESPONSE, response);
    const reserved = reservedDirectories();
    const deleted = await served.statusOf("DELETE", "/disk/sub/inner/whole");
    const mountPoint = await served.statusOf("DELETE", "/disk/sub/inner");
    return {
      statuses,
      records: records.map(({ record }) => record),
      ...{ reserved, deleted, mountPoint, sizes: sizesIn() },
    };
  },

  /** An interrupted upload is resumed from its part on the other disk. */
  async resumed() {
    await mountRam("disk");
    await using served = serveRoot();
    await served.begin("/disk/new/a", 100_000, 60_000);
    const begun = sizesIn();
    const offset = await served.offsetOf("/disk/new/a", 100_000);
    const otherOffset = await served.offsetOf("/a", 100_000);
    const rest = announce(100_000, offset);
    const status = await served.statusOf("PUT", "/disk/new/a", rest, 100_000 - offset);
    return { begun, offset, otherOffset, status, sizes: sizesIn() };
  },

  /** An app that only adds files, on the other disk. */
  async added() {
    await mountRam("disk");
    await using served = serveRoot({ write: "add" });
    const first = await served.statusOf("PUT", "/disk/a", {}, 5);
    const again = await served.statusOf("PUT", "/disk/a", announce(5, 5));
    const other = await served.statusOf("PUT", "/disk/a", {}, 6);
    return { statuses: [first, again, other], sizes: sizesIn() };
  },

  /** A file that replaces a directory, and a directory that replaces a file, on the other disk. */
  async replaced() {
    await mountRam("disk");
    await fill(root, { "disk/a/old": 5, "disk/b": 6, "disk/c/old": 100_000 });
    await fill(local, { "disk/a": 70_000, "disk/b/new": 80_000, "disk/c": 100_000 });
    await using served = serveRoot();
    const { result: first } = await copyTree("upload", served.client, { delete: true });
    const { result, errors } = await copyTree("upload", served.client, { delete: true });
    return { first, result, errors, sizes: sizesIn(), reserved: reservedDirectories() };
  },

  /** Peers can neither see nor change the reserved directory of the other disk. */
  async hidden() {
    await mountRam("disk");
    await mountRam("disk/inner");
    await using served = serveRoot();
    await served.begin("/disk/inner/a", 1000, 500);
    const [[part]] = Object.entries(sizesIn()) as [[string, number]];
    const name = [...Deno.readDirSync(`${root}/disk/inner/.degu-files`)][0]!.name;
    const statuses: number[] = [];
    for (const uri of ["/disk/inner/.degu-files", "/disk/inner/.DEGU-FILES"]) {
      for (const path of [uri, `${uri}/`, `${uri}/${name}`, `${uri}/new`]) {
        statuses.push(
          await served.statusOf("GET", path),
          await served.statusOf("PUT", path, {}, path.endsWith("/") ? null : 5),
          await served.statusOf("DELETE", path),
        );
      }
    }
    const lists = await Promise.all(
      ["/", "/disk/", "/disk/inner/"].map(async (uri) =>
        (await Array.fromAsync(listDirectory(served.client, uri))).map((entry) => entry.name)
      ),
    );
    const tree = await (await served.client.request("GET", "/?tree")).text();
    return { part, statuses, lists, isInTree: tree.includes("degu-files"), sizes: sizesIn() };
  },

  /** Old leftovers on the other disk are removed when a file is stored on it. */
  async swept() {
    await mountRam("disk");
    const reserved = `${root}/disk/.degu-files`;
    await Deno.mkdir(reserved);
    const names = ["put-" + "0".repeat(32), "put-" + "1".repeat(32), "notes"];
    for (const [i, name] of names.entries()) {
      await Deno.writeFile(`${reserved}/${name}`, filled(5));
      const time = Date.now() / 1000 - (i === 1 ? 23 : 25) * 3600;
      await Deno.utime(`${reserved}/${name}`, time, time);
    }
    await using served = serveRoot();
    await served.statusOf("PUT", "/a", {}, 5);
    const before = [...Deno.readDirSync(reserved)].map(({ name }) => name.slice(0, 6)).toSorted();
    await served.statusOf("PUT", "/disk/a", {}, 5);
    const after = [...Deno.readDirSync(reserved)].map(({ name }) => name.slice(0, 6)).toSorted();
    return { before, after };
  },

  /** The free space that counts is that of the file's disk. */
  async full() {
    await mountRam("small", "size=1m");
    await mountRam("large", "size=8m");
    await using served = serveRoot();
    const tooLarge = await served.request("PUT", "/small/a", {}, 2 * MEBIBYTE);
    const announced = await served.request("HEAD", "/small/a", announce(2 * MEBIBYTE));
    const fits = await served.request("PUT", "/large/a", {}, 2 * MEBIBYTE);
    await Deno.writeFile(`${root}/small/filler`, filled(MEBIBYTE)).catch(() => {});
    const bundle = makeBundle([["small/b", "1"], ["large/b", "2"], ["b", "3"]]);
    const response = await served.client.request("POST", "/?bundle=put", {}, bundle);
    const records = await readRecords(PUT_RESPONSE, response);
    return { tooLarge, announced, fits, records: records.map(({ record }) => record) };
  },

  /** A root that is full doesn't stop uploads to another disk. */
  async rootFull() {
    await runOrThrow(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root]);
    mountedPaths.push(root);
    await mountRam("disk", "size=8m");
    await Deno.writeFile(`${root}/filler`, filled(MEBIBYTE)).catch(() => {});
    await using served = serveRoot();
    const refused = await served.request("PUT", "/a", {}, 5);
    const written = await served.request("PUT", "/disk/a", {}, MEBIBYTE);
    return { refused, written, reserved: reservedDirectories() };
  },

  /** Disks on which no unfinished file can be stored, or that it can't be renamed to. */
  async refused() {
    await mountRam("readonly", "ro");
    await Deno.mkdir(`${root}/plain`);
    await mount("bound", ["--bind", `${root}/plain`]);
    await mountRam("disk");
    await mount("disk/bound", ["--bind", `${root}/plain`]);
    await mountRam("occupied");
    await Deno.writeTextFile(`${root}/occupied/.degu-files`, "");
    await using served = serveRoot();
    const responses: Record<string, unknown> = {};
    for (const directory of ["readonly", "bound", "disk/bound", "occupied", "plain"]) {
      const whole = await served.request("PUT", `/${directory}/a`, {}, 5);
      const resumable = await served.request("PUT", `/${directory}/b`, announce(6, 0), 6);
      const bundle = makeBundle([[`${directory}/c`, "1"]]);
      const response = await served.client.request("POST", "/?bundle=put", {}, bundle);
      const [record] = await readRecords(PUT_RESPONSE, response);
      responses[directory] = [whole, resumable, record!.record];
    }
    await fill(local, { readonly: 5, large: 70_000 });
    const codes = [];
    for (const name of ["readonly", "large"]) {
      const error = await upload(served.client, `${local}/${name}`, ["readonly", name])
        .catch((error) => error);
      codes.push(describe(error));
    }
    return { responses, codes, sizes: sizesIn(), log: served.logger.messagesOf("warn") };
  },

  /** A directory of the same device, to which no file can be renamed from the root. */
  async bound() {
    await Deno.mkdir(`${root}/plain`);
    await fill(root, { "plain/old": 3 });
    await mount("bound", ["--bind", `${root}/plain`]);
    await using served = serveRoot();
    const put = (uri: string, headers: HeadersToSend, bytes: number) =>
      served.statusOf("PUT", uri, headers, bytes);
    const modified = { "upload-modified": "1999-12-31T00:00:00.000Z" };
    const statuses = [
      await put("/bound/whole", { "file-mode": "0600", ...modified }, 5),
      await put("/bound/old", {}, 6),
      await put("/bound/new/resumable", announce(300_000, 0), 300_000),
    ];
    const bundle = makeBundle([["bound/a", "1"], ["bound/deep/er/b", "22"]]);
    const response = await served.client.request("POST", "/?bundle=put", {}, bundle);
    const records = (await readRecords(PUT_RESPONSE, response)).map(({ record }) => record);
    const { mode, mtime } = await Deno.stat(`${root}/plain/whole`);
    // Later files are written beside their targets, and can be resumed there.
    await served.begin("/bound/new/large", 100_000, 60_000);
    const parts = Object.keys(sizesIn()).filter((path) => /^bound.*\/part$/.test(path));
    const offset = await served.offsetOf("/bound/new/large", 100_000);
    statuses.push(await put("/bound/new/large", announce(100_000, offset), 100_000 - offset));
    // A file replaces a directory, whose name it gets by the next call.
    await fill(root, { "plain/k/kind/inside": 1 });
    await fill(local, { kind: 70_000 });
    const options = { delete: true, partial: true };
    await uploadTree(served.client, local, "/bound/k/", options);
    const { complete } = await uploadTree(served.client, local, "/bound/k/", options);
    return {
      ...{ statuses, records, parts, offset, complete, sizes: sizesIn(`${root}/plain`) },
      ...{
        mode: mode! & 0o777,
        modified: mtime!.toISOString(),
        root: sizesIn(`${root}/.degu-files`),
      },
      log: served.logger.messagesOf("warn"),
    };
  },

  /** Files of a tree are deleted on other disks; a mount point stays. */
  async deleted() {
    await mountRam("disk");
    await mountRam("disk/inner");
    await fill(root, { "disk/a": 5, "disk/inner/b": 6, "disk/inner/sub/c": 7, d: 8 });
    await fill(local, { "disk/inner/b": 6, e: 9 });
    await using served = serveRoot();
    const first = await copyTree("upload", served.client, { delete: true, compare: "digest" });
    await Deno.remove(`${local}/disk`, { recursive: true });
    const second = await copyTree("upload", served.client, { delete: true, compare: "digest" });
    const isMade = await makeDirectory(served.client, ["disk", "inner", "x", ""]);
    await deleteEntry(served.client, ["disk", "inner", "x", ""]);
    return { first, second, isMade, sizes: sizesIn(), reserved: reservedDirectories() };
  },

  /** Mount points, of a directory and of a file, that would be deleted or replaced. */
  async mountPoints() {
    await mountRam("disk");
    await fill(root, { file: 5 });
    await fill(local, { bound: 6 });
    await runOrThrow(["mount", "--bind", `${local}/bound`, `${root}/file`]);
    mountedPaths.push(`${root}/file`);
    await using served = serveRoot();
    const { client } = served;
    const codeOf = (result: Promise<unknown>) => result.then(() => null, (error) => error.code);
    const source = `${base}/mountPoints/source`;
    await fill(source, { file: 7 });
    await using localServing = serve(new FilesApp(source, { list: true }));
    const localClient = localServing.makeClient();
    const options = { replace: true, delete: true } as const;
    const codes = [
      await codeOf(deleteEntry(client, ["disk", ""])),
      await codeOf(deleteEntry(client, ["file"])),
      await codeOf(upload(client, `${source}/file`, "/file", { replace: true })),
      await codeOf(download(localClient, "/file", `${root}/file`, { replace: true })),
    ];
    const trees = [await copyTree("download", localClient, options)];
    await fill(local, { file: 8 });
    trees.push(await copyTree("upload", client, options));
    await Deno.remove(`${local}/file`);
    trees.push(await copyTree("upload", client, options));
    return { codes, trees, sizes: sizesIn() };
  },
};

const results: Record<string, { found?: unknown; error?: string }> = {};
for (const name of scenarios) {
  root = `${base}/${name}/root`;
  local = `${base}/${name}/local`;
  await Deno.mkdir(root, { recursive: true });
  await Deno.mkdir(local);
  try {
    results[name] = { found: await SCENARIOS[name]!() };
  } catch (error) {
    results[name] = { error: Deno.inspect(error) };
  } finally {
    while (mountedPaths.length > 0) await runOrThrow(["umount", "--lazy", mountedPaths.pop()!]);
  }
}
console.log(JSON.stringify(results));
