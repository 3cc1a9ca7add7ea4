/**
 * A device that serves a directory, and one that transfers files from and to it.
 *
 * @module
 */

import type { Address } from "../../base.ts";
import { Client } from "../../client.ts";
import { download, FilesApp, upload } from "../../files.ts";
import type { Logger } from "../../server.ts";
import { Server } from "../../server.ts";
import { answerCommands, time, type TlsFiles } from "../peer.ts";
import { makeClient, makeServer } from "./degu_tls.ts";

/** What a program does. */
export type Task =
  | "get"
  | "put"
  | `${"download" | "upload"}${"" | ", verify: false"}`
  | "download, hashed meanwhile";

/** The task of one end. */
export interface FilesWork {
  /** `null` for the server of the directory. */
  readonly task: Task | null;
  readonly port: number;
  readonly tls: TlsFiles | null;
  /** The directory that is served. */
  readonly there: string;
  readonly here: string;
}

/** The file that is transferred, in either directory. */
export const LARGE = "large.bin";

const SETTLED_MILLISECONDS = 2100;
const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {} };

async function serve({ there, tls }: FilesWork): Promise<number> {
  const address: Address = ["127.0.0.1", 0];
  const app = new FilesApp(there, { write: true });
  const options = { logger: quiet, maxRequests: Infinity };
  const server = tls === null
    ? new Server(address, app, options)
    : makeServer(tls, address, app, options);
  await server.ready;
  server.serveForever();
  return (server.address as readonly [string, number])[1];
}

async function measure(work: FilesWork): Promise<number> {
  const { task, there, here, port, tls } = work;
  await remove(`${here}/down.bin`);
  await remove(`${there}/up.bin`);
  if (task === "download, hashed meanwhile") {
    // The other end doesn't know its digest any more.
    await Deno.utime(`${there}/${LARGE}`, new Date(), new Date());
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MILLISECONDS));
  }
  const address: Address = ["127.0.0.1", port];
  const options = { timeout: null };
  const client = tls === null ? new Client(address, options) : makeClient(tls, address);
  return await time(() => run(work, client));
}

async function run({ task, here }: FilesWork, client: Client): Promise<void> {
  switch (task) {
    case "put": {
      using conn = await client.connect();
      using file = await Deno.open(`${here}/${LARGE}`);
      const { size } = await file.stat();
      const { status } = await conn.put("/up.bin", {}, new conn.bodies.Body(file, size));
      if (status !== 201) throw new Error(`status ${status}`);
      return;
    }
    case "upload":
      return void await upload(client, `${here}/${LARGE}`, "/up.bin");
    case "upload, verify: false":
      return void await upload(client, `${here}/${LARGE}`, "/up.bin", { verify: false });
    case "get": {
      using conn = await client.connect();
      using file = await Deno.open(`${here}/down.bin`, { write: true, createNew: true });
      await (await conn.get(`/${LARGE}`)).body!.writeTo(file);
      return await file.sync();
    }
    case "download":
    case "download, hashed meanwhile":
      return void await download(client, `/${LARGE}`, `${here}/down.bin`);
    case "download, verify: false":
      return void await download(client, `/${LARGE}`, `${here}/down.bin`, { verify: false });
  }
}

async function remove(path: string): Promise<void> {
  await Deno.remove(path).catch(() => {});
}

if (import.meta.main) {
  const work: FilesWork = JSON.parse(Deno.args[0] ?? "{}");
  const ready = work.task === null ? await serve(work) : true;
  await answerCommands(ready, { run: () => measure(work) });
}
