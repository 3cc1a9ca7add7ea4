import { type Api, api, type AppObject } from "../base/app/app.ts";
import {
  parseAppResult,
  ResponseError,
  type ResponseObject,
  type ResponseTuple,
} from "../base/app/app_result.ts";
import { isUnknownTrustError } from "../base/app/peer_identity.ts";
import type { Request } from "../base/app/message.ts";
import {
  findNarrowedTrust,
  type Session,
  sessionCoreOf,
  waitForResponse,
} from "../base/app/session.ts";
import { ProxyApp } from "../apps/proxy.ts";
import {
  Connection,
  type ConnectionCore,
  connectionCoreOf,
} from "../net/client/client_connection.ts";
import { ConnectionClosedError } from "../base/errors.ts";
import { hasConnectionClose } from "../base/wire/headers.ts";
import { stackOf } from "../internal/caught_errors.ts";
import { checkFunction, copyOptions, wrongTypeError } from "../internal/checks.ts";
import { awaitUntilAborted } from "../internal/pause.ts";
import { startInterval, type Timer } from "../net/transport/deadline.ts";
import { type Logger, makeSafeLogger, processLogger, type SafeLogger } from "../base/app/logger.ts";
import type { TrustReply } from "./server_worker.ts";
import { type ModuleExport, parseModuleExport } from "./load_app.ts";
import { PortSocket } from "./port_socket.ts";
import { loadWorkerThreads, WorkerThread } from "./worker_thread.ts";

const PING_MILLISECONDS = 1000;
/** The number of seconds without a reply to a ping after which the worker is silent. */
const MAX_SILENT_SECONDS = 3;
const RESTART_MILLISECONDS = 1000;

/** The app of a {@linkcode WorkerApp}: an export of a module, and the arguments that make it. */
export interface WorkerAppSource {
  /** The absolute URL of the module: `import.meta.resolve("./app.ts")`. */
  readonly module: string | URL;
  /** The name of the export. */
  readonly name: string;
  /**
   * The arguments of the function or the class that makes the app: values that can be cloned.
   *
   * @default {the export is the app itself}
   */
  readonly args?: readonly unknown[] | undefined;
}

/** The settings of a {@linkcode WorkerApp}. */
export interface WorkerAppOptions {
  /**
   * Called with the data of each message that the app sends with `self.postMessage()`.
   *
   * @default {messages of the app are ignored}
   */
  onMessage?: ((data: unknown) => void) | undefined;
  /**
   * The logger for the end of the worker, and of the server in the worker, which logs the errors of
   * the app.
   *
   * @default {`standardLogger()`}
   */
  logger?: Logger | undefined;
}

let appCount = 0;

/**
 * An app that runs in a worker of its own. While the app computes, or waits for a disk that doesn't
 * answer, the server and its other apps continue. The worker has a server of its own, to which this
 * app is a proxy: each session has a connection to it, over a port in place of a socket.
 *
 * If the worker takes no messages for three seconds, further requests get `503 Service Unavailable`
 * with `retry-after`, until it does; requests that the worker has got before get their responses
 * then. If the worker ends, for example by an error that no code catches, its pending requests get
 * 503, and the next request starts a new worker, at most once a second.
 *
 * The app can't have an `onConnect`. A worker keeps the process alive, so close the app, best with
 * `await using`.
 *
 * @example
 * ```ts
 * import { Client, Server, WorkerApp } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const source = `export const makeApp = (name) => ({ path }) =>
 *   [200, "OK", { "x-name": name, "x-path": path.join("/") }, null];`;
 * const module = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
 * await using app = await WorkerApp.start({ module, name: "makeApp", args: ["kitchen"] });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const { headers } = await new Client(server.address).request("GET", "/lamp");
 * assertEquals([headers["x-name"], headers["x-path"]], ["kitchen", "lamp"]);
 * ```
 */
