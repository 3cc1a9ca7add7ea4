/** A device that serves a directory, and a device that transfers files from and to it. */

import { Client, SSLClient } from "../../client.ts";
import { download, FilesApp, upload } from "../../files.ts";
import { hostname, replyToCommands, time, type TlsFiles } from "../peer.ts";
import { serve } from "./degu.ts";

export type Task =
  | "get"
  | "put"
  | "download"
  | "upload"
  | "download, hashed";

/** The task of a process. */
export interface FilesWork {
  /** `null` for the server of the directory. */
  readonly task: Task | null;
  readonly port: number;
  readonly serverDirectory: string;
  readonly clientDirectory: string;
  /** Without it the connection is plain. */
  readonly tls?: TlsFiles;
}

/** The file that is transferred, in either directory. */
export const LARGE = "large.bin";

/** Waits until the server sends entity tags for new files. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2100));
}

async function measure(work: FilesWork): Promise<number> {
  const { task, serverDirectory, clientDirectory, port } = work;
  for (const path of [`${clientDirectory}/down.bin`, `${serverDirectory}/up.bin`]) {
    await Deno.remove(path).catch(() => {});
  }
  if (task === "download, hashed") {
    // The new time makes the other end forget the digest.
    await Deno.utime(`${serverDirectory}/${LARGE}`, new Date(), new Date());
    await settle();
  }
  const options = { timeout: null };
  const client = work.tls === undefined
    ? new Client([hostname, port], options)
    : new SSLClient({ ...work.tls.client, checkHostname: false }, [hostname, port], options);
  return await time(() => run(work, client));
}

async function run({ task, clientDirectory }: FilesWork, client: Client): Promise<unknown> {
  if (task === "upload") {
    return await upload(client, `${clientDirectory}/${LARGE}`, "/up.bin");
  }
  if (task?.startsWith("download")) {
    return await download(client, `/${LARGE}`, `${clientDirectory}/down.bin`);
  }
  using conn = await client.connect();
  if (task === "get") {
    using file = await Deno.open(`${clientDirectory}/down.bin`, { write: true, createNew: true });
    await (await conn.get(`/${LARGE}`)).body!.writeTo(file);
    return await file.sync();
  }
  using file = await Deno.open(`${clientDirectory}/${LARGE}`);
  const { size } = await file.stat();
  const { status } = await conn.put("/up.bin", {}, new conn.bodies.Body(file, size));
  if (status !== 201) throw new Error(`status ${status}`);
  return null;
}

if (import.meta.main) {
  const work: FilesWork = JSON.parse(Deno.args[0] ?? "{}");
  if (work.task === null) {
    const app = new FilesApp(work.serverDirectory, { write: true });
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const port = await serve({ address: 0, tls: work.tls }, app, { logger, maxRequests: Infinity });
    await replyToCommands(port, {});
  }
  await replyToCommands(null, { run: () => measure(work) });
}
