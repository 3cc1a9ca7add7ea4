/**
 * Other servers behind a Degu client, and proxies in front of a Degu server: tables of the
 * combinations that work, and of the requests and responses that are refused by design.
 */

import { Client, type Method, SSLClient } from "@degu/degu";
import { type BodyOut, ChunkedBodyIter, type HeadersToSend, Range } from "@degu/degu/base";
import type { TempPKI } from "@degu/degu/misc";
import {
  type Backend,
  FOREIGN_SERVERS,
  isListening,
  NODE,
  type Ports,
  startServer,
} from "./foreign_servers.ts";
import {
  ATTACK_COLUMNS,
  FILE_COLUMNS,
  tryAttacks,
  tryNamedFiles,
  writeNamedFiles,
} from "./names.ts";
import { type DeguServers, run } from "./programs.ts";
import { Notes, type Table } from "./tables.ts";

const TIMEOUT_SECONDS = 5;
const NOT_TRIED = "–";

function backendOf({ httpUrl, httpsUrl }: DeguServers): Backend {
  return { DEGU: Number(new URL(httpUrl).port), DEGU_TLS: Number(new URL(httpsUrl).port) };
}

interface Trial {
  readonly method?: Method;
  readonly path: string;
  readonly headers?: HeadersToSend;
  readonly body?: () => BodyOut;
  readonly expected: string;
}

const hello = () => new TextEncoder().encode("hello");
const helloInChunks = () => new ChunkedBodyIter([[null, hello()], [null, new Uint8Array(0)]]);
const RANGE = { range: new Range(2, 5) };

const FILE_TRIALS: Record<string, Trial> = {
  get: { path: "/digits", expected: "200 0123456789" },
  head: { method: "HEAD", path: "/digits", expected: "200 " },
  range: { path: "/digits", headers: RANGE, expected: "206 234" },
};

const PROXY_TRIALS: Record<string, Trial> = {
  get: { path: "/", expected: "200 GET" },
  null: { path: "/null", expected: "200 " },
  put: { method: "PUT", path: "/", body: hello, expected: "200 PUT length hello" },
  chunked: { method: "PUT", path: "/", body: helloInChunks, expected: "200 PUT chunked hello" },
  delete: { method: "DELETE", path: "/", expected: "200 DELETE" },
  range: { path: "/files/digits", headers: RANGE, expected: "206 234" },
};

type FeatureTest = (ports: Ports, notes: Notes) => Promise<string[]>;

export async function tryServers(
  deguServers: DeguServers,
  pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  const tryServer: FeatureTest = async ({ FILES, FILES_TLS }, notes) => {
    const cells = [];
    for (const trial of Object.values(FILE_TRIALS)) {
      cells.push(notes.formatCell(await attempt(clientOf(FILES), trial)));
    }
    cells.push(notes.formatCell(await attemptTwice(clientOf(FILES))));
    const secure = new SSLClient(pki.clientSslconfig, ["127.0.0.1", FILES_TLS], {
      timeout: TIMEOUT_SECONDS,
      host: `localhost:${FILES_TLS}`,
      sslHost: "localhost",
    });
    if (!await isListening(FILES_TLS)) return [...cells, NOT_TRIED];
    return [...cells, notes.formatCell(await attempt(secure, FILE_TRIALS["get"]!))];
  };
  const columns = [...Object.keys(FILE_TRIALS), "keep-alive", "mtls"];
  return [await tryAll(deguServers, pki, dir, ["server", ...columns], tryServer)];
}

export async function tryProxies(
  deguServers: DeguServers,
  pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  const get = PROXY_TRIALS["get"]!;
  const tryProxy: FeatureTest = async ({ PROXY, PROXY_TLS }, notes) => {
    const cells = [];
    for (const trial of Object.values(PROXY_TRIALS)) {
      deguServers.reset();
      const problem = await attempt(clientOf(PROXY), trial);
      cells.push(notes.formatCell(deguServers.log[0] ?? problem));
    }
    deguServers.reset();
    for (let i = 0; i < 4; i++) notes.formatCell(await attempt(clientOf(PROXY), get));
    cells.push(`${deguServers.connectionCount} for 4`);
    if (!await isListening(PROXY_TLS)) return [...cells, NOT_TRIED];
    return [...cells, notes.formatCell(await attempt(clientOf(PROXY_TLS), get))];
  };
  const columns = [...Object.keys(PROXY_TRIALS), "connections", "mtls"];
  return [await tryAll(deguServers, pki, dir, ["proxy", ...columns], tryProxy)];
}

