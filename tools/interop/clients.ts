/**
 * Clients of a Degu server: the table of operations that work, and the server's log of the others.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { TempPKI } from "@degu/degu/misc";
import { problemOf, run, type Served } from "./programs.ts";
import { Notes, type Table } from "./tables.ts";

/** The operations of a client: a path, and the expected body of the response. */
const OPERATIONS = {
  get: ["/", "GET"],
  head: ["/", "200 "],
  null: ["/null", ""],
  // The request has `connection: close`.
  close: ["/null", ""],
  put: ["/", "PUT length hello"],
  chunked: ["/", "PUT chunked hello"],
  delete: ["/", "DELETE"],
  // The program itself encodes the parameter `a/b@c,d`.
  query: ["/", "GET"],
  range: ["/files/digits", "234"],
  "keep-alive": ["/", "GET"],
  mtls: ["/", "GET"],
} as const;
type Operation = keyof typeof OPERATIONS;

/** The files for TLS with a client certificate, and the certificate with its key again for Java. */
type TlsFiles = readonly [ca: string, cert: string, key: string, pkcs12: string];

/** A client: the command for an operation, or `null` without such an operation. */
interface ForeignClient {
  readonly name: string;
  command(operation: Operation, url: string, tls?: TlsFiles): readonly string[] | null;
}

/** The time in which a client must notice that a response without `content-length` is complete. */
const PATIENCE_MS = 2000;
const HERE = import.meta.dirname ?? "";

const curl: ForeignClient = {
  name: "curl",
  command(operation, url, tls) {
    const files = tls ? ["--cacert", tls[0], "--cert", tls[1], "--key", tls[2]] : [];
    const args: Partial<Record<Operation, string[]>> = {
      head: ["-I"],
      close: ["-H", "Connection: close"],
      put: ["-X", "PUT", "-d", "hello"],
      chunked: ["-X", "PUT", "-d", "hello", "-H", "Transfer-Encoding: chunked"],
      delete: ["-X", "DELETE"],
      query: ["-G", "--data-urlencode", "q=a/b@c,d"],
      range: ["-r", "2-4"],
      "keep-alive": [url],
    };
    return ["curl", "-sS", "--fail", ...files, ...args[operation] ?? [], url];
  },
};

const wget: ForeignClient = {
  name: "wget",
  command(operation, url, tls) {
    if (["chunked", "head", "query"].includes(operation)) return null;
    const [ca, cert, key] = tls ?? [];
    const files = tls
      ? [`--ca-certificate=${ca}`, `--certificate=${cert}`, `--private-key=${key}`]
      : [];
    const args: Partial<Record<Operation, string[]>> = {
      close: ["--no-http-keep-alive"],
      put: ["--method=PUT", "--body-data=hello"],
      delete: ["--method=DELETE"],
      range: ["--header=Range: bytes=2-4"],
      "keep-alive": [url],
    };
    return ["wget", "-nv", "--tries=1", "-O", "-", ...files, ...args[operation] ?? [], url];
  },
};

/**
 * Makes a client of a program in this directory, whose arguments are the operation, the URL and the
 * paths of the files for TLS.
 */
function makeScriptClient(name: string, ...program: string[]): ForeignClient {
  return {
    name,
    command: (operation, url, tls) => [...program, operation, url, ...tls?.slice(0, 3) ?? []],
  };
}

export async function tryClients(served: Served, pki: TempPKI, dir: string): Promise<Table[]> {
  const tls = await makeTlsFiles(pki, dir);
  const notes = new Notes();
  const operations = Object.keys(OPERATIONS) as Operation[];
  const { clients, missing } = await findClients(dir);
  const rows = missing.map((name) => [name]);
  for (const client of clients) {
    const row = [client.name];
    for (const operation of operations) {
      row.push(await tryOperation(client, operation, served, tls, notes));
    }
    rows.push(row.includes("not installed") ? [client.name] : row);
  }
  return [{ header: ["client", ...operations], rows, notes: notes.texts }];
}

