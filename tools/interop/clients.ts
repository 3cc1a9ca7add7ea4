/**
 * Clients of a Degu server: a table of the operations that work. Notes have the server's log of
 * the other operations.
 */

import { setTimeout as delay } from "node:timers/promises";
import type { TempPKI } from "@degu/degu/misc";
import { build, type DeguServers, NOT_INSTALLED, problemOf, run } from "./programs.ts";
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
  // The client waits for 100 Continue before it sends the body.
  expect: ["/", "PUT length hello"],
  delete: ["/", "DELETE"],
  // The program itself encodes the parameter `a/b@c,d`.
  query: ["/", "GET"],
  range: ["/files/digits", "234"],
  "keep-alive": ["/", "GET"],
  mtls: ["/", "GET"],
} as const;
type Operation = keyof typeof OPERATIONS;

/** The files for TLS with a client certificate. For Java, `pkcs12` has certificate and key. */
type TlsFiles = readonly [ca: string, cert: string, key: string, pkcs12: string];

interface ForeignClient {
  readonly name: string;
  /** Returns the command for an operation; `null` if the client doesn't have the operation. */
  command(operation: Operation, url: string, tls?: TlsFiles): readonly string[] | null;
}

/** The time in which a client must detect the end of a response whose body is `null`. */
const NULL_BODY_TIMEOUT_MILLISECONDS = 2000;
const DIRECTORY = import.meta.dirname ?? "";