/** Paths, through proxies in front of a Degu server, and to servers behind a `ProxyApp`. */
export async function tryPaths(
  deguServers: DeguServers,
  pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  await writeNamedFiles(`${dir}/files`);
  const takePath = () => {
    const path = deguServers.lastPath;
    deguServers.reset();
    return path;
  };
  const attackRows = await tryAll(
    deguServers,
    pki,
    dir,
    ["proxy of paths", ...ATTACK_COLUMNS],
    ({ PROXY }) => tryAttacks(PROXY, takePath),
  );
  const fileRows = await tryAll(
    deguServers,
    pki,
    dir,
    ["server of names", ...FILE_COLUMNS],
    ({ FILES }, notes) => tryNamedFiles(FILES, notes),
  );
  return [attackRows, fileRows];
}

async function tryAll(
  deguServers: DeguServers,
  pki: TempPKI,
  dir: string,
  header: readonly string[],
  tryFeatures: FeatureTest,
): Promise<Table> {
  const notes = new Notes();
  const rows: string[][] = [];
  for (const foreignServer of FOREIGN_SERVERS) {
    await using server = await startServer(foreignServer, backendOf(deguServers), pki, dir);
    if (server === null) console.log(`${foreignServer.name}: not installed`);
    rows.push([
      foreignServer.name,
      ...server === null ? [] : await tryFeatures(server.ports, notes),
    ]);
  }
  return { header, rows, notes: notes.texts };
}

function clientOf(port: number): Client {
  return new Client(["127.0.0.1", port], { timeout: TIMEOUT_SECONDS });
}

async function outcomeOf(client: Client, trial: Omit<Trial, "expected">): Promise<string> {
  const { method = "GET", path, headers = {}, body } = trial;
  try {
    const response = await client.request(method, path, headers, body?.() ?? null);
    return `${response.status} ${await response.body?.text() ?? ""}`;
  } catch (error) {
    return String(error);
  }
}

async function attempt(client: Client, trial: Trial): Promise<string | null> {
  const outcome = await outcomeOf(client, trial);
  return outcome === trial.expected ? null : outcome.split("\n")[0] ?? "";
}

async function attemptTwice(client: Client): Promise<string | null> {
  try {
    using conn = await client.connect();
    for (let i = 0; i < 2; i++) await (await conn.get("/digits")).body?.bytes();
    return null;
  } catch (error) {
    return String(error);
  }
}

/**
 * Requests that a Degu server refuses: arguments of curl, with `…` for the URL without its path.
 */
const REFUSED = [
  "…/a%2Fb",
  "…/%61",
  "…/100%",
  "'…/..;/a'",
  "…//a",
  "--path-as-is …/a/../b",
  "-X TRACE …/",
  "-X DELETE -d x …/",
  "-H 'host: a b' …/",
  "-H 'etag: 1' -H 'etag: 2' …/",
  "-H 'transfer-encoding: gzip, chunked' -d x …/",
];

/** Responses that a Degu client refuses, by the paths of server.mjs. */
const REFUSED_RESPONSES = {
  "two equal `content-length`": "/two-lengths",
  "`content-length` with `transfer-encoding`": "/length-and-chunks",
  "another coding than `chunked`": "/gzip-coding",
  "`transfer-encoding` in HTTP/1.0": "/chunks-of-1.0",
  "a folded line": "/folded",
  "a switch of protocols": "/switch",
};

export async function tryRefused(
  deguServers: DeguServers,
  pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  const tables: Table[] = [];
  const requests = [];
  for (const curlArguments of REFUSED) {
    deguServers.reset();
    const args = (curlArguments.match(/'[^']*'|\S+/g) ?? []).map((arg) =>
      arg.replaceAll("'", "").replace("…", deguServers.httpUrl)
    );
    const result = await run(["curl", "-sS", "--fail", ...args]);
    const isRefused = /returned error: (400|501)/.test(result?.stderr ?? "");
    const logLine = deguServers.log[0]?.replace(/^\S+: /, "") ?? "";
    const outcome = logLine !== "" && isRefused ? logLine : `not refused: ${logLine}`;
    requests.push([`curl ${curlArguments}`, ...result === null ? [] : [outcome]]);
  }
  if (requests.some((row) => row.length === 1)) console.log("curl: not installed");
  tables.push({ header: ["request", "log"], rows: requests, notes: [] });

  await using server = await startServer(NODE, backendOf(deguServers), pki, dir);
  if (server === null) console.log("Node: not installed");
  const responses = [];
  for (const [name, path] of Object.entries(REFUSED_RESPONSES)) {
    const outcome = server && await outcomeOf(clientOf(server.ports.FILES), { path });
    responses.push([name.replaceAll("`", ""), ...outcome === null ? [] : [outcome]]);
  }
  tables.push({ header: ["response", "error"], rows: responses, notes: [] });
  return tables;
}
