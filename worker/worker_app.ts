import type { Api, AppObject } from "../base/app/app.ts";
import { isUnknownTrustError } from "../base/app/peer_identity.ts";
import { hasSignalOf, markContentError, type Request } from "../base/app/message.ts";
import type { PeerCertificate, Session } from "../base/app/session.ts";
import type { ResponseTuple } from "../base/app/app_result.ts";
import { Body, ChunkedBody } from "../base/body/body.ts";
import type { BodyOutcome } from "../base/body/body_reader.ts";
import { DeguError } from "../base/errors.ts";
import { parseContentRange } from "../base/wire/range.ts";
import { stackOf } from "../internal/caught_errors.ts";
import { checkFunction, copyOptions, wrongTypeError } from "../internal/checks.ts";
import { markCopy } from "../internal/copies.ts";
import { pause } from "../internal/pause.ts";
import { startInterval, type Timer } from "../net/transport/deadline.ts";
import { type Logger, makeSafeLogger, processLogger, type SafeLogger } from "../base/app/logger.ts";
import { BodyReceiver, BodySender, type Post, transferBody } from "./body_transfer.ts";
import { type ModuleExport, parseModuleExport } from "./load_app.ts";
import type { PostedResponse, WorkerCommand, WorkerReport } from "./messages.ts";
import { fromPostedError, loadWorkerThreads, startWorker, toPostedError } from "./worker_port.ts";

/** Never called: the import lets `deno cache` find the module, which is started by its URL. */
void (() => import("./app_worker.ts"));

const PING_MILLISECONDS = 1000;
/** The number of pings without a reply after which the worker is silent. */
const MAX_MISSED_PINGS = 3;
const RESTART_MILLISECONDS = 1000;
/** The time after which `close()` terminates a worker whose app blocks the thread. */
const CLOSE_MILLISECONDS = 2000;

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
   * The logger for the end of the worker.
   *
   * @default {`standardLogger()`}
   */
  logger?: Logger | undefined;
}

let appCount = 0;

