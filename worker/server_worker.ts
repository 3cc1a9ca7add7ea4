/** Importing this module has no effect in the main thread. */

import { type App, type AppObject, type AppParts, disposeApp, readApp } from "../base/app/app.ts";
import type { Address, HostAddress, ScopedAddress } from "../base/address.ts";
import { ResponseError } from "../base/app/app_result.ts";
import type { LogDetails, Logger, LogLevel } from "../base/app/logger.ts";
import {
  type PeerCertificate,
  type SessionCore,
  sessionCoreOf,
  type TrustState,
} from "../base/app/session.ts";
import { ConnectionClosedError } from "../base/errors.ts";
import { wrongArgumentError } from "../internal/checks.ts";
import { unknownTrustErrors } from "../internal/error_details.ts";
import {
  type AcceptedConnection,
  type Listener,
  ListenerMaker,
} from "../net/transport/listener.ts";
import type { ServerOptions } from "../net/server/server_options.ts";
import type { ServerSslconfig } from "../net/tls/context.ts";
import { Server, SSLServer } from "../server.ts";
import { buildApp, loadModuleExport, type ModuleExport } from "./load_app.ts";
import { PortSocket } from "./port_socket.ts";
import {
  type PostedError,
  reportUncaughtErrors,
  runInWorker,
  toPostedError,
} from "./worker_port.ts";

/** The peer of a session of the server in the other thread. */
export interface PostedPeer {
  readonly name: string;
  readonly address: HostAddress | ScopedAddress | null;
  readonly user: string | null;
  readonly certificate: PeerCertificate | null;
}

export type Trust = TrustState | "unknown";

/** The reply to a number that the worker has posted to ask for the trust in a peer. */
export interface TrustReply {
  readonly id: number;
  readonly trust: Trust;
}

/** A command to a worker, in this order: load the app, serve it, close the server. */
export type WorkerCommand =
  | {
    readonly type: "load";
    readonly app: ModuleExport;
    /** The arguments for making the app; `null` if the export is the app itself. */
    readonly args: readonly unknown[] | null;
  }
  | {
    readonly type: "listen";
    /** The address of the server; `null` for connections of the other thread. */
    readonly address: Address | null;
    readonly options: Omit<ServerOptions, "logger">;
    /** Whether the log goes to the thread that has started the worker. */
    readonly hasLogger: boolean;
    readonly sslconfig: ServerSslconfig | null;
  }
  | { readonly type: "ping" | "close" };

/** A session has begun. Its requests have a port, and so have the requests for its trust. */
export interface PostedConnection {
  readonly type: "connect";
  readonly peer: PostedPeer;
  readonly port: MessagePort;
  readonly trustPort: MessagePort;
}

export type WorkerReport =
  /** A command was executed. */
  | {
    readonly type: WorkerCommand["type"];
    /** `isMount` of the app after `load`; the address of the server after `listen`. */
    readonly result: unknown;
  }
  /** A line of the server's log. */
  | {
    readonly type: "log";
    readonly level: LogLevel;
    readonly message: string;
    readonly details: Omit<LogDetails, "error"> & { readonly error: PostedError | undefined };
  }
  /** A command failed, or an error was not caught: the worker can't be used any more. */
  | { readonly type: "failed"; readonly error: PostedError };

