import type { Method } from "../../base/wire/method.ts";

/**
 * What a client's connection knows about the response:
 *
 * - `"preparing"`: the request is being formatted, or waits for a check of the connection. The
 *   phase begins before the headers are read: a getter of a header could make another request.
 * - `"awaited"`: the request is being sent, or was sent. If the connection closes now, the server
 *   must not get the rest: the socket is reset.
 * - `"begun"`: the preamble has arrived, and is being checked.
 * - `"body"`: the caller has the response, whose body was not read to its end.
 * - `"ended"`: the response has ended.
 * - `"failed"`: an error closed the connection before a response was returned.
 */
export type ResponsePhase = "preparing" | "awaited" | "begun" | "body" | "ended" | "failed";

/**
 * Who waits for the rest of the request:
 *
 * - `"sending"`: the caller. Nothing is received meanwhile. A small request is then `"done"`.
 * - `"detached"`: nobody, the response is received meanwhile.
 * - `"stalling"`: the response has begun, and waits for the request: a time-out bounds the time
 *   without a write.
 * - `"done"`: the request was sent, or its rest will not be sent.
 */
export type RequestPhase = "sending" | "detached" | "stalling" | "done";

/**
 * One exchange at the client, as its two halves, of which each may end first. Every change of a
 * phase is a method. An event of the response that is out of order is a bug of this package.
 *
 * The exchange doesn't refer to the connection: the transport refers to the exchange, and must not
 * keep the connection from being garbage collected.
 */
export class ClientExchange {
  readonly method: Method;
  readonly uri: string;
  readonly signal: AbortSignal | undefined;
  /** Whether the response is returned before the request was sent. */
  readonly isFullDuplex: boolean;
  #responsePhase: ResponsePhase = "preparing";
  #requestPhase: RequestPhase = "sending";
  /** The error of a write; the server may have refused the body, by responding and closing. */
  writeError: unknown = null;
  /** Whether the server closed the connection while its response waited for the request. */
  isRequestCut = false;
  /** Whether the request has `connection: close`. */
  isLastRequest = false;
  /** Whether the server closes the connection after the response's body. */
  isLastResponse = false;
  #requestEndListeners: Set<() => void> | null = null;

  constructor(method: Method, uri: string, signal: AbortSignal | undefined, isFullDuplex: boolean) {
    this.method = method;
    this.uri = uri;
    this.signal = signal;
    this.isFullDuplex = isFullDuplex;
  }

  get responsePhase(): ResponsePhase {
    return this.#responsePhase;
  }

  get requestPhase(): RequestPhase {
    return this.#requestPhase;
  }

  get isDetached(): boolean {
    return this.#requestPhase === "detached" || this.#requestPhase === "stalling";
  }

  get isComplete(): boolean {
    return this.#responsePhase === "ended" && !this.isDetached;
  }

  #advance(from: ResponsePhase, to: ResponsePhase): void {
    if (this.#responsePhase !== from) throw invalidTransitionError(to, this.#responsePhase);
    this.#responsePhase = to;
  }

  send(): void {
    this.#advance("preparing", "awaited");
  }

  receivePreamble(): void {
    this.#advance("awaited", "begun");
  }

  returnResponse(): void {
    this.#advance("begun", "body");
  }

  /** Returns false for a late end: the response's class of bodies has thrown an error. */
  endResponse(): boolean {
    if (this.#responsePhase === "failed") return false;
    this.#advance("body", "ended");
    return true;
  }

  fail(): void {
    this.#responsePhase = "failed";
  }

  detach(): void {
    this.#requestPhase = "detached";
  }

  stall(): void {
    this.#requestPhase = "stalling";
  }

  /** Returns false if the request was sent or abandoned before. */
  endRequest(): boolean {
    if (this.#requestPhase === "done") return false;
    this.#requestPhase = "done";
    return true;
  }

  onRequestEnd(listener: () => void): void {
    this.#requestEndListeners ??= new Set();
    this.#requestEndListeners.add(listener);
  }

  offRequestEnd(listener: () => void): void {
    this.#requestEndListeners?.delete(listener);
  }

  notifyRequestEnd(): void {
    const listeners = this.#requestEndListeners;
    if (listeners === null) return;
    this.#requestEndListeners = null;
    for (const listener of listeners) listener();
  }
}

/** The error of an event that can't happen. */
export function invalidTransitionError(event: string, state: string): Error {
  return new Error(
    `a bug of Degu, please report it: the event "${event}" is not allowed for a connection in the ` +
      `state "${state}"`,
  );
}