/**
 * An app that runs in a worker of its own. While the app computes, or waits for a disk that doesn't
 * answer, the server and its other apps continue. Requests, responses and bodies are exchanged as
 * messages.
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
    if (!(thread instanceof AppThread)) {
      throw new TypeError("a WorkerApp is made by WorkerApp.start(), which resolves to it");
    }
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
    const moduleExport = parseModuleExport("source", { module, name });
    if (moduleExport === null) {
      throw wrongTypeError("source", "{ module, name } of a module's export", source);
    }
    if (args !== null && !Array.isArray(args)) {
      throw wrongTypeError("source.args", "an array", args);
    }
    const { onMessage = () => {}, logger } = copyOptions(options, ["onMessage", "logger"]);
    checkFunction("onMessage", onMessage);
    const settings = {
      moduleExport,
      // Later workers get the same arguments.
      args: structuredClone(args),
      onMessage,
      logger: logger === undefined ? processLogger : makeSafeLogger(logger),
      key: `WorkerApp ${++appCount}`,
    };
    await loadWorkerThreads();
    const thread = new AppThread(settings, false);
    return new WorkerApp(() => new AppThread(settings, true), thread, await thread.loaded);
  }

  /**
   * Answers a request with the response of the app in the worker.
   *
   * @param request The request.
   * @param session The session of the request.
   * @throws {Error} the error of the app, with its name, message, stack and causes.
   * @throws {DOMException} if a value of `request.store` can't be cloned.
   */
  async handle(request: Request, session: Session, _api?: Api): Promise<ResponseTuple> {
    if (this.#thread.hasEnded && !this.#isClosed && this.#thread.age >= RESTART_MILLISECONDS) {
      this.#thread = this.#start();
    }
    const thread = this.#thread;
    // An error of a worker that was started again is in the log.
    if (!thread.isLoaded) await thread.loaded.catch(() => {});
    if (thread.hasEnded || thread.isSilent) return makeUnavailableResponse();
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

markCopy(WorkerApp.prototype);

function makeUnavailableResponse(): ResponseTuple {
  return [503, "Service Unavailable", { "retry-after": "1" }, null];
}

interface ThreadSettings {
  readonly moduleExport: ModuleExport;
  readonly args: readonly unknown[] | null;
  readonly onMessage: (data: unknown) => void;
  readonly logger: SafeLogger;
  /** The key of the sessions' stores under which an app has its session in the worker. */
  readonly key: string;
}

/** A session that the worker has, in the store of the server's session. */
class SharedSession implements Disposable {
  /** The error of the last trust check that could not be done. */
  trustError: unknown = null;
  isWatched = false;

  constructor(
    readonly thread: AppThread,
    readonly id: number,
    /** The session of the last request, which a middleware may have wrapped. */
    public session: Session,
  ) {}

  [Symbol.dispose](): void {
    this.thread.disposeSession(this.id);
  }
}

class Exchange {
  readonly response: PromiseWithResolvers<ResponseTuple> = Promise.withResolvers();
  readonly endController: AbortController = new AbortController();
  receiver: BodyReceiver | null = null;
  isResponseRead = false;
  isRequestSent: boolean;

  constructor(
    readonly request: Request,
    readonly sharedSession: SharedSession,
    /** The sender of the request's body; `null` without one. */
    readonly sender: BodySender | null,
  ) {
    this.isRequestSent = sender === null;
  }
}

/** A worker with an app, until the worker ends. */
class AppThread {
  readonly #settings: ThreadSettings;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #isRestart: boolean;
  readonly #startTime = performance.now();
  readonly #loaded = Promise.withResolvers<boolean | undefined>();
  /** Resolves to the `isMount` of the app; rejects if the app can't be loaded. */
  readonly loaded: Promise<boolean | undefined> = this.#loaded.promise;
  readonly #closed = Promise.withResolvers<void>();
  readonly #exchanges = new Map<number, Exchange>();
  readonly #sessions = new Map<number, SharedSession>();
  #lastId = 0;
  #pingTimer: Timer | undefined;
  #missedPings = 0;
  #isClosing = false;
  isLoaded = false;
  hasEnded = false;
  readonly #post: Post = (message, transfer) => this.#send(message, transfer);

  /** @param isRestart Whether the failure to load the app is only in the log. */
  constructor(settings: ThreadSettings, isRestart: boolean) {
    this.#settings = settings;
    this.#isRestart = isRestart;
    const { moduleExport, args, onMessage } = settings;
    const url = new URL("./app_worker.ts", import.meta.url);
    const name = `the worker of ${moduleExport.name}`;
    const { worker, port } = startWorker(url, name, (reason, error) => this.#end(reason, error));
    this.#worker = worker;
    this.#port = port;
    this.loaded.catch(() => {});
    worker.onmessage = ({ data }) => onMessage(data);
    port.onmessage = ({ data }: MessageEvent<WorkerReport>) => this.#receive(data);
    this.#send({ type: "load", app: moduleExport, args });
  }

  /** The number of milliseconds since the start. */
  get age(): number {
    return performance.now() - this.#startTime;
  }

  get isSilent(): boolean {
    return this.#missedPings >= MAX_MISSED_PINGS;
  }

  #send(command: WorkerCommand, transfer: Transferable[] = []): void {
    if (!this.hasEnded) this.#port.postMessage(command, transfer);
  }

  handle(request: Request, session: Session): Promise<ResponseTuple> {
    const sharedSession = this.#shareSession(session);
    const { user, requests } = session;
    const { method, uri, body, mount, path, query, parameters } = request;
    const { range, ...headers } = request.headers;
    const id = ++this.#lastId;
    const postedRequest = {
      method,
      uri,
      headers: range === undefined ? headers : { ...headers, range: `${range}` },
      body: body === null ? null : body.chunked ? "chunked" as const : body.contentLength,
      mount,
      path,
      query,
      parameters: { ...parameters },
      store: [...request.store],
      hasOwnSignal: !hasSignalOf(request, session),
    };
    const sessionId = sharedSession.id;
    this.#send({ type: "request", id, sessionId, user, requests, request: postedRequest });
    const sender = body === null ? null : new BodySender(id, body, this.#post);
    const exchange = new Exchange(request, sharedSession, sender);
    this.#exchanges.set(id, exchange);
    this.#startPinging();
    return exchange.response.promise;
  }

  #shareSession(session: Session): SharedSession {
    const { key } = this.#settings;
    const existing = session.store.get(key);
    if (existing instanceof SharedSession && existing.thread === this) {
      existing.session = session;
      return existing;
    }
    const id = ++this.#lastId;
    const sharedSession = new SharedSession(this, id, session);
    const { address, maxRequests, peerCertificate } = session;
    this.#send({
      type: "session",
      id,
      session: {
        name: `${session}`,
        address,
        maxRequests,
        peerCertificate: peerCertificate === null ? null : copyCertificate(peerCertificate),
      },
    });
    session.store.set(key, sharedSession);
    this.#sessions.set(id, sharedSession);
    return sharedSession;
  }

  disposeSession(id: number): void {
    this.#sessions.delete(id);
    this.#send({ type: "disposeSession", id });
  }

  /** Asks the worker each second whether it takes messages, while requests wait. */
  #startPinging(): void {
    if (this.#pingTimer !== undefined) return;
    this.#missedPings = 0;
    this.#send({ type: "ping" });
    this.#pingTimer = startInterval(() => {
      if (this.#exchanges.size === 0) return this.#stopPinging();
      this.#missedPings++;
      this.#send({ type: "ping" });
    }, PING_MILLISECONDS);
  }

  #stopPinging(): void {
    clearInterval(this.#pingTimer);
    this.#pingTimer = undefined;
  }

  #receive(report: WorkerReport): void {
    if (this.hasEnded) return;
    this.#missedPings = 0;
    switch (report.type) {
      case "loaded":
        this.isLoaded = true;
        return this.#loaded.resolve(report.isMount);
      case "pong":
        return;
      case "closed":
        return this.#closed.resolve();
      case "response":
        return this.#receiveResponse(report.id, report.response);
      case "error":
        return this.#receiveError(report);
      case "contentError": {
        const request = this.#exchanges.get(report.id)?.request;
        return request && markContentError(fromPostedError(report.error), request);
      }
      case "watch":
        return this.#watch(report.id);
      case "trust":
        return void this.#findTrust(report);
      case "warn": {
        const error = report.error === null ? undefined : fromPostedError(report.error);
        return this.#sessions.get(report.sessionId)?.session.warn(report.text, error);
      }
      case "closeSession":
        return this.#sessions.get(report.sessionId)?.session.close(fromPostedError(report.error));
      case "storeError": {
        const error = fromPostedError(report.error);
        const text = `an error of session.store: ${stackOf(error)}`;
        return this.#settings.logger.error(text, { kind: "app", error });
      }
      case "failed": {
        const error = fromPostedError(report.error);
        return this.#end(`has failed: ${stackOf(error)}`, error);
      }
      case "pull":
        return this.#sendBody(report.id);
      default:
        return this.#receiveBody(report);
    }
  }

  #sendBody(id: number): void {
    const exchange = this.#exchanges.get(id);
    const sender = exchange?.sender;
    if (!sender) return;
    // Let the app see the end of the session before the error of its body.
    const onDone = () => sender.error !== null && this.#watchSession(exchange!.sharedSession);
    sender.send(onDone).then(() => this.#endRequest(id, exchange!));
  }

  #receiveBody(message: Parameters<typeof transferBody>[0]): void {
    const exchange = this.#exchanges.get(message.id);
    if (exchange === undefined) return;
    const { sender, receiver } = exchange;
    const isCancel = message.type === "cancel";
    // An app in front of this one may read a body of which the worker has read nothing.
    if (isCancel && !sender?.isStarted) return this.#endRequest(message.id, exchange);
    transferBody(message, sender, receiver);
  }

  #endRequest(id: number, exchange: Exchange): void {
    exchange.isRequestSent = true;
    this.#endExchange(id, exchange);
  }

  #endExchange(id: number, { isRequestSent, isResponseRead, endController }: Exchange): void {
    if (!isRequestSent || !isResponseRead) return;
    this.#exchanges.delete(id);
    endController.abort();
  }

  #receiveResponse(id: number, { status, reason, headers, body }: PostedResponse): void {
    const exchange = this.#exchanges.get(id);
    if (exchange === undefined) return;
    const contentRange = headers["content-range"];
    if (typeof contentRange === "string") {
      headers["content-range"] = parseContentRange(contentRange);
    }
    const onEnd = (outcome: BodyOutcome) => {
      if (outcome === "canceled") this.#watchSession(exchange.sharedSession);
      exchange.isResponseRead = true;
      this.#endExchange(id, exchange);
    };
    if (body === null || body instanceof Uint8Array) {
      onEnd("consumed");
      return exchange.response.resolve([status, reason, headers, body]);
    }
    const isPulled = exchange.request.method !== "HEAD";
    exchange.receiver = new BodyReceiver("response", id, isPulled, this.#post, onEnd);
    const responseBody = body === "chunked"
      ? new ChunkedBody(exchange.receiver)
      : new Body(exchange.receiver, body);
    exchange.response.resolve([status, reason, headers, responseBody]);
  }

  #receiveError({ id, error, origin }: Extract<WorkerReport, { type: "error" }>): void {
    const exchange = this.#exchanges.get(id);
    if (exchange === undefined) return;
    const { sender, sharedSession } = exchange;
    // The server recognizes its own errors.
    const ownError = origin === "body"
      ? sender?.error
      : origin === "trust"
      ? sharedSession.trustError
      : null;
    exchange.response.reject(ownError ?? fromPostedError(error));
    exchange.isResponseRead = true;
    this.#endExchange(id, exchange);
  }

  #watch(id: number): void {
    const sharedSession = this.#sessions.get(id);
    if (sharedSession !== undefined) return this.#watchSession(sharedSession);
    const exchange = this.#exchanges.get(id);
    if (exchange === undefined) return;
    this.#watchSignal(id, exchange.request.signal, exchange.endController.signal);
  }

  #watchSession(sharedSession: SharedSession): void {
    if (sharedSession.isWatched) return;
    sharedSession.isWatched = true;
    this.#watchSignal(sharedSession.id, sharedSession.session.signal);
  }

  #watchSignal(id: number, signal: AbortSignal, end?: AbortSignal): void {
    const onAbort = () => this.#send({ type: "abort", id, error: toPostedError(signal.reason) });
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true, ...end && { signal: end } });
  }

  async #findTrust(
    { callId, sessionId, isCheck }: Extract<WorkerReport, { type: "trust" }>,
  ): Promise<void> {
    const sharedSession = this.#sessions.get(sessionId);
    let trust: Extract<WorkerCommand, { type: "trust" }>["trust"] = "untrusted";
    try {
      if (isCheck) await sharedSession?.session.checkTrusted();
      if (sharedSession !== undefined) {
        trust = isCheck ? "trusted" : await sharedSession.session.trust();
      }
    } catch (error) {
      if (isUnknownTrustError(error)) trust = "unknown";
      sharedSession!.trustError = error;
    }
    this.#send({ type: "trust", callId, trust });
  }

  /** Resolves when the app was disposed of, and the worker has ended. */
  async close(): Promise<void> {
    if (!this.hasEnded) {
      this.#isClosing = true;
      this.#send({ type: "close" });
      const abortController = new AbortController();
      await Promise.race([this.#closed.promise, pause(CLOSE_MILLISECONDS, abortController.signal)]);
      abortController.abort();
    }
    this.#end("was closed", null);
  }

  #end(reason: string, error: Error | null): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.#closed.resolve();
    this.#stopPinging();
    this.#port.close();
    this.#worker.terminate();
    const text = `the worker of ${this.#settings.moduleExport.name} ${reason}`;
    const endError = new DeguError(text);
    this.#loaded.reject(error ?? endError);
    if (!this.#isClosing && (this.isLoaded || this.#isRestart)) {
      this.#settings.logger.error(text, { kind: "app", error: error ?? undefined });
    }
    for (const { response, sender, receiver, endController } of this.#exchanges.values()) {
      response.resolve(makeUnavailableResponse());
      receiver?.fail(endError);
      if (sender?.isStarted) sender.cancel(endError);
      endController.abort();
    }
    this.#exchanges.clear();
    this.#sessions.clear();
  }
}

function copyCertificate(certificate: PeerCertificate): PeerCertificate {
  const { subject, issuer, subjectAltNames, fingerprint256, publicKey256, authority } = certificate;
  const { validFrom, validTo, raw } = certificate;
  return {
    subject,
    issuer,
    subjectAltNames,
    fingerprint256,
    publicKey256,
    authority: authority && {
      subject: authority.subject,
      fingerprint256: authority.fingerprint256,
      publicKey256: authority.publicKey256,
      raw: authority.raw,
    },
    validFrom,
    validTo,
    raw,
  };
}
