/**
 * The Degu server that other programs talk to, over TCP and over TLS.
 *
 * @module
 */

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

/** What a Degu server has seen of its clients. */
export interface Served extends AsyncDisposable {
  /** Without a slash at the end. */
  readonly http: string;
  readonly https: string;
  /** What the servers logged since the last `reset`, `debug` left out. */
  readonly log: readonly string[];
  /** How many connections have brought a request since the last `reset`. */
  readonly connections: number;
  /** Forgets what was seen. */
  reset(): void;
  /** Resolves once the next exchange is complete. */
  nextExchange(): Promise<void>;
}

/** Serves `directory` below `/files`, a `null` body at `/null`, and elsewhere what the request was. */
export async function startDeguServers(pki: TempPKI, directory: string): Promise<Served> {
  let log: string[] = [], sessions = new Set<Session>(), exchanged = Promise.withResolvers<void>();
  const keep = (line: string) => void log.push(line.split("\n")[0] ?? "");
  const logger: Logger = { debug() {}, info: keep, warn: keep, error: keep };
  const onExchange: ServerOptions["onExchange"] = ({ session }) => {
    sessions.add(session);
    exchanged.resolve();
    exchanged = Promise.withResolvers();
  };
  const app = describingApp(new FilesApp(directory, { write: true }));
  const plain = new Server(["127.0.0.1", 0], app, { logger, onExchange });
  const secure = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app, { logger, onExchange });
  await Promise.all([plain.ready, secure.ready]);
  plain.serveForever();
  secure.serveForever();
  return {
    http: `http://127.0.0.1:${plain.address[1]}`,
    https: `https://127.0.0.1:${secure.address[1]}`,
    get log() {
      return log;
    },
    get connections() {
      return sessions.size;
    },
    reset() {
      log = [];
      sessions = new Set();
    },
    nextExchange: () => exchanged.promise,
    async [Symbol.asyncDispose]() {
      await plain[Symbol.asyncDispose]();
      await secure[Symbol.asyncDispose]();
    },
  };
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
