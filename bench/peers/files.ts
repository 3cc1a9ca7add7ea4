/**
 * A device that serves a directory, and one that transfers files from and to it, or the same over a bare
 * socket.
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
  | `raw ${"download" | "upload"}`
  | "get"
  | "put"
  | `${"download" | "upload"}${"" | ", verify: false"}`
  | "download, hashed meanwhile";

/** The task of one end. */
export interface FilesWork {
  /** `null` for the server of the directory, over HTTP; `raw` for the one that sends and takes bytes. */
  readonly task: Task | "raw" | null;
  readonly port: number;
  readonly tls: TlsFiles | null;
  /** The directory that is served. */
  readonly there: string;
  readonly here: string;
}

/** The file that is transferred, in either directory. */
export const LARGE = "large.bin";

const BUFFER_BYTES = 1 << 20;
const SETTLED_MILLISECONDS = 2100;
const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {} };

async function serve({ task, there, tls }: FilesWork): Promise<number> {
  if (task === "raw") return serveBytes(there);
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

/** Sends the file to who sends a `g`, and takes it from who sends another byte first. */
function serveBytes(there: string): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const answer = async (conn: Deno.Conn) => {
    using _conn = conn;
    const first = new Uint8Array(1);
    if (await conn.read(first) === null) return;
    if (first[0] === "g".charCodeAt(0)) {
      using file = await Deno.open(`${there}/${LARGE}`);
      await copy(file, conn);
      await conn.closeWrite();
    } else {
      await write(`${there}/up.bin`, conn);
      await conn.write(first);
    }
  };
  (async () => {
    for await (const conn of listener) answer(conn).catch(() => {});
  })();
  return listener.addr.port;
}

type Reader = Pick<Deno.Conn, "read">;
type Writer = Pick<Deno.Conn, "write">;

async function copy(from: Reader, to: Writer): Promise<void> {
  const buffer = new Uint8Array(BUFFER_BYTES);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) return;
    for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
  }
}

/** Writes a file that is on the disk at the end. */
async function write(path: string, from: Reader): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  await copy(from, file);
  await file.sync();
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

async function run({ task, port, here }: FilesWork, client: Client): Promise<void> {
  switch (task) {
    case "raw download": {
      using conn = await Deno.connect({ port });
      await conn.write(new TextEncoder().encode("g"));
      return await write(`${here}/down.bin`, conn);
    }
    case "raw upload": {
      using conn = await Deno.connect({ port });
      using file = await Deno.open(`${here}/${LARGE}`);
      await conn.write(new TextEncoder().encode("p"));
      await copy(file, conn);
      await conn.closeWrite();
      return void await conn.read(new Uint8Array(1));
    }
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
  const isServer = work.task === null || work.task === "raw";
  await answerCommands(isServer ? await serve(work) : true, { run: () => measure(work) });
}