export class WorkerApp implements AppObject, AsyncDisposable {
  /** Whether the app in the worker expects `request.path` to be the path below its mount. */
  readonly isMount: boolean | undefined;
  readonly #start: () => AppThread;
  #thread: AppThread;
  #isClosed = false;

  private constructor(start: () => AppThread, thread: AppThread, isMount: boolean | undefined) {
    this.#start = start;
    this.#thread = thread;
    this.isMount = isMount;
  }

  /**
   * Starts a worker, and resolves when it has loaded the app. The worker has the permissions of the
   * program, and needs `--allow-read` for modules on the disk: the app's, and this package's in a
   * checkout.
   *
   * @param source The module of the app, the name of its export, and the arguments.
   * @param options The callbacks.
   * @throws {TypeError} if an argument has a wrong type, the module doesn't have the export, or the
   * app has `onConnect`.
   * @throws {RangeError} if the module isn't an absolute URL.
   * @throws {DOMException} if an argument can't be cloned.
   * @throws {Error} the error of the module, or of the function that makes the app.
   */
  static async start(
    source: WorkerAppSource,
    options: WorkerAppOptions = {},
  ): Promise<WorkerApp> {
    const { module, name, args = null } = copyOptions(source, ["module", "name", "args"], "source");
    const app = parseModuleExport("source", { module, name });
    if (app === null) {
      throw wrongTypeError("source", "{ module, name } of a module's export", source);
    }
    if (args !== null && !Array.isArray(args)) {
      throw wrongTypeError("source.args", "an array", args);
    }
    const { onMessage = () => {}, logger } = copyOptions(options, ["onMessage", "logger"]);
    checkFunction("onMessage", onMessage);
    const settings = {
      app,
      name,
      // Later workers get the same arguments.
      args: structuredClone(args),
      onMessage,
      logger: logger === undefined ? processLogger : makeSafeLogger(logger),
      key: `WorkerApp ${++appCount}`,
    };
    await loadWorkerThreads();
    const thread = new AppThread(settings);
    const startAgain = () => {
      const thread = new AppThread(settings);
      thread.loaded.catch((error) => {
        const text = `the worker of ${name} can't be started again: ${stackOf(error)}`;
        settings.logger.error(text, { kind: "app", error });
      });
      return thread;
    };
    return new WorkerApp(startAgain, thread, await thread.loaded);
  }

  /**
   * Answers a request with the response of the app in the worker.
   *
   * @param request The request.
   * @param session The session of the request.
   * @throws the same errors as {@linkcode ProxyApp.prototype.handle}.
   */
  async handle(
    request: Request,
    session: Session,
    _api?: Api,
  ): Promise<ResponseObject | ResponseTuple> {
    if (this.#thread.hasEnded && !this.#isClosed && this.#thread.age >= RESTART_MILLISECONDS) {
      this.#thread = this.#start();
    }
    const thread = this.#thread;
    if (!thread.isLoaded && !thread.isSilent) {
      // An app that hangs while it starts again must not keep the slots of clients that leave.
      const limit = AbortSignal.timeout(MAX_SILENT_SECONDS * 1000);
      const signal = AbortSignal.any([request.signal, limit]);
      await awaitUntilAborted(thread.loaded, signal).catch(() => {});
    }
    // The store of a session that has ended wouldn't dispose of the connection to the worker.
    const isEnded = thread.isEnding || !thread.isLoaded || (session.message ?? null) !== null;
    if (isEnded || thread.isSilent) return makeUnavailableResponse();
    return await thread.handle(request, session);
  }

  /**
   * Disposes of the app by its `[Symbol.asyncDispose]()` or `[Symbol.dispose]()`, and ends the
   * worker: after two seconds even if the app blocks its thread. Pending and later requests get
   * 503.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#thread.close();
  }

  /** Ends the worker: {@linkcode WorkerApp.prototype.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function makeUnavailableResponse(): ResponseTuple {
  return [503, "Service Unavailable", { "retry-after": "1" }, null];
}

interface ThreadSettings {
  readonly app: ModuleExport;
  readonly name: string;
  readonly args: readonly unknown[] | null;
  readonly onMessage: (data: unknown) => void;
  readonly logger: SafeLogger;
  /** The key of the sessions' stores under which an app has its session in the worker. */
  readonly key: string;
}

