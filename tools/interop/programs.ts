/** Programs that may be installed, and the Degu server that they talk to. */

import {
  type App,
  type Logger,
  Server,
  type ServerOptions,
  type Session,
  SSLServer,
} from "@degu/degu";
import { FilesApp } from "@degu/degu/files";
import type { TempPKI } from "@degu/degu/misc";
import { type CommandEnd, MISSING_PROGRAM_CODE, runCommand } from "../../tests/support/commands.ts";

/** Variables that switch off proxies of the environment. */
const ENV = { no_proxy: "127.0.0.1,localhost", NO_PROXY: "127.0.0.1,localhost" };

/** Runs a program until it ends or a signal ends it; `null` if the program isn't installed. */
export async function run(
  command: readonly string[],
  signal: AbortSignal = AbortSignal.timeout(60_000),
  env: Readonly<Record<string, string>> = {},
): Promise<CommandEnd | null> {
  const ending = await runCommand(command, { env: { ...ENV, ...env }, signal });
  return ending.code === MISSING_PROGRAM_CODE ? null : ending;
}

/** Returns the last line of output that explains a program's failure. */
export function problemOf(ending: CommandEnd | null): string {
  if (ending === null) return "not installed";
  const lines = `${ending.stdout}\n${ending.stderr}`.split("\n").map((line) => line.trim())
    .filter(Boolean);
  return lines.findLast((line) => /error|exception|curl:|failed|refused/i.test(line)) ??
    lines.at(-1) ?? "nothing was printed";
}

/** Degu servers over TCP and over TLS, and a record of their clients. */
export class Served implements AsyncDisposable {
  /** The lines that the servers logged since the last `reset`, without `debug`. */
  log: string[] = [];
  /** The URL without a slash at the end. */
  http = "";
  https = "";
  #sessions = new Set<Session>();
  #exchanged = Promise.withResolvers<void>();
  readonly #stack = new AsyncDisposableStack();

  /**
   * Serves `directory` below `/files`, a `null` body at `/null`, and elsewhere a description of the
   * request.
   */
  static async start(pki: TempPKI, directory: string): Promise<Served> {
    const served = new Served();
    const keep = (line: string) => void served.log.push(line.split("\n")[0] ?? "");
    const logger: Logger = { debug() {}, info: keep, warn: keep, error: keep };
    const onExchange: ServerOptions["onExchange"] = ({ session }) => {
      served.#sessions.add(session);
      served.#exchanged.resolve();
      served.#exchanged = Promise.withResolvers();
    };
    const app = describingApp(new FilesApp(directory, { write: true }));
    const options = { logger, onExchange };
    const plain = served.#stack.use(new Server(["127.0.0.1", 0], app, options));
    const secure = served.#stack.use(
      new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app, options),
    );
    await Promise.all([plain.ready, secure.ready]);
    plain.serveForever();
    secure.serveForever();
    served.http = `http://127.0.0.1:${plain.address[1]}`;
    served.https = `https://127.0.0.1:${secure.address[1]}`;
    return served;
  }

  /** The number of connections with a request since the last `reset`. */
  get connections(): number {
    return this.#sessions.size;
  }

  reset(): void {
    this.log = [];
    this.#sessions = new Set();
  }

  nextExchange(): Promise<void> {
    return this.#exchanged.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

function describingApp(files: FilesApp): App {
  return async (request, session, api) => {
    const [first] = request.path;
    if (first === "null") return [200, "OK", {}, null];
    if (first === "files") {
      request.shiftPath();
      return await files.handle(request, session, api);
    }
    let text: string = request.method;
    if (request.body !== null) {
      text += ` ${request.body.chunked ? "chunked" : "length"} ${await request.body.text()}`;
    }
    return [200, "OK", { "content-type": "text/plain" }, new TextEncoder().encode(text)];
  };
}
