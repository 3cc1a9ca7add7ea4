/**
 * Other servers behind a Degu client, and proxies in front of a Degu server: the tables of what works.
 *
 * @module
 */

import { Client, type Method, SSLClient } from "@degu/degu";
import type { BodyOut, HeaderDict } from "@degu/degu/base";
import { ChunkedBodyIter, Range } from "@degu/degu/base";
import type { TempPKI } from "@degu/degu/misc";
import type { Served } from "./degu_server.ts";
import { Notes, printTable } from "./print.ts";
import { type ForeignServer, isListening, STARTS, startServer } from "./servers.ts";

const TIMEOUT_SECONDS = 5;

/** A request, and what the response has to be: its status and the text of its body. */
interface Trial {
  readonly method: Method;
  readonly path: string;
  readonly headers?: HeaderDict;
  readonly body?: () => BodyOut;
  readonly expected: string;
}

const hello = () => new TextEncoder().encode("hello");
/** A cell of what a configuration doesn't have. */
const NOT_TRIED = "–";
const RANGE = { range: new Range(2, 5) };

const FILE_TRIALS: Record<string, Trial> = {
  get: { method: "GET", path: "/digits", expected: "200 0123456789" },
  head: { method: "HEAD", path: "/digits", expected: "200 " },
  range: { method: "GET", path: "/digits", headers: RANGE, expected: "206 234" },
};

const PROXY_TRIALS: Record<string, Trial> = {
  get: { method: "GET", path: "/", expected: "200 GET" },
  null: { method: "GET", path: "/null", expected: "200 " },
  put: { method: "PUT", path: "/", body: hello, expected: "200 PUT length hello" },
  chunked: {
    method: "PUT",
    path: "/",
    body: () => new ChunkedBodyIter([[null, hello()], [null, new Uint8Array(0)]]),
    expected: "200 PUT chunked hello",
  },
  delete: { method: "DELETE", path: "/", expected: "200 DELETE" },
  range: { method: "GET", path: "/files/digits", headers: RANGE, expected: "206 234" },
};

/** Tries what a server does; the cells of its row. */
type Trier = (server: ForeignServer, notes: Notes) => Promise<string[]>;

/** Runs every server with a Degu client in front, and prints the table. */
export async function printServers(served: Served, pki: TempPKI, dir: string): Promise<void> {
  const tryServer: Trier = async ({ ports }, notes) => {
    const client = clientOf(ports.FILES);
    const cells = [];
    for (const trial of Object.values(FILE_TRIALS)) {
      cells.push(await attempt(client, trial, notes));
    }
    cells.push(await tryTwice(client, notes));
    const secure = new SSLClient(pki.clientSslconfig, ["127.0.0.1", ports.FILES_TLS], {
      timeout: TIMEOUT_SECONDS,
      host: `localhost:${ports.FILES_TLS}`,
      sslHost: "localhost",
    });
    return [...cells, await attemptAt(ports.FILES_TLS, secure, FILE_TRIALS["get"]!, notes)];
  };
  await printEach(served, pki, dir, [...Object.keys(FILE_TRIALS), "keep-alive", "mtls"], tryServer);
}

/** Runs every proxy between a Degu client and a Degu server, and prints the table. */
export async function printProxies(served: Served, pki: TempPKI, dir: string): Promise<void> {
  const tryProxy: Trier = async ({ ports }, notes) => {
    const cells = [];
    for (const trial of Object.values(PROXY_TRIALS)) {
      served.reset();
      const complaint = await complaintOf(clientOf(ports.PROXY), trial);
      cells.push(cellOf(served.log[0] ?? complaint, notes));
    }
    served.reset();
    for (let i = 0; i < 4; i++) await attempt(clientOf(ports.PROXY), PROXY_TRIALS["get"]!, notes);
    cells.push(`${served.connections} for 4`);
    return [
      ...cells,
      await attemptAt(ports.PROXY_TLS, clientOf(ports.PROXY_TLS), PROXY_TRIALS["get"]!, notes),
    ];
  };
  await printEach(
    served,
    pki,
    dir,
    [...Object.keys(PROXY_TRIALS), "connections", "mtls"],
    tryProxy,
  );
}

async function printEach(
  served: Served,
  pki: TempPKI,
  dir: string,
  columns: readonly string[],
  trier: Trier,
): Promise<void> {
  const notes = new Notes();
  const rows: string[][] = [];
  for (const start of STARTS) {
    await using server = await startServer(start, served, pki, dir);
    if (server === null) console.log(`${start.name}: not installed`);
    else rows.push([server.name, ...await trier(server, notes)]);
  }
  printTable(["server", ...columns], rows);
  notes.print();
}

function clientOf(port: number): Client {
  return new Client(["127.0.0.1", port], { timeout: TIMEOUT_SECONDS });
}

/** The same, if the configuration has such a port. */
async function attemptAt(
  port: number,
  client: Client,
  trial: Trial,
  notes: Notes,
): Promise<string> {
  return await isListening(port) ? await attempt(client, trial, notes) : NOT_TRIED;
}

async function attempt(client: Client, trial: Trial, notes: Notes): Promise<string> {
  return cellOf(await complaintOf(client, trial), notes);
}

/** The cell for what went wrong, or `null`. */
function cellOf(complaint: string | null, notes: Notes): string {
  return complaint === null ? "yes" : `no ${notes.add(complaint)}`;
}

/** What went wrong with a request, or `null`. */
async function complaintOf(client: Client, trial: Trial): Promise<string | null> {
  const { method, path, headers = {}, body, expected } = trial;
  try {
    const response = await client.request(method, path, headers, body?.() ?? null);
    const text = method === "HEAD" ? "" : await response.body?.text() ?? "";
    const got = `${response.status} ${text}`;
    return got === expected ? null : got.split("\n")[0] ?? "";
  } catch (error) {
    return String(error);
  }
}

/** Two requests over one connection. */
async function tryTwice(client: Client, notes: Notes): Promise<string> {
  try {
    using conn = await client.connect();
    for (let i = 0; i < 2; i++) await (await conn.get("/digits")).body?.bytes();
    return cellOf(null, notes);
  } catch (error) {
    return cellOf(String(error), notes);
  }
}
