/** A server of a directory, and a client that downloads and uploads a file. */

import { Client, SSLClient } from "../../client.ts";
import { download, FilesApp, upload } from "../../files/mod.ts";
import { hostname, measureSeconds, replyToCommands, type TlsFiles } from "../peer.ts";
import { serve } from "./degu.ts";

export type Task =
  | "get"
  | "put"
  | "download"
  | "upload"
  | "download, hashed";

/** The work of a process. */
export interface FilesWork {
  /** The task of a client; `null` for the server. */
  readonly task: Task | null;
  readonly port: number;
  readonly serverDirectory: string;
  readonly clientDirectory: string;
  /** If absent, the connection is not encrypted. */
  readonly tls?: TlsFiles;
}

/** The name of the transferred file, in both directories. */
export const LARGE_FILE = "large.bin";

/** Waits until the server sends entity tags for new files. */
export function waitForEntityTags(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2100));
}

async function measure(work: FilesWork): Promise<number> {
  const { task, serverDirectory, clientDirectory, port } = work;
  for (const path of [`${clientDirectory}/down.bin`, `${serverDirectory}/up.bin`]) {
    await Deno.remove(path).catch(() => {});
  }
  if (task === "download, hashed") {
    // The server discards its cached digest if the modification time changes.
    await Deno.utime(`${serverDirectory}/${LARGE_FILE}`, new Date(), new Date());
    await waitForEntityTags();
  }
  const options = { timeout: null };
  const client = work.tls === undefined
    ? new Client([hostname, port], options)
    : new SSLClient({ ...work.tls.client, checkHostname: false }, [hostname, port], options);
  return await measureSeconds(() => run(work, client));
}

async function run({ task, clientDirectory }: FilesWork, client: Client): Promise<unknown> {
  if (task === "upload") {
    return await upload(client, `${clientDirectory}/${LARGE_FILE}`, "/up.bin");
  }
  if (task?.startsWith("download")) {
    return await download(client, `/${LARGE_FILE}`, `${clientDirectory}/down.bin`);
  }
  using conn = await client.connect();
  if (task === "get") {
    using file = await Deno.open(`${clientDirectory}/down.bin`, { write: true, createNew: true });
    await (await conn.get(`/${LARGE_FILE}`)).body!.writeTo(file);
    return await file.sync();
  }
  using file = await Deno.open(`${clientDirectory}/${LARGE_FILE}`);
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
