/** Importing this module has no effect in the main thread. */

import { type App, type AppObject, disposeApp, readApp } from "../base/app/app.ts";
import type { HostAddress, ScopedAddress } from "../base/address.ts";
import { ResponseError } from "../base/app/app_result.ts";
import type { LogDetails, Logger, LogLevel } from "../base/app/logger.ts";
import {
  type PeerCertificate,
  type SessionCore,
  sessionCoreOf,
  type TrustState,
} from "../base/app/session.ts";
import { wrongArgumentError } from "../internal/checks.ts";
import { unknownTrustErrors } from "../internal/error_details.ts";
import {
  type AcceptedConnection,
  type Listener,
  ListenerMaker,
} from "../net/transport/listener.ts";
import { Server } from "../server.ts";
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

export type WorkerCommand =
  | { readonly type: "load"; readonly app: ModuleExport; readonly args: readonly unknown[] | null }
  /** A session has begun. Its requests have a port, and so have the requests for its trust. */
  | {
    readonly type: "connect";
    readonly peer: PostedPeer;
    readonly port: MessagePort;
    readonly trustPort: MessagePort;
  }
  | { readonly type: "ping" | "close" };

export type WorkerReport =
  | { readonly type: "loaded"; readonly isMount: boolean | undefined }
  | { readonly type: "pong" | "closed" }
  /** A line of the log of the server in the worker. */
  | {
    readonly type: "log";
    readonly level: LogLevel;
    readonly message: string;
    readonly details: Omit<LogDetails, "error"> & { readonly error: PostedError | undefined };
  }
  /** An error was not caught: the worker can't be used any more. */
  | { readonly type: "failed"; readonly error: PostedError };

/** A listener of the connections that the other thread makes. */
class PortListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: HostAddress = ["127.0.0.1", 0];
  readonly #connections: AcceptedConnection[] = [];
  #wake: () => void = () => {};

  add(connection: AcceptedConnection): void {
    this.#connections.push(connection);
    this.#wake();
  }

  async accept(): Promise<AcceptedConnection> {
    while (this.#connections.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#connections.shift()!;
  }

  close(): void {}

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

function acceptPeers({ handle }: Pick<AppObject, "handle">): App {
  return {
    handle,
    onConnect(session, socket) {
      (socket as PeerSocket).identify(sessionCoreOf(session)!);
      return true;
    },
  };
}

async function loadApp({ app, args }: Extract<WorkerCommand, { type: "load" }>): Promise<App> {
  const value = await loadModuleExport(app);
  const label = `the export "${app.name}"`;
  const loadedApp = args === null
    ? value as App
    : await buildApp(value, args, { argument: "app", label, advice: "leave out args" });
  if (readApp(loadedApp, label).onConnect === null) return loadedApp;
  throw wrongArgumentError(
    "app",
    `${label} has onConnect, which can't run in a worker, because it gets the socket: write ` +
      "onConnect in the server's thread: { onConnect, handle: (...args) => app.handle(...args) }",
  );
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
  let app: App | null = null;
  let server: Server | null = null;
  const execute = async (command: WorkerCommand): Promise<void> => {
    switch (command.type) {
      case "load": {
        app = await loadApp(command);
        const parts = readApp(app, "app");
        // The server in the other thread checks and limits its peers.
        const limit = Number.MAX_SAFE_INTEGER;
        const options = { logger, timeout: null, maxConnections: limit, maxRequests: limit };
        const maker = new ListenerMaker([], () => listener);
        server = new Server(listener.address, acceptPeers(parts), options, maker);
        server.serveForever().catch(fail);
        moveListeners();
        return report({ type: "loaded", isMount: (app as AppObject).isMount });
      }
      case "connect": {
        const { peer, port, trustPort } = command;
        const socket = new PeerSocket(peer, port, trustPort);
        const { name, address } = peer;
        return listener.add({ name, address, peerKey: name, socket, isPeerTrusted: () => true });
      }
      case "ping":
        return report({ type: "pong" });
      case "close":
        server?.close();
        if (app !== null) await disposeApp(app);
        return report({ type: "closed" });
    }
  };
  port.onmessage = ({ data }: MessageEvent<WorkerCommand>) => execute(data).catch(fail);
});
