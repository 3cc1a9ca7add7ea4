/** Importing this module has no effect in the main thread. */

import {
  api,
  type App,
  type AppObject,
  type AppParts,
  callHandle,
  disposeApp,
  readApp,
} from "../base/app/app.ts";
import { cancelAppResult, parseAppResult, ResponseError } from "../base/app/app_result.ts";
import { contentErrorOf, Request, RequestCore } from "../base/app/message.ts";
import { type Session, SessionCore, type TrustState } from "../base/app/session.ts";
import { Body, type BodyIn, ChunkedBody, isWritableBody, readerOf } from "../base/body/body.ts";
import { BodyError } from "../base/errors.ts";
import { checkHeaders } from "../base/wire/headers.ts";
import { parseRange } from "../base/wire/range.ts";
import { hasCause } from "../internal/caught_errors.ts";
import { wrongArgumentError } from "../internal/checks.ts";
import { unknownTrustErrors } from "../internal/error_details.ts";
import { findReasonPhrase } from "../internal/statuses.ts";
import { BodyReceiver, BodySender, type Post, transferBody } from "./body_transfer.ts";
import { buildApp, loadModuleExport } from "./load_app.ts";
import type { BodyFraming, PostedSession, WorkerCommand, WorkerReport } from "./messages.ts";
import {
  fromPostedError,
  reportUncaughtErrors,
  runInWorker,
  toPostedError,
} from "./worker_port.ts";

runInWorker((port) => {
  const report = (report: WorkerReport) => port.postMessage(report);
  const moveListeners = reportUncaughtErrors((error) => report({ type: "failed", error }));
  const worker = new AppWorker(port, moveListeners);
  port.onmessage = ({ data }: MessageEvent<WorkerCommand>) => worker.execute(data);
});

type RequestCommand = Extract<WorkerCommand, { type: "request" }>;

/** The session of a server in the other thread. */
class WorkerSessionCore extends SessionCore {
  readonly #id: number;
  readonly #worker: AppWorker;
  currentUser: string | null = null;

  constructor(id: number, posted: PostedSession, worker: AppWorker) {
    const { name, address, maxRequests, peerCertificate } = posted;
    super(name, address, maxRequests, peerCertificate);
    this.#id = id;
    this.#worker = worker;
    this.callbacks = {
      onSignalRequested: () => worker.watch(id),
      onSessionClosed: (reason) => {
        worker.report({ type: "closeSession", sessionId: id, error: toPostedError(reason) });
        this.endWith(reason);
      },
      onLogLine: (text, error) => {
        const postedError = error === undefined ? null : toPostedError(error);
        worker.report({ type: "warn", sessionId: id, text, error: postedError });
      },
      // The other thread decides and logs.
      isPeerTrusted: () => true,
      onTrustChanged: () => {},
      onDistrust: () => {},
      onUntrustedServed: () => {},
    };
  }

  override get user(): string | null {
    return this.currentUser;
  }

  endWith(reason: unknown): void {
    this.end("the session has ended");
    this.abort(() => reason);
  }

  override addIdentity(): void {
    throw wrongArgumentError(
      "identity",
      "can't cross to the server's thread: call session.addIdentity() in an app there",
    );
  }

  override async findTrust(): Promise<TrustState> {
    const trust = await this.#worker.requestTrust(this.#id, false);
    if (trust !== "unknown") return trust;
    throw unknownTrustErrors.set(makeTrustError(503), true);
  }

  override checkTrusted(replacedTrust: (() => Promise<TrustState>) | null): Promise<void> {
    if (replacedTrust !== null) return super.checkTrusted(replacedTrust);
    const check = this.#worker.requestTrust(this.#id, true).then((trust) => {
      if (trust !== "trusted") throw makeTrustError(trust === "unknown" ? 503 : 403);
    });
    // A rejection that no code handles would end the worker.
    check.catch(() => {});
    return check;
  }
}