/** A connection to the worker for a session of the server, in the store of this session. */
class WorkerConnection implements Disposable {
  readonly user: string | null;
  readonly #socket: PortSocket;
  readonly #connection: Connection;
  readonly #trustPort: MessagePort;
  readonly #proxy: ProxyApp;
  #isLastResponse = false;
  /** The number of requests of the session before the last request. */
  #previousRequests = 0;

  constructor(
    readonly thread: AppThread,
    /** The session of the last request, which a middleware may have wrapped. */
    public session: Session,
    port: MessagePort,
    trustPort: MessagePort,
  ) {
    this.user = session.user;
    this.#socket = new PortSocket(port);
    this.#connection = new Connection(this.#socket, null, api, null);
    this.#trustPort = trustPort;
    trustPort.onmessage = async ({ data: id }: MessageEvent<number>) => {
      const trust = await findNarrowedTrust(this.session).catch((error) =>
        isUnknownTrustError(error) ? "unknown" as const : "untrusted" as const
      );
      trustPort.postMessage({ id, trust } satisfies TrustReply);
    };
    this.#core.addCloseListener(() => this.#onClose());
    this.#proxy = new ProxyApp({ request: this.#request });
  }

  get #core(): ConnectionCore {
    return connectionCoreOf(this.#connection)!;
  }

  get isClosed(): boolean {
    return this.#connection.closed;
  }

  /** Whether the connection can send a request. */
  get isIdle(): boolean {
    return this.#core.isIdle;
  }

  readonly #request = async (...args: Parameters<Connection["request"]>) => {
    try {
      const response = await this.#connection.request(...args);
      this.thread.noteResponse();
      this.#isLastResponse = hasConnectionClose(response.headers);
      return response;
    } catch (error) {
      if (this.thread.isEnding) throw new ResponseError(makeUnavailableResponse());
      if (this.#socket.hasEnded) this.session.close(error);
      throw error;
    }
  };

