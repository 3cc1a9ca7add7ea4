/** Transfers of files through proxies and caches in front of a `FilesApp`. */

import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { Client, Server } from "@degu/degu";
import type { TempPKI } from "@degu/degu/misc";
import {
  deleteEntry,
  download,
  downloadTree,
  FilesApp,
  listDirectory,
  makeDirectory,
  remoteDigest,
  StatusError,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { CuttingRelay } from "../../tests/support/cutting_relay.ts";
import { FOREIGN_SERVERS, type ForeignServer, PROXIES, startServer } from "./foreign_servers.ts";
import type { DeguServers } from "./programs.ts";
import { Notes, type Table } from "./tables.ts";

const TIMEOUT_SECONDS = 10;
const LARGE_BYTES = 1_000_000;
const SMALL_FILES = 20;
const SETTLED_MILLISECONDS = 3000;
/** The number of rows that are tried at the same time. */
const CONCURRENCY = 3;

interface Transfer {
  readonly client: Client;
  /** The local directory: the directory `tree`, and the files `new`, `old` and `empty`. */
  readonly local: string;
  /** The local directory for downloaded files. */
  readonly copies: string;
  /** The directory of the server. It has the file `old`. */
  readonly remote: string;
  /** Kills the proxies. */
  kill(): Promise<void>;
  /** Starts the proxies again, and returns a client of the first. */
  restart(): Promise<Client>;
}

/** Throws if a transfer fails or is wrong; may return the text of the cell. */
type Operation = (transfer: Transfer) => Promise<string | void>;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  async upload({ client, local, remote }) {
    for (const name of ["new", "old", "empty"]) {
      await upload(client, `${local}/${name}`, "/upload");
      await checkSame(`${local}/${name}`, `${remote}/upload`);
    }
  },
  async stream({ client, local, remote }) {
    for (const name of ["new", "old", "empty"]) {
      await upload(client, (await Deno.open(`${local}/${name}`)).readable, "/stream");
      await checkSame(`${local}/${name}`, `${remote}/stream`);
    }
  },
  async tree({ client, local, copies, remote }) {
    for (let i = 0; i < 2; i++) {
      await uploadTree(client, `${local}/tree`, "/tree/");
      await checkSameTree(`${local}/tree`, `${remote}/tree`);
    }
    await downloadTree(client, "/tree/", `${copies}/tree`);
    await checkSameTree(`${local}/tree`, `${copies}/tree`);
  },
  async resume({ client, local, copies, remote }) {
    await using relay = new CuttingRelay(client.address);
    const cutClient = new Client(relay.address, { timeout: TIMEOUT_SECONDS });
    const resumedFrom = [];
    for (
      const transfer of [
        () => upload(cutClient, `${local}/old`, "/resumed"),
        () => download(cutClient, "/old", `${copies}/resumed`),
      ]
    ) {
      relay.cutAfter(LARGE_BYTES / 2);
      const isCut = await transfer().then(() => false, () => true);
      assertEquals(isCut, true, "the relay cuts the connection");
      relay.cutAfter(Infinity);
      resumedFrom.push((await transfer()).resumedFrom);
    }
    await checkSame(`${local}/old`, `${remote}/resumed`);
    await checkSame(`${local}/old`, `${copies}/resumed`);
    return resumedFrom.every((offset) => offset > 0) ? "yes" : "anew";
  },
  async download({ client, local, copies, remote }) {
    for (const name of ["old", "new", "old"]) {
      if (name === "new") await Deno.copyFile(`${local}/new`, `${remote}/download`);
      const uri = name === "old" ? "/old" : "/download";
      for (let i = 0; i < 2; i++) {
        await download(client, uri, `${copies}/download`);
        await checkSame(`${local}/${name}`, `${copies}/download`);
      }
    }
    // A file that a cache may have stored.
    await Deno.copyFile(`${local}/old`, `${remote}/download`);
    await download(client, "/download", `${copies}/download`);
    await checkSame(`${local}/old`, `${copies}/download`);
  },
  async digest({ client, local, remote }) {
    await Deno.copyFile(`${remote}/old`, `${remote}/digest`);
    const digests: string[] = [];
    for (const uri of ["/old", "/digest", "/digest"]) {
      const response = await client.request("GET", uri);
      await response.body?.bytes();
      digests.push(await remoteDigest(client, uri));
      await Deno.copyFile(`${local}/new`, `${remote}/digest`);
    }
    assertEquals(digests.map((digest) => digest === digests[0]), [true, false, false]);
  },
  async list({ client, remote }) {
    await makeDirectory(client, "/list/");
    for (const names of [[], ["a"], ["a", "b"]]) {
      for (const name of names) await Deno.writeTextFile(`${remote}/list/${name}`, name);
      for (let i = 0; i < 2; i++) {
        const entries = await Array.fromAsync(await listDirectory(client, "/list/"));
        assertEquals(entries.map(({ name }) => name).sort(), names);
      }
    }
  },
  async delete({ client, remote }) {
    await Deno.mkdir(`${remote}/delete`);
    await Deno.writeTextFile(`${remote}/delete/a`, "a");
    const statuses = [];
    for (let i = 0; i < 2; i++) {
      const response = await client.request("GET", "/delete/a");
      await response.body?.bytes();
      statuses.push(response.status);
      if (i === 0) await deleteEntry(client, "/delete/a");
    }
    assertEquals(statuses, [200, 404]);
    await deleteEntry(client, "/delete/");
    assertEquals(namesIn(remote).includes("delete"), false);
  },
  /** Last, because it starts the proxies again. */
  async kill({ client, local, copies, remote, kill, restart }) {
    await Deno.copyFile(`${local}/old`, `${remote}/kill`);
    await Deno.copyFile(`${local}/new`, `${remote}/download`);
    await Deno.copyFile(`${local}/old`, `${copies}/kill`);
    let currentClient = client;
    let killed: Promise<void> | null = null;
    const onProgress = () => void (killed ??= kill());
    for (
      const [transfer, copy] of [
        [() => upload(currentClient, `${local}/new`, "/kill", { onProgress }), `${remote}/kill`],
        [
          () => download(currentClient, "/download", `${copies}/kill`, { onProgress }),
          `${copies}/kill`,
        ],
      ] as const
    ) {
      const error = await transfer().then(() => null, (error) => error);
      if (killed === null) throw error ?? new Error("the transfer reported no progress");
      await killed;
      // The response may have arrived before the end.
      if (await isSame(`${local}/old`, copy)) assertEquals(error instanceof Error, true);
      else await checkSame(`${local}/new`, copy);
      currentClient = await restart();
      await transfer();
      await checkSame(`${local}/new`, copy);
      killed = null;
    }
  },
};