function makeTrustError(status: 403 | 503): ResponseError {
  return new ResponseError([status, `${findReasonPhrase(status)}`, {}, null]);
}

class Exchange {
  receiver: BodyReceiver | null = null;
  sender: BodySender | null = null;
  abortController: AbortController | null = null;
  isResponseSent = false;
  isRequestRead = true;
}

class AppWorker {
  readonly #port: MessagePort;
  readonly #moveListeners: () => void;
  readonly #sessions = new Map<number, WorkerSessionCore>();
  readonly #exchanges = new Map<number, Exchange>();
  readonly #trustCalls = new Map<number, (trust: TrustState | "unknown") => void>();
  readonly #post: Post = (message, transfer = []) => this.#port.postMessage(message, transfer);
  #lastCallId = 0;
  #app: App | null = null;
  #parts: AppParts | null = null;

  constructor(port: MessagePort, moveListeners: () => void) {
    this.#port = port;
    this.#moveListeners = moveListeners;
  }

  report(report: WorkerReport): void {
    this.#port.postMessage(report);
  }

  watch(id: number): void {
    this.report({ type: "watch", id });
  }

  execute(command: WorkerCommand): void {
    const fail = (error: unknown) => this.report({ type: "failed", error: toPostedError(error) });
    switch (command.type) {
      case "load":
        return void this.#load(command).catch(fail);
      case "session":
        this.#sessions.set(command.id, new WorkerSessionCore(command.id, command.session, this));
        return;
      case "request":
        return void this.#handle(command);
      case "abort": {
        const error = fromPostedError(command.error);
        this.#sessions.get(command.id)?.endWith(error);
        return this.#exchanges.get(command.id)?.abortController?.abort(error);
      }
      case "disposeSession":
        return this.#disposeSession(command.id);
      case "trust":
        this.#trustCalls.get(command.callId)?.(command.trust);
        this.#trustCalls.delete(command.callId);
        return;
      case "ping":
        return this.report({ type: "pong" });
      case "close":
        return void this.#close().catch(fail);
      case "pull":
        return void this.#exchanges.get(command.id)?.sender?.send();
      default: {
        const exchange = this.#exchanges.get(command.id);
        return transferBody(command, exchange?.sender ?? null, exchange?.receiver ?? null);
      }
    }
  }