const curl: ForeignClient = {
  name: "curl",
  command(operation, url, tls) {
    const files = tls ? ["--cacert", tls[0], "--cert", tls[1], "--key", tls[2]] : [];
    const args: Partial<Record<Operation, string[]>> = {
      head: ["-I"],
      close: ["-H", "Connection: close"],
      put: ["-X", "PUT", "-d", "hello"],
      chunked: ["-X", "PUT", "-d", "hello", "-H", "Transfer-Encoding: chunked"],
      expect: [
        "-X",
        "PUT",
        "-d",
        "hello",
        "-H",
        "Expect: 100-continue",
        // Longer than the time limit of a test.
        "--expect100-timeout",
        "300",
      ],
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
    if (["chunked", "expect", "head", "query"].includes(operation)) return null;
    const [ca, cert, key] = tls ?? [];
    const files = tls
      ? [`--ca-certificate=${ca}`, `--certificate=${cert}`, `--private-key=${key}`]
      : [];
    const args: Partial<Record<Operation, string[]>> = {
      close: ["--no-http-keep-alive"],
      put: ["--method=PUT", "--body-data=hello"],
      delete: ["--method=DELETE"],
      range: ["--start-pos=2"],
      "keep-alive": [url],
    };
    return ["wget", "-nv", "--tries=1", "-O", "-", ...files, ...args[operation] ?? [], url];
  },
};

function makeScriptClient(name: string, ...program: string[]): ForeignClient {
  return {
    name,
    command: (operation, url, tls) =>
      operation === "expect" && name !== "node:http"
        ? null
        : [...program, operation, url, ...tls?.slice(0, 3) ?? []],
  };
}

export async function tryClients(
  deguServers: DeguServers,
  pki: TempPKI,
  dir: string,
): Promise<Table[]> {
  const tls = await makeTlsFiles(pki, dir);
  const notes = new Notes();
  const operations = Object.keys(OPERATIONS) as Operation[];
  const { clients, missing } = await findClients(dir);
  const rows = missing.map((name) => [name]);
  for (const client of clients) {
    const row = [client.name];
    for (const operation of operations) {
      row.push(await tryOperation(client, operation, deguServers, tls, notes));
    }
    rows.push(row.includes(NOT_INSTALLED) ? [client.name] : row);
  }
  return [{ header: ["client", ...operations], rows, notes: notes.texts }];
}

async function tryOperation(
  client: ForeignClient,
  operation: Operation,
  deguServers: DeguServers,
  tls: TlsFiles,
  notes: Notes,
): Promise<string> {
  const [path, expectedText] = OPERATIONS[operation];
  const origin = operation === "mtls" ? deguServers.httpsUrl : deguServers.httpUrl;
  const command = client.command(operation, origin + path, operation === "mtls" ? tls : undefined);
  if (command === null) return "–";
  deguServers.reset();
  const abortController = new AbortController();
  if (path === "/null") {
    deguServers.waitForExchange().then(() => delay(NULL_BODY_TIMEOUT_MILLISECONDS)).then(() =>
      abortController.abort()
    );
  }
  const result = await run(
    command,
    AbortSignal.any([abortController.signal, AbortSignal.timeout(60_000)]),
  );
  if (result === null) return NOT_INSTALLED;
  const { log: [loggedLine], connectionCount } = deguServers;
  if (loggedLine !== undefined) return notes.formatCell(loggedLine);
  if (abortController.signal.aborted) return "waits";
  if (!result.success) return notes.formatCell(problemOf(result));
  if (!result.stdout.includes(expectedText)) return notes.formatCell(`printed ${result.stdout}`);
  return operation !== "keep-alive" || connectionCount === 1
    ? "yes"
    : `${connectionCount} connections`;
}

async function findClients(dir: string): Promise<{ clients: ForeignClient[]; missing: string[] }> {
  const node = ["node", `${DIRECTORY}/client.mjs`];
  const nodeFetch: ForeignClient = {
    name: "Node fetch",
    command: (operation, url, tls) =>
      tls || operation === "expect" ? null : [...node, "fetch", operation, url],
  };
  const clients = [curl, wget, nodeFetch, makeScriptClient("node:http", ...node, "http")];
  const missing: string[] = [];
  for (const library of ["requests", "urllib3", "httpx", "aiohttp", "http.client"]) {
    const client = await findPythonClient(library);
    if (client === null) missing.push(library);
    else clients.push(client);
  }
  const hasGo = await build(["go", "build", "-o", `${dir}/client`, `${DIRECTORY}/client.go`]);
  if (!hasGo) console.log(`Go: ${NOT_INSTALLED}`);
  const go = [
    makeScriptClient("Go net/http", `${dir}/client`),
    makeGoWriterToClient(`${dir}/client`),
  ];
  const hasJava = await build(["javac", "-d", dir, `${DIRECTORY}/Client.java`]);
  if (!hasJava) console.log(`Java: ${NOT_INSTALLED}`);
  const java = ["HttpClient", "HttpURLConnection"].map((library): ForeignClient => ({
    name: `Java ${library}`,
    command(operation, url, tls) {
      // HttpClient doesn't let programs set the header `connection`.
      if (library === "HttpClient" && operation === "close") return null;
      if (library === "HttpURLConnection" && operation === "expect") return null;
      const files = tls ? [tls[0], tls[3]] : [];
      return ["java", "-cp", dir, "Client", library, operation, url, ...files];
    },
  }));
  for (const [isInstalled, group] of [[hasGo, go], [hasJava, java]] as const) {
    if (isInstalled) clients.push(...group);
    else missing.push(...group.map(({ name }) => name));
  }
  return { clients, missing };
}

async function findPythonClient(library: string): Promise<ForeignClient | null> {
  // Distributions often install libraries only for their own Python.
  for (const python of ["python3", "/usr/bin/python3"]) {
    const program = [python, `${DIRECTORY}/client.py`, library];
    const result = await run([...program, "version", ""]);
    if (result === null || result.stderr.includes(`No module named '${library}'`)) continue;
    if (!result.success) throw new Error(`${library}: ${problemOf(result)}`);
    console.log(`${library}: ${result.stdout.trim()}`);
    return makeScriptClient(library, ...program);
  }
  console.log(`${library}: ${NOT_INSTALLED}`);
  return null;
}

/** Makes a client whose body is a Go reader of unknown length, which Go sends as one chunk. */
function makeGoWriterToClient(program: string): ForeignClient {
  return {
    name: "Go io.WriterTo",
    command: (operation, url) => operation === "chunked" ? [program, "writer-to", url] : null,
  };
}

async function makeTlsFiles(pki: TempPKI, dir: string): Promise<TlsFiles> {
  const { caFile: ca = "", certFile: cert = "", keyFile: key = "" } = pki.clientSslconfig;
  const pkcs12 = `${dir}/client.p12`;
  const args = ["-export", "-in", cert, "-inkey", key, "-out", pkcs12, "-passout", "pass:degu"];
  const result = await run(["openssl", "pkcs12", ...args]);
  if (!result?.success) console.log("openssl: not installed, so Java has no certificate");
  return [ca, cert, key, pkcs12];
}
