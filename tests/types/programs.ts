/** The common parts of wrong and right programs, and a type check of many programs at once. */

import { formatAddress } from "@degu/degu/base";
import { runCommand } from "@degu/testing/commands.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { readPackages } from "@degu/internal/tools/packages.ts";
import { ROOT } from "@degu/testing/project_files.ts";
import { assert } from "@std/assert";

/** The start of each program. A program that runs must not use names that it only declares. */
export const BEGINNING = `
import {
  type Address, type Api, type App, type AppFunction, type AppObject, Body, type BodyOut, buildUri, Client,
  type ClientSslconfig, Connection, ConnectionPool, ContentRange, createFetch, expectOk,
  fromFetchHandler, type HeadersToSend, isTransient, json, type Method, ProtocolError, ProxyApp, Range, reply,
  type Requester, type ResponseTuple, retry, routes, Server, type ServerSslconfig, type Session,
  SSLClient, SSLServer, StatusError, SuffixRange, type TlsError, wrapApp,
} from "@degu/degu";
import * as degu from "@degu/degu";
import { Device } from "@degu/degu/device";
import {
  download, downloadTree, FilesApp, type TreeEntry, upload, uploadTree, type UploadTreeOptions,
} from "@degu/degu/files";
import { callApp, mkreq, type TempClientPKI, TempPKI } from "@degu/degu/misc";

const app: App = () => json({});
await using server = await Server.start(["127.0.0.1", 0], app);
const client = new Client(server.address);
declare const address: Address, bytes: Uint8Array, conn: Connection, device: Device;
declare const request: degu.Request, response: degu.Response, session: Session;
declare const signal: AbortSignal, pki: TempClientPKI, anyPki: TempPKI;
declare const sslconfig: ServerSslconfig, clientSslconfig: ClientSslconfig;
declare const cert: string, key: string, ca: string, flag: boolean, error: unknown;
const [certFile, keyFile, caFile] = ["/tmp/cert.pem", "/tmp/key.pem", "/tmp/ca.pem"] as const;
`;

/** A wrong program, and the intended program. */
export type WrongProgram = readonly [
  name: string,
  mistake: string,
  meant: string,
  /** A part of the compiler's message; if the wrong program compiles, the error with which it ends. */
  error: string | readonly [name: string, message: string],
];

/**
 * Parses rows with an empty line between them. The first line of a row is its name and the error:
 * a part of the compiler's message, which begins with the code, such as `TS2322`, or the class and
 * a part of the message with which the program ends. The lines of the wrong program begin with
 * `- `, and the lines of the intended program with `+ `.
 */
export function parseWrongPrograms(text: string): WrongProgram[] {
  return text.trim().split("\n\n").map((row) => {
    const [, name, error, code] = /^(.+?) \| (.+)((?:\n[-+] .*)+)$/.exec(row) ?? [];
    assert(name !== undefined && error !== undefined && code !== undefined, row);
    const [mistake, meant] = ["-", "+"].map((sign) =>
      Array.from(code.matchAll(RegExp(`^\\${sign} (.*)$`, "gm")), ([, line]) => line).join("\n")
    );
    assert(mistake && meant, row);
    const [, errorName, message] = /^([A-Z]\w+): (.+)$/.exec(error) ?? [];
    return [name, mistake, meant, errorName && message ? [errorName, message] : error];
  });
}

/** Programs that must compile, by their names. */
export type RightPrograms = Readonly<Record<string, string>>;

/** Returns the code of a program in a block. */
export const makeBlock = (code: string): string => `{\n${code}\n}\n`;

/**
 * Type-checks programs as blocks of one module in a temporary project; returns the errors, without
 * the lines of the program, by the name of the program.
 */
export async function findTypeErrors(programs: RightPrograms): Promise<Record<string, string>> {
  await using dir = await createTempDir();
  // Deno doesn't check the bodies of remote modules, which `deno task check:types` checks.
  const headers = { "content-type": "application/typescript" };
  await using library = serve(async ({ path }) => {
    return [200, "OK", headers, await Deno.readTextFile(new URL(path.join("/"), ROOT))];
  });
  const host = formatAddress(library.address);
  const entries = (await readPackages()).flatMap(({ entries }) => [...entries]);
  const imports = Object.fromEntries(
    entries.map(([name, path]) => [name, `http://${host}/${path}`]),
  );
  /** The name of the program at each line. */
  const names = BEGINNING.split("\n").map(() => "the beginning").slice(1);
  for (const [name, code] of Object.entries(programs)) {
    for (const _ of makeBlock(code).matchAll(/\n/g)) names.push(name);
  }
  await fill(dir.path, {
    "deno.json": JSON.stringify({ imports, lock: false }),
    "programs.ts": BEGINNING + Object.values(programs).map(makeBlock).join(""),
  });
  const check = ["check", `--allow-import=${host}`, "programs.ts"];
  const { stderr } = await runCommand([Deno.execPath(), ...check], {
    cwd: dir.path,
    env: { NO_COLOR: "1", DENO_DIR: dir.path },
  });
  if (/^error: (?!Type checking failed)/m.test(stderr)) throw new Error(stderr);
  const errors: Record<string, string> = {};
  const matches = stderr.matchAll(/^(TS\d+ [^]*?)^ {4}at (\S+?):(\d+):\d+$/gm);
  for (const [, error, module = "", line] of matches) {
    const name = module.endsWith("/programs.ts") ? names[Number(line) - 1]! : module;
    errors[name] = (errors[name] ?? "") + error!.replace(/^.*\n *~+\n/gm, "");
  }
  return errors;
}