/** A listener of the connections that the other thread makes. */
class PortListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: HostAddress = ["127.0.0.1", 0];
  readonly #connections: AcceptedConnection[] = [];
  #wake: () => void = () => {};
  #isClosed = false;

  add(connection: AcceptedConnection): void {
    this.#connections.push(connection);
    this.#wake();
  }

  async accept(): Promise<AcceptedConnection> {
    while (this.#connections.length === 0) {
      if (this.#isClosed) throw new ConnectionClosedError();
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#connections.shift()!;
  }

  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  waitUntilEnded(): Promise<void> {
    return Promise.resolve();
  }
}

/** The socket of a session, whose peer the server in the other thread has accepted. */
class PeerSocket extends PortSocket {
  readonly #peer: PostedPeer;
  readonly #trustPort: MessagePort;
  readonly #trustRequests = new Map<number, (trust: Trust) => void>();
  #lastId = 0;

  constructor(peer: PostedPeer, port: MessagePort, trustPort: MessagePort) {
    super(port, peer.certificate);
    this.#peer = peer;
    this.#trustPort = trustPort;
    trustPort.onmessage = ({ data: { id, trust } }: MessageEvent<TrustReply>) => {
      this.#trustRequests.get(id)?.(trust);
      this.#trustRequests.delete(id);
    };
  }

  /** Gives the session the name of the peer, and the trust of the server in the other thread. */
  identify(session: SessionCore): void {
    const { user } = this.#peer;
    if (user !== null) session.identifyPeer({ user });
    const findOwnTrust = session.findTrust.bind(session);
    session.findTrust = async () => {
      // The app may have narrowed the trust by `addIdentity()`.
      if (await findOwnTrust() === "untrusted") return "untrusted";
      const trust = await this.#requestTrust();
      if (trust !== "unknown") return trust;
      const error = new ResponseError([503, "Service Unavailable", {}, null]);
      throw unknownTrustErrors.set(error, true);
    };
  }

  #requestTrust(): Promise<Trust> {
    if (this.isClosed) return Promise.resolve("unknown");
    const id = ++this.#lastId;
    this.#trustPort.postMessage(id);
    return new Promise((resolve) => this.#trustRequests.set(id, resolve));
  }

  override onClose(): void {
    this.#trustPort.close();
    for (const resolve of this.#trustRequests.values()) resolve("unknown");
  }
}

/** Makes a server for the other thread, whose server has checked the peers and limits them. */
function makePortServer(
  { handle, onConnect }: AppParts,
  label: string,
  logger: Logger,
  listener: Listener,
): Server {
  if (onConnect !== null) {
    throw wrongArgumentError(
      "app",
      `${label} has onConnect, which can't run in a worker, because it gets the socket: add it in ` +
        "the server's thread by wrapApp(app, { onConnect })",
    );
  }
  const acceptPeer: AppObject["onConnect"] = (session, socket) => {
    (socket as PeerSocket).identify(sessionCoreOf(session)!);
    return true;
  };
  const options: ServerOptions = {
    logger,
    timeout: null,
    maxConnections: Infinity,
    hosts: "any",
  };
  const listenerMaker = new ListenerMaker([], () => listener);
  return new Server(listener.address, { handle, onConnect: acceptPeer }, options, listenerMaker);
}

runInWorker((port) => {
  const report = (report: WorkerReport) => port.postMessage(report);
  const fail = (error: unknown) => report({ type: "failed", error: toPostedError(error) });
  const moveListeners = reportUncaughtErrors(fail);
  const ignoreLine = () => {};
  const logger: Logger = {
    ...{ debug: ignoreLine, info: ignoreLine, warn: ignoreLine, error: ignoreLine },
    record(level, message, details) {
      const error = details.error === undefined ? undefined : toPostedError(details.error);
      report({ type: "log", level, message, details: { ...details, error } });
    },
  };
  const listener = new PortListener();
  let label: string;
  let app: App;
  let server: Server | null = null;
  const execute = async (command: WorkerCommand): Promise<unknown> => {
    switch (command.type) {
      case "load": {
        const { args } = command;
        const value = await loadModuleExport(command.app);
        label = `the export "${command.app.name}"`;
        app = args === null ? value as App : await buildApp(value, args, label);
        moveListeners();
        return (app as AppObject | undefined)?.isMount;
      }
      case "listen": {
        const { address, hasLogger, sslconfig } = command;
        const options = hasLogger ? { ...command.options, logger } : command.options;
        server = address === null
          ? makePortServer(readApp(app, label), label, logger, listener)
          : sslconfig === null
          ? new Server(address, app, options)
          : new SSLServer(sslconfig, address, app, options);
        await server.ready;
        server.serveForever().catch(fail);
        return server.address;
      }
      case "close":
        server?.close();
        await server?.[Symbol.asyncDispose]();
        await disposeApp(app);
    }
    return undefined;
  };
  port.onmessage = ({ data }: MessageEvent<WorkerCommand | PostedConnection>) => {
    const { type } = data;
    if (type !== "connect") execute(data).then((result) => report({ type, result }), fail);
    else {
      const { peer, trustPort } = data;
      const socket = new PeerSocket(peer, data.port, trustPort);
      const { name, address } = peer;
      listener.add({ name, address, peerKey: name, socket, isPeerTrusted: () => true });
    }
  };
});