async function isSame(expected: string, path: string): Promise<boolean> {
  const [expectedBytes, bytes] = await Promise.all([readFile(expected), readFile(path)]);
  return expectedBytes.equals(bytes);
}

async function checkSame(expected: string, path: string): Promise<void> {
  if (!await isSame(expected, path)) throw new Error("the copy has other bytes than the file");
}

async function checkSameTree(expected: string, path: string): Promise<void> {
  assertEquals(namesIn(path), namesIn(expected));
  for (const name of namesIn(path)) {
    if (Deno.statSync(`${expected}/${name}`).isFile) {
      await checkSame(`${expected}/${name}`, `${path}/${name}`);
    }
  }
}

/** Returns the sorted names in a directory, without those of Degu. */
function namesIn(directory: string): string[] {
  return Array.from(Deno.readDirSync(directory), ({ name }) => name)
    .filter((name) => !name.startsWith(".degu")).sort();
}

/** Proxies in front of other proxies. */
const CHAINS = [
  ["nginx", "Caddy"],
  ["HAProxy", "Apache"],
  ["Squid", "nginx, cache"],
  ["Deno", "Traffic Server"],
  ["h2o", "lighttpd"],
];

export async function tryTransfers(
  _deguServers: DeguServers,
  pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  const local = `${dir}/transfers`;
  await writeLocalFiles(local);
  const writtenAt = Date.now();
  const proxies = [...FOREIGN_SERVERS, ...PROXIES];
  const chains = CHAINS.map((names) =>
    names.map((name) => proxies.find((proxy) => proxy.name === name)!)
  );
  const rowDirs: string[] = [];
  for (const [i] of [...proxies, ...chains].entries()) {
    rowDirs.push(`${dir}/row_${i}`);
    await writeRemoteFiles(`${dir}/row_${i}`, local);
  }
  // Files that were just changed aren't resumed, and have no validators for caches.
  await delay(writtenAt + SETTLED_MILLISECONDS - Date.now());
  const notes = new Notes();
  const tables = [];
  for (
    const [firstColumn, lists] of [
      ["front", proxies.map((proxy) => [proxy])],
      ["two fronts", chains],
    ] as const
  ) {
    const rows: string[][] = [];
    const remaining = [...lists.entries()];
    const tryRemaining = async () => {
      for (let next; (next = remaining.shift()) !== undefined;) {
        const [i, list] = next;
        const name = list.map((proxy) => proxy.name).join(" → ");
        const cells = await tryRow(list, pki, rowDirs.shift()!, local, notes);
        if (cells === null) console.log(`${name}: not installed`);
        rows[i] = [name, ...cells ?? []];
      }
    };
    const attempts = Array.from(
      { length: CONCURRENCY },
      () => tryRemaining().finally(() => remaining.length = 0),
    );
    // The other rows end before an error removes their directories.
    await Promise.allSettled(attempts);
    await Promise.all(attempts);
    tables.push({ header: [firstColumn, ...Object.keys(OPERATIONS)], rows, notes: notes.texts });
  }
  return tables;
}