  async #load({ app, args }: Extract<WorkerCommand, { type: "load" }>): Promise<void> {
    const value = await loadModuleExport(app);
    const label = `the export "${app.name}"`;
    this.#app = args === null
      ? value as App
      : await buildApp(value, args, { argument: "app", label, advice: "leave out args" });
    this.#parts = readApp(this.#app, label);
    if (this.#parts.onConnect !== null) {
      throw wrongArgumentError(
        "app",
        `${label} has onConnect, which can't run in a worker, because it gets the socket: write ` +
          "onConnect in the server's thread: { onConnect, handle: (...args) => app.handle(...args) }",
      );
    }
    this.#moveListeners();
    this.report({ type: "loaded", isMount: (this.#app as AppObject).isMount });
  }

  #disposeSession(id: number): void {
    this.#sessions.get(id)?.disposeStore((error) => {
      this.report({ type: "storeError", error: toPostedError(error) });
    });
    this.#sessions.delete(id);
  }

  async #close(): Promise<void> {
    for (const id of [...this.#sessions.keys()]) this.#disposeSession(id);
    if (this.#app !== null) await disposeApp(this.#app);
    this.report({ type: "closed" });
  }

  requestTrust(sessionId: number, isCheck: boolean): Promise<TrustState | "unknown"> {
    const callId = ++this.#lastCallId;
    this.report({ type: "trust", callId, sessionId, isCheck });
    return new Promise((resolve) => this.#trustCalls.set(callId, resolve));
  }

  async #handle(command: RequestCommand): Promise<void> {
    const { id, request: posted } = command;
    const exchange = new Exchange();
    this.#exchanges.set(id, exchange);
    const session = this.#sessions.get(command.sessionId)!;
    session.currentUser = command.user;
    session.requests = command.requests;
    const body = this.#makeBody(exchange, id, posted.body);
    let appResult: unknown;
    try {
      const request = this.#makeRequest(exchange, session.session, command, body);
      appResult = await callHandle(this.#parts!, request, session.session, api);
      const response = appResult = parseAppResult(appResult);
      const { status, reason, headers } = response;
      checkHeaders(headers, "response.headers");
      session.checkTrustUse(status);
      const contentError = contentErrorOf(request);
      if (contentError !== null && status === 400) {
        this.report({ type: "contentError", id, error: toPostedError(contentError) });
      }
      const { body: responseBody } = response;
      const isStreamed = isWritableBody(responseBody);
      // A body that is sent may read the request's body.
      if (!isStreamed) this.#endRequest(body, status);
      const plainHeaders = { ...headers };
      for (const name of ["content-range", "range"]) {
        if (typeof headers[name] === "object") plainHeaders[name] = `${headers[name]}`;
      }
      const postedBody = !isStreamed
        ? responseBody
        : responseBody.chunked
        ? "chunked"
        : responseBody.contentLength;
      this.report({
        type: "response",
        id,
        response: { status, reason, headers: plainHeaders, body: postedBody },
      });
      if (!isStreamed) return;
      exchange.sender = new BodySender(id, responseBody, this.#post);
      const endRequest = () => this.#endRequest(body, status);
      // A body that isn't sent to a client must not be read.
      if (posted.method !== "HEAD") exchange.sender.send(endRequest);
      await exchange.sender.done;
    } catch (error) {
      cancelAppResult(appResult, body, error);
      const origin = hasCause(error, (cause) => cause === exchange.receiver?.error)
        ? "body"
        : unknownTrustErrors.get(error)
        ? "trust"
        : "app";
      this.#endRequest(body, 500);
      this.report({ type: "error", id, error: toPostedError(error), origin });
    } finally {
      exchange.isResponseSent = true;
      this.#endExchange(id, exchange);
    }
  }

  /** Cancels the request's body, unless the app writes it to another place. */
  #endRequest(body: BodyIn, status: number): void {
    if (body === null || status < 400 && readerOf(body).isBeingWritten) return;
    body.cancel(new BodyError("the app has not read the body to its end")).catch(() => {});
  }

  #endExchange(id: number, { isResponseSent, isRequestRead }: Exchange): void {
    if (isResponseSent && isRequestRead) this.#exchanges.delete(id);
  }

  #makeBody(exchange: Exchange, id: number, framing: BodyFraming | null): BodyIn {
    if (framing === null) return null;
    exchange.isRequestRead = false;
    const receiver = exchange.receiver = new BodyReceiver("request", id, false, this.#post, () => {
      exchange.isRequestRead = true;
      this.#endExchange(id, exchange);
    });
    return framing === "chunked" ? new ChunkedBody(receiver) : new Body(receiver, framing);
  }

  #makeRequest(
    exchange: Exchange,
    session: Session,
    { id, request: posted }: RequestCommand,
    body: BodyIn,
  ): Request {
    const watch = () => {
      this.watch(id);
      exchange.abortController = new AbortController();
      return AbortSignal.any([session.signal, exchange.abortController.signal]);
    };
    let signal: AbortSignal | null = null;
    const ownSignal = {
      get signal() {
        return signal ??= watch();
      },
    };
    const core = new RequestCore(posted.hasOwnSignal ? ownSignal : session);
    if (posted.store.length > 0) core.store = new Map(posted.store);
    const headers = Object.setPrototypeOf(posted.headers, null);
    if (headers.range !== undefined) headers.range = parseRange(headers.range);
    const { method, uri, mount, path, query, parameters } = posted;
    const request = new Request(core, method, uri, headers, body, mount, path, query);
    return Object.assign(request, {
      parameters: Object.freeze(Object.setPrototypeOf(parameters, null)),
    });
  }
}
