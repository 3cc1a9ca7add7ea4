/**
 * Transfers files and trees, writes files, or serves a directory, several tasks at the same time
 * with four arguments each. Prints a line at the start, and one for each completed transfer.
 */
import { Body, type HeadersToSend } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import {
  download,
  downloadTree,
  FilesApp,
  TransferError,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { Server } from "@degu/degu/server";
import { patch } from "@degu/testing/patching.ts";
import { formatReprDigest } from "@degu/internal/files/wire/digest.ts";
import { mkreq } from "@degu/internal/misc/mkreq.ts";
import { createHash } from "node:crypto";

type Task = (port: string, path: string, uri: string) => Promise<unknown>;

const makeClient = (port: string) => new Client(["127.0.0.1", Number(port)], { timeout: 60 });

const TREE_OPTIONS = { delete: true, onEvent: () => {} };

/** The first call may delete entries in the way of others, which the second one copies. */
async function copyTwice(copy: () => Promise<unknown>): Promise<void> {
  try {
    await copy();
  } catch (error) {
    if (!(error instanceof TransferError && error.code === "INCOMPLETE")) throw error;
    await copy();
  }
}

const tasks: Readonly<Record<string, Task>> = {
  download: (port, path, uri) => download(makeClient(port), uri, path),
  upload: (port, path, uri) => upload(makeClient(port), path, uri),
  uploadStream: async (port, path, uri) => {
    const { readable } = await Deno.open(path);
    return await upload(makeClient(port), readable, uri);
  },
  downloadTree: (port, path, uri) =>
    copyTwice(() => downloadTree(makeClient(port), uri, path, TREE_OPTIONS)),
  uploadTree: (port, path, uri) =>
    copyTwice(() => uploadTree(makeClient(port), path, uri, TREE_OPTIONS)),
  async moveTree(port, path, uri) {
    // The files have just been written.
    using _clock = patch(Date, "now", (now) => () => now() + 10_000);
    await uploadTree(makeClient(port), path, uri, { move: true });
  },
  async serve(_port, path) {
    const app = new FilesApp(path, { list: true, write: true, reuse: true });
    const server = new Server(["127.0.0.1", 0], app);
    console.log(JSON.stringify(server.address));
    await server.serveForever();
  },
  write: (_port, path, length) => write(path, Number(length)),
};

/**
 * Writes files of one repeated byte through FilesApp, `turns` times or endlessly: new files,
 * replaced files, and resumed uploads.
 */
async function write(root: string, length: number, turns = Infinity): Promise<void> {
  const app = new FilesApp(root, { write: true });
  const sendPut = async (uri: string, content: Uint8Array<ArrayBuffer>, headers: HeadersToSend) => {
    const body = new Body(new Blob([content]).stream(), content.length);
    const [status] = await app.handle(mkreq("PUT", uri, headers, body));
    // Another process may write the same file.
    if (![201, 204, 409, 412].includes(status)) throw new Error(`${uri}: ${status}`);
  };
  for (let round = 0; round < turns; round++) {
    const content = new Uint8Array(length).fill(round % 256);
    const digest = formatReprDigest(createHash("sha256").update(content).digest("hex"));
    await sendPut("/replaced", content, {});
    await sendPut(`/new/${Deno.pid}-${round}`, content, { "if-none-match": "*" });
    const upload = { "repr-digest": digest, "upload-length": `${length}` };
    const [, , headHeaders] = await app.handle(mkreq("HEAD", "/resumed", upload));
    const offset = Number(headHeaders["upload-offset"]);
    await sendPut("/resumed", content.slice(offset), { ...upload, "upload-offset": `${offset}` });
    await app.handle(mkreq("DELETE", `/new/${Deno.pid}-${round}`));
  }
}

async function run([task = "", port = "", path = "", uri = ""]: string[]): Promise<void> {
  await tasks[task]!(port, path, uri);
  console.log(`${task}: done`);
}

const count = Math.ceil(Deno.args.length / 4);
const taskArguments = Array.from({ length: count }, (_, i) => Deno.args.slice(4 * i, 4 * i + 4));
for (const [task, , path = "", length] of taskArguments) {
  // After "ready" the process is killed within a short time, in which a busy machine might not
  // write anything.
  if (task === "write") await write(path, Number(length), 1);
}
if (Deno.args[0] !== "serve") console.log("ready");
await Promise.all(taskArguments.map(run));