  async handle(request: Request): Promise<ResponseObject | ResponseTuple> {
    this.#isLastResponse = false;
    this.#previousRequests = this.session.requests;
    const result = await this.#proxy.handle(request, this.session);
    if (!this.#isLastResponse) return result;
    // The app, or the server in the worker, ends the session after this response.
    const { status, reason, headers, body } = parseAppResult(result);
    return [status, reason, { ...headers, connection: "close" }, body];
  }

  #onClose(): void {
    this.#trustPort.close();
    this.thread.forget(this);
    if (!this.#socket.hasEnded || !this.isIdle || this.thread.isEnding) return;
    // The app, or the server in the worker, has ended the session after the last response, which
    // may still be sent.
    const { session } = this;
    const close = () => session.close(new ConnectionClosedError("the app has ended the session"));
    if (session.requests > this.#previousRequests) close();
    else waitForResponse(session).then(close, close);
  }

  end(error: Error): void {
    this.#socket.close(error);
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

/** A worker with an app, until the worker ends. */
class AppThread {
  readonly #settings: ThreadSettings;
  readonly #thread: WorkerThread;
  readonly #startTime = performance.now();
  /** Resolves to the `isMount` of the app; rejects if the app can't be loaded. */
  readonly loaded: Promise<boolean | undefined>;
  readonly #connections = new Set<WorkerConnection>();
  #pendingCount = 0;
  #hasNewRequests = false;
  #pingTimer: Timer | undefined;
  #isPingPending = false;
  #silentSeconds = 0;
  isLoaded = false;

  constructor(settings: ThreadSettings) {
    this.#settings = settings;
    const { name, logger, onMessage } = settings;
    this.#thread = new WorkerThread(`the worker of ${name}`, logger, onMessage);
    this.loaded = this.#load();
    this.loaded.catch(() => {});
    this.#thread.ended.then(() => this.#end());
  }

  async #load(): Promise<boolean | undefined> {
    const { app, args } = this.#settings;
    const isMount = await this.#thread.execute({ type: "load", app, args });
    const listening = { address: null, options: {}, hasLogger: true, sslconfig: null };
    await this.#thread.execute({ type: "listen", ...listening });
    this.isLoaded = true;
    return isMount as boolean | undefined;
  }

  /** The number of milliseconds since the start. */
  get age(): number {
    return performance.now() - this.#startTime;
  }

  get hasEnded(): boolean {
    return this.#thread.finalError !== null;
  }

  /** Whether requests get 503, because the worker has ended, or will end. */
  get isEnding(): boolean {
    return this.hasEnded || this.#thread.isClosing;
  }

  get isSilent(): boolean {
    return this.#silentSeconds >= MAX_SILENT_SECONDS ||
      !this.isLoaded && this.age >= MAX_SILENT_SECONDS * 1000;
  }

  noteResponse(): void {
    this.#silentSeconds = 0;
  }

  async handle(request: Request, session: Session): Promise<ResponseObject | ResponseTuple> {
    const connection = this.#connect(session);
    this.#pendingCount++;
    this.#hasNewRequests = true;
    this.#startPinging();
    try {
      return await connection.handle(request);
    } finally {
      this.#pendingCount--;
    }
  }

  #connect(session: Session): WorkerConnection {
    let { key } = this.#settings;
    // If an app in front makes several requests at a time, each has a connection.
    for (let number = 2;; number++) {
      const existing = session.store.get(key);
      if (!(existing instanceof WorkerConnection) || existing.isClosed) break;
      if (existing.user !== session.user) {
        existing[Symbol.dispose]();
        break;
      }
      if (existing.isIdle) {
        existing.session = session;
        return existing;
      }
      key = `${this.#settings.key} (${number})`;
    }
    const requests = new MessageChannel();
    const trust = new MessageChannel();
    const { address, user, peerCertificate: certificate } = session;
    // The session in the worker adds the user to its name.
    const name = sessionCoreOf(session)?.name ?? `${session}`;
    this.#thread.connect({
      type: "connect",
      peer: { name, address, user, certificate },
      port: requests.port2,
      trustPort: trust.port2,
    });
    const connection = new WorkerConnection(this, session, requests.port1, trust.port1);
    this.#connections.add(connection);
    session.store.set(key, connection);
    return connection;
  }

  forget(connection: WorkerConnection): void {
    this.#connections.delete(connection);
  }

  /**
   * Asks the worker each second whether it takes messages, until it does and no requests wait. A
   * request that has ended without a response may have silenced the worker.
   */
  #startPinging(): void {
    if (this.#pingTimer !== undefined) return;
    this.#ping();
    this.#pingTimer = startInterval(() => {
      if (this.#isPingPending) this.#silentSeconds++;
      else if (this.#pendingCount > 0 || this.#hasNewRequests) this.#ping();
      else this.#stopPinging();
    }, PING_MILLISECONDS);
  }

  async #ping(): Promise<void> {
    this.#hasNewRequests = false;
    this.#isPingPending = true;
    try {
      await this.#thread.execute({ type: "ping" });
      this.#isPingPending = false;
      this.#silentSeconds = 0;
    } catch {
      // The worker has ended.
    }
  }

  #stopPinging(): void {
    clearInterval(this.#pingTimer);
    this.#pingTimer = undefined;
  }

  /** Resolves when the app was disposed of, and the worker has ended. */
  close(): Promise<void> {
    return this.#thread.close();
  }

  #end(): void {
    this.#stopPinging();
    for (const connection of this.#connections) connection.end(this.#thread.finalError!);
  }
}