async function tryOperation(
  client: ForeignClient,
  operation: Operation,
  served: Served,
  tls: TlsFiles,
  notes: Notes,
): Promise<string> {
  const [path, expected] = OPERATIONS[operation];
  const origin = operation === "mtls" ? served.https : served.http;
  const command = client.command(operation, origin + path, operation === "mtls" ? tls : undefined);
  if (command === null) return "–";
  served.reset();
  const waiting = new AbortController();
  if (path === "/null") {
    served.nextExchange().then(() => delay(PATIENCE_MS)).then(() => waiting.abort());
  }
  const ending = await run(command, AbortSignal.any([waiting.signal, AbortSignal.timeout(60_000)]));
  if (ending === null) return "not installed";
  const { log: [logged], connections } = served;
  if (logged !== undefined) return notes.cell(logged);
  if (waiting.signal.aborted) return "waits";
  if (!ending.success) return notes.cell(problemOf(ending));
  if (!ending.stdout.includes(expected)) return notes.cell(`printed ${ending.stdout}`);
  return operation !== "keep-alive" || connections === 1 ? "yes" : `${connections} connections`;
}

/** Finds the installed clients, and the names of the missing ones; prints the versions. */
async function findClients(dir: string): Promise<{ clients: ForeignClient[]; missing: string[] }> {
  const node = ["node", `${HERE}/client.mjs`];
  const nodeFetch: ForeignClient = {
    name: "Node fetch",
    command: (operation, url, tls) => tls ? null : [...node, "fetch", operation, url],
  };
  const clients = [curl, wget, nodeFetch, makeScriptClient("node:http", ...node, "http")];
  const missing: string[] = [];
  for (const library of ["requests", "urllib3", "httpx", "aiohttp", "http.client"]) {
    const client = await pythonClient(library);
    if (client === null) missing.push(library);
    else clients.push(client);
  }
  const built = await run(["go", "build", "-o", `${dir}/client`, `${HERE}/client.go`]);
  if (!built?.success) console.log(`Go: ${problemOf(built)}`);
  const go = [makeScriptClient("Go net/http", `${dir}/client`), goWriterTo(`${dir}/client`)];
  const compiled = await run(["javac", "-d", dir, `${HERE}/Client.java`]);
  if (!compiled?.success) console.log(`Java: ${problemOf(compiled)}`);
  const java = ["HttpClient", "HttpURLConnection"].map((library): ForeignClient => ({
    name: `Java ${library}`,
    command(operation, url, tls) {
      // HttpClient doesn't let programs set the header `connection`.
      if (library === "HttpClient" && operation === "close") return null;
      const files = tls ? [tls[0], tls[3]] : [];
      return ["java", "-cp", dir, "Client", library, operation, url, ...files];
    },
  }));
  for (const [isInstalled, group] of [[built?.success, go], [compiled?.success, java]] as const) {
    if (isInstalled) clients.push(...group);
    else missing.push(...group.map(({ name }) => name));
  }
  return { clients, missing };
}

async function pythonClient(library: string): Promise<ForeignClient | null> {
  // Distributions often have libraries for their own Python only.
  for (const python of ["python3", "/usr/bin/python3"]) {
    const program = [python, `${HERE}/client.py`, library];
    const ending = await run([...program, "version", ""]);
    if (!ending?.success) continue;
    console.log(`${library}: ${ending.stdout.trim()}`);
    return makeScriptClient(library, ...program);
  }
  console.log(`${library}: not installed`);
  return null;
}

/** Makes a Go reader of unknown length, whose bytes Go sends as one chunk. */
function goWriterTo(program: string): ForeignClient {
  return {
    name: "Go io.WriterTo",
    command: (operation, url) => operation === "chunked" ? [program, "writer-to", url] : null,
  };
}

/** Makes the files of a client, with its certificate and key in PKCS #12 for Java. */
async function makeTlsFiles(pki: TempPKI, dir: string): Promise<TlsFiles> {
  const { caFile: ca = "", certFile: cert = "", keyFile: key = "" } = pki.clientSslconfig;
  const pkcs12 = `${dir}/client.p12`;
  const args = ["-export", "-in", cert, "-inkey", key, "-out", pkcs12, "-passout", "pass:degu"];
  const result = await run(["openssl", "pkcs12", ...args]);
  if (!result?.success) console.log("openssl: not installed, so Java has no certificate");
  return [ca, cert, key, pkcs12];
}
