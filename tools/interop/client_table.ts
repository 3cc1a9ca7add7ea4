/**
 * Clients of a Degu server: the table of what works, and what the server logs about the rest.
 *
 * @module
 */

import type { TempPKI } from "@degu/degu/misc";
import {
  type ForeignClient,
  goClient,
  javaClient,
  type Operation,
  pythonClient,
  SIMPLE_CLIENTS,
  type TlsFiles,
} from "./clients.ts";
import type { Served } from "./degu_server.ts";
import { Notes, printTable } from "./print.ts";
import { complaintOf, delay, run } from "./programs.ts";

/** The path of each operation, and what the response's body must be. */
const OPERATIONS: Record<Operation, readonly [path: string, expected: string]> = {
  get: ["/", "GET"],
  null: ["/null", ""],
  put: ["/", "PUT length hello"],
  chunked: ["/", "PUT chunked hello"],
  delete: ["/", "DELETE"],
  range: ["/files/digits", "234"],
  "keep-alive": ["/", "GET"],
  mtls: ["/", "GET"],
};

/** How long a client may take to notice that a response without `content-length` is complete. */
const PATIENCE_MS = 2000;

/** Runs every client and prints the table. */
export async function printClients(served: Served, pki: TempPKI, dir: string): Promise<void> {
  const tls = await makeTlsFiles(pki, dir);
  const notes = new Notes();
  const rows: string[][] = [];
  for (const client of await installedClients(dir)) {
    const row = [client.name];
    for (const operation of Object.keys(OPERATIONS) as Operation[]) {
      row.push(await tryOperation(client, operation, served, tls, notes));
    }
    rows.push(row);
  }
  printTable(["client", ...Object.keys(OPERATIONS)], rows);
  notes.print();
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
  const limit = operation === "null"
    ? served.nextExchange().then(() => delay(PATIENCE_MS))
    : undefined;
  const ending = await run(command, limit);
  if (ending === null) return "not installed";
  const { log } = served;
  if (log.length > 0) return `no ${notes.add(log[0] ?? "")}`;
  if (ending.cut) return "waits";
  if (!ending.success) return `no ${notes.add(complaintOf(ending))}`;
  if (!ending.stdout.includes(expected)) return `no ${notes.add(`printed ${ending.stdout}`)}`;
  if (operation !== "keep-alive") return "yes";
  return served.connections === 1 ? "yes" : `${served.connections} connections`;
}

/** What can be run here; says what can't. */
async function installedClients(dir: string): Promise<ForeignClient[]> {
  const clients = [...SIMPLE_CLIENTS];
  for (const library of ["requests", "urllib3", "httpx", "aiohttp", "http.client"]) {
    const found = await findPython(library);
    if (found === null) {
      console.log(`${library}: not installed`);
      continue;
    }
    console.log(`${library}: ${found.version}`);
    clients.push(pythonClient(found.python, library));
  }
  const here = import.meta.dirname;
  const built = await run(["go", "build", "-o", `${dir}/client`, `${here}/client.go`]);
  if (built?.success) clients.push(goClient(`${dir}/client`));
  else console.log(`Go: ${built === null ? "not installed" : complaintOf(built)}`);
  const compiled = await run(["javac", "-d", dir, `${here}/Client.java`]);
  if (!compiled?.success) {
    console.log(`Java: ${compiled === null ? "not installed" : complaintOf(compiled)}`);
    return clients;
  }
  return [...clients, javaClient(dir, "HttpClient"), javaClient(dir, "HttpURLConnection")];
}

/** A Python that has a library: distributions often have libraries for their own one only. */
async function findPython(library: string): Promise<{ python: string; version: string } | null> {
  for (const python of ["python3", "/usr/bin/python3"]) {
    const ending = await run([python, `${import.meta.dirname}/client.py`, library, "version", ""]);
    if (ending?.success) return { python, version: ending.stdout.trim() };
  }
  return null;
}

/** The files of a client, with its certificate and key in PKCS #12 for Java. */
async function makeTlsFiles(pki: TempPKI, dir: string): Promise<TlsFiles> {
  const { caFile: ca = "", certFile: cert = "", keyFile: key = "" } = pki.clientSslconfig;
  const pkcs12 = `${dir}/client.p12`;
  const args = ["-export", "-in", cert, "-inkey", key, "-out", pkcs12, "-passout", "pass:degu"];
  const made = await run(["openssl", "pkcs12", ...args]);
  if (!made?.success) console.log("openssl: not installed, so Java has no certificate");
  return { ca, cert, key, pkcs12 };
}
