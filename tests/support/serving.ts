/** A server that runs for one test, and a logger that records its messages. */

import type { Address, HostAddress, Socket } from "@degu/degu/base";
import { Client, type ClientOptions } from "@degu/degu/client";
import {
  type Api,
  type App,
  type AppFunction,
  type Logger,
  type Request,
  Server,
  type ServerOptions,
  type Session,
} from "@degu/degu/server";
import { ProxyApp } from "@degu/degu";
import { invalidTransitionError } from "@degu/internal/net/protocol/phases.ts";
import { ServerConnection } from "@degu/internal/net/server/server_connection.ts";
import { RawPeer, withTimeout } from "./raw_peer.ts";

const BUG = invalidTransitionError("", "").message.split(",")[0]!;

/** Throws an uncaught error if a log line reports a bug of the library. */
export function failAtBugs(line: string): void {
  if (line.includes(BUG)) queueMicrotask(() => reportError(new Error(line)));
}

export type LogLevel = Parameters<Required<Logger>["record"]>[0];

/** Records every message with its level. A logged bug of the library fails any test. */
export class RecordingLogger implements Logger {
  readonly lines: (readonly [level: LogLevel, message: string])[] = [];
  #addListeners: (() => void)[] = [];

  debug = (message: string): void => this.#add("debug", message);
  info = (message: string): void => this.#add("info", message);
  warn = (message: string): void => this.#add("warn", message);
  error = (message: string): void => this.#add("error", message);

  messagesOf(level: LogLevel | "any"): string[] {
    return this.lines.filter(([lineLevel]) => level === "any" || lineLevel === level)
      .map(([, message]) => message);
  }

  /** Waits until a level has `count` messages with a text; returns all messages of the level. */
  async waitFor(level: LogLevel | "any", text = "", count = 1): Promise<string[]> {
    while (this.messagesOf(level).filter((message) => message.includes(text)).length < count) {
      const messageAdded = Promise.withResolvers<void>();
      this.#addListeners.push(messageAdded.resolve);
      await withTimeout(
        messageAdded.promise,
        `a message of level ${level}; got ${Deno.inspect(this.lines)}`,
      );
    }
    return this.messagesOf(level);
  }

  #add(level: LogLevel, message: string): void {
    if (level === "error") failAtBugs(message);
    this.lines.push([level, message]);
    for (const resolve of this.#addListeners.splice(0)) resolve();
  }
}

/**
 * Starts a server, on a free port of 127.0.0.1 by default; it is closed on dispose, and its app
 * disposed of.
 */
export function serve(
  app: App,
  options: ServerOptions = {},
  address: Address = ["127.0.0.1", 0],
) {
  const logger = new RecordingLogger();
  const serving = runServer(new Server(address, app, { logger, ...options }), logger);
  return {
    ...serving,
    address: serving.address,
    [Symbol.asyncDispose]: async () => {
      await serving[Symbol.asyncDispose]();
      if (app instanceof ProxyApp) await app[Symbol.asyncDispose]();
    },
  };
}

/** Runs a server, and closes it on dispose. */
export function runServer<Kind extends Server>(server: Kind, logger: RecordingLogger) {
  const serverEnded = server.serveForever();
  return {
    server,
    logger,
    done: serverEnded,
    get address(): Address {
      return server.address;
    },
    makeClient: (clientOptions?: ClientOptions) =>
      new Client(server.address, { timeout: 30, ...clientOptions }),
    [Symbol.asyncDispose]: async () => {
      server.close();
      await withTimeout(serverEnded, "serveForever() settles after close()");
    },
  };
}

export type Serving = ReturnType<typeof serve>;
export type ServedRawPeer = Awaited<ReturnType<typeof connectRawPeer>>;

/**
 * Starts a server, on a free port of 127.0.0.1 by default, and connects a raw peer that sends these
 * bytes; resolves once it has a session.
 */
export async function connectRawPeer(
  app: App,
  requestText = "",
  options?: ServerOptions,
  address?: Address,
) {
  const { handle, onConnect } = typeof app === "function" ? { handle: app } : app;
  const sessionStart = Promise.withResolvers<Session>();
  const requestStart = Promise.withResolvers<void>();
  const storeDisposed = Promise.withResolvers<void>();
  const watchedApp: App = {
    handle(request, session, api) {
      requestStart.resolve();
      return handle.call(app, request, session, api);
    },
    onConnect(session, sock) {
      session.store.set("raw peer", { [Symbol.dispose]: storeDisposed.resolve });
      sessionStart.resolve(session);
      return onConnect?.call(app, session, sock) ?? true;
    },
  };
  const serving = serve(watchedApp, options, address);
  const peer = await RawPeer.connect(serving.address, requestText);
  const session = await withTimeout(sessionStart.promise, "a session begins");
  return {
    serving,
    logger: serving.logger,
    peer,
    session,
    /** Resolves when the app is called for the first time. */
    get appCalled() {
      return withTimeout(requestStart.promise, "the app is called");
    },
    /** Resolves when the session has ended and its store is disposed of. */
    get sessionEnded() {
      return withTimeout(storeDisposed.promise, "the session is over");
    },
    async [Symbol.asyncDispose]() {
      peer.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

/** Makes an app that may return values outside of its type. */
export function makeUntypedApp(
  handle: (request: Request, session: Session, api: Api) => unknown,
): App {
  return handle as AppFunction;
}

/** Makes the server's side of a connection over a socket of the test. */
export function makeServerConnection(
  socket: Socket,
  handle: AppFunction,
  { address = null, hosts = null }: { address?: HostAddress | null; hosts?: "any" | null } = {},
) {
  const logger = new RecordingLogger();
  const context = {
    handle,
    logger,
    sessions: new Set<Session>(),
    isStopping: false,
    lingeringConnections: new Set<ServerConnection>(),
    onConnect: null,
    timeout: null,
    reportExchange: null,
    unframedNull: false,
    hosts,
    maxRequests: 10,
  };
  const accepted = { name: "name", address, peerKey: "", socket, isPeerTrusted: () => true };
  const connection = new ServerConnection(context, accepted);
  return { connection, logger, session: connection.session };
}