async function writeLocalFiles(local: string): Promise<void> {
  await Deno.mkdir(`${local}/tree/empty`, { recursive: true });
  const writeRandom = (name: string, size: number) => {
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i += 65536) crypto.getRandomValues(bytes.subarray(i, i + 65536));
    return Deno.writeFile(`${local}/${name}`, bytes);
  };
  await writeRandom("old", LARGE_BYTES);
  await writeRandom("new", LARGE_BYTES);
  await writeRandom("empty", 0);
  await writeRandom("tree/large", 300_000);
  for (let i = 0; i < SMALL_FILES; i++) await writeRandom(`tree/ä ${i}`, 100 * i);
}

async function writeRemoteFiles(dir: string, local: string): Promise<void> {
  const remote = `${dir}/files`;
  await Deno.mkdir(remote, { recursive: true });
  // Programs that drop root privileges write to this directory.
  await Deno.chmod(dir, 0o777);
  await Deno.copyFile(`${local}/old`, `${remote}/old`);
}

/** @returns `null` if a proxy isn't installed. */
async function tryRow(
  list: readonly ForeignServer[],
  pki: TempPKI,
  dir: string,
  local: string,
  notes: Notes,
): Promise<string[] | null> {
  const remote = `${dir}/files`;
  const log: string[] = [];
  const addLine = (text: string) => void log.push(text);
  const logger = { debug() {}, info: addLine, warn: addLine, error: addLine };
  const app = new FilesApp(remote, { write: true, list: true, reuse: true });
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  const port = Number(server.address[1]);
  let proxies = await startProxies(list, port, pki, dir);
  if (proxies === null) return null;
  await using stack = new AsyncDisposableStack();
  stack.defer(() => proxies!.kill());
  const copies = `${dir}/copies`;
  await Deno.mkdir(copies);
  const cells: string[] = [];
  for (const operation of Object.values(OPERATIONS)) {
    log.length = 0;
    const result = await operation({
      client: proxies.client,
      local,
      copies,
      remote,
      kill: () => proxies!.kill(),
      async restart() {
        proxies = await startProxies(list, port, pki, dir);
        return proxies!.client;
      },
    }).catch((error) => {
      const refusal = log.find((line) => line.includes("ProtocolError"));
      return error instanceof StatusError && refusal || `${error}`;
    });
    const isOutcome = result === undefined || ["yes", "anew"].includes(result);
    cells.push(isOutcome ? result ?? "yes" : notes.formatCell(result));
  }
  return cells;
}

/** Starts proxies, the last in front of a server; returns `null` if one isn't installed. */
async function startProxies(
  list: readonly ForeignServer[],
  port: number,
  pki: TempPKI,
  dir: string,
): Promise<{ readonly client: Client; kill(): Promise<void> } | null> {
  const running: { kill(): Promise<void> }[] = [];
  const kill = async () => void await Promise.all(running.map((proxy) => proxy.kill()));
  let backend = port;
  for (const [i, proxy] of list.toReversed().entries()) {
    const proxyDir = `${dir}/proxy_${crypto.randomUUID()}_${i}`;
    await Deno.mkdir(proxyDir);
    await Deno.chmod(proxyDir, 0o777);
    // The file that the configuration of HAProxy needs.
    await Deno.mkdir(`${proxyDir}/files`);
    await Deno.writeTextFile(`${proxyDir}/files/digits`, "0123456789");
    const ports = { DEGU: backend, DEGU_TLS: backend };
    const started = await startServer(proxy, ports, pki, proxyDir).catch(async (error) => {
      await kill();
      throw error;
    });
    if (started === null) {
      await kill();
      return null;
    }
    running.push(started);
    backend = started.ports.PROXY;
  }
  return { client: new Client(["127.0.0.1", backend], { timeout: TIMEOUT_SECONDS }), kill };
}
