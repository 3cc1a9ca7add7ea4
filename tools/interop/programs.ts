/** Runs programs, which may not be installed, and the Degu servers for them. */

import {
  type AppFunction,
  type Logger,
  Server,
  type ServerOptions,
  type Session,
  SSLServer,
} from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import type { TempPKI } from "@degu/degu/misc";
import {
  type CommandResult,
  MISSING_PROGRAM_CODE,
  runCommand,
} from "../../tests/support/commands.ts";

/** Environment variables that disable proxies. */
export const ENV = { no_proxy: "127.0.0.1,localhost", NO_PROXY: "127.0.0.1,localhost" };

/** Runs a program until it ends or a signal ends it; `null` if the program isn't installed. */
export async function run(
  command: readonly string[],
  signal: AbortSignal = AbortSignal.timeout(60_000),
  env: Readonly<Record<string, string>> = {},
): Promise<CommandResult | null> {
  const result = await runCommand(command, { env: { ...ENV, ...env }, signal });
  return result.code === MISSING_PROGRAM_CODE ? null : result;
}

/** Runs a compiler; returns false if the compiler isn't installed, and throws if it fails. */
export async function build(command: readonly string[]): Promise<boolean> {
  const result = await run(command);
  if (result !== null && !result.success) throw new Error(`${command[0]}: ${problemOf(result)}`);
  return result !== null;
}

/**
 * Runs a command that prints a version; `null` if the program, or a library that it needs, isn't
 * installed. Some programs print their version to stderr, and some fail after they have printed it.
 */
export async function findVersion(command: readonly string[]): Promise<string | null> {
  const result = await run(command).catch(() => null);
  if (result === null || !result.success && result.stdout === "") return null;
  const lines = (result.stdout + result.stderr).split("\n");
  return lines.find((line) => /\d\.\d|20\d\d/.test(line))?.trim() ?? "";
}

/** The problem, and the cell of a table, of a program that isn't installed. */
export const NOT_INSTALLED = "not installed";

export function problemOf(result: CommandResult | null): string {
  if (result === null) return NOT_INSTALLED;
  const lines = `${result.stdout}\n${result.stderr}`.split("\n").map((line) => line.trim())
    .filter(Boolean);
  return lines.findLast((line) => /error|exception|curl:|failed|refused/i.test(line)) ??
    lines.at(-1) ?? "nothing was printed";
}

export class DeguServers implements AsyncDisposable {
  /** The lines that the servers logged since the last `reset`, without `debug`. */
  log: string[] = [];
  /** The path of the last request. */
  lastPath: string[] | null = null;
  /** The URLs of the servers, without a slash at the end. */
  httpUrl = "";
  httpsUrl = "";
  #sessions = new Set<Session>();
  #exchangeEnded = Promise.withResolvers<void>();
  readonly #stack = new AsyncDisposableStack();

  static async start(pki: TempPKI, directory: string): Promise<DeguServers> {
    const servers = new DeguServers();
    const addLogLine = (line: string) => void servers.log.push(line.split("\n")[0] ?? "");
    const logger: Logger = { debug() {}, info: addLogLine, warn: addLogLine, error: addLogLine };
    const onExchange: ServerOptions["onExchange"] = ({ session }) => {
      servers.#sessions.add(session);
      servers.#exchangeEnded.resolve();
      servers.#exchangeEnded = Promise.withResolvers();
    };
    const describingApp = makeDescribingApp(new FilesApp(directory, { write: true }));
    const app: AppFunction = (request, session, api) => {
      servers.lastPath = [...request.path];
      return describingApp(request, session, api);
    };
    const options = { logger, onExchange };
    const tcpServer = servers.#stack.use(new Server(["127.0.0.1", 0], app, options));
    const tlsServer = servers.#stack.use(
      new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app, options),
    );
    await Promise.all([tcpServer.ready, tlsServer.ready]);
    tcpServer.serveForever();
    tlsServer.serveForever();
    servers.httpUrl = `http://127.0.0.1:${tcpServer.address[1]}`;
    servers.httpsUrl = `https://127.0.0.1:${tlsServer.address[1]}`;
    return servers;
  }

  get connectionCount(): number {
    return this.#sessions.size;
  }

  reset(): void {
    this.log = [];
    this.lastPath = null;
    this.#sessions = new Set();
  }

  waitForExchange(): Promise<void> {
    return this.#exchangeEnded.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

function makeDescribingApp(files: FilesApp): AppFunction {
  return async (request, session, api) => {
    const [firstSegment] = request.path;
    if (firstSegment === "null") return [200, "OK", {}, null];
    if (firstSegment === "files") {
      request.shiftPath();
      return await files.handle(request, session, api);
    }
    let text: string = request.method;
    if (request.body !== null) {
      text += ` ${request.body.chunked ? "chunked" : "length"} `;
      // The body can be longer than `text()` allows, with NUL before its content.
      for await (const piece of request.readable.pipeThrough(new TextDecoderStream())) {
        text += piece.replaceAll("\0", "");
      }
    }
    return [200, "OK", { "content-type": "text/plain" }, new TextEncoder().encode(text)];
  };
}
