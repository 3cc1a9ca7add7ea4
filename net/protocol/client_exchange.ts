import type { Method } from "../../base/wire/method.ts";
import { ExchangeProgress } from "./exchange.ts";

/**
 * One exchange at the client. It doesn't refer to the connection: the transport refers to the
 * exchange, and must not keep the connection from being garbage collected.
 */
export class ClientExchange extends ExchangeProgress {
  readonly method: Method;
  readonly uri: string;
  readonly signal: AbortSignal | undefined;
  /** Whether the response is returned before the request was sent. */
  readonly isFullDuplex: boolean;
  /** The error of a write; the server may have refused the body, by responding and closing. */
  writeError: unknown = null;
  /** Whether the request has `connection: close`. */
  isLastRequest = false;
  /** Whether the server closes the connection after the response's body. */
  isLastResponse = false;
  /** Whether the response has no framing, and so no body, by the option `unframedNull`. */
  isUnframedNull = false;
  #waitsForSend = false;
  #sendEndListeners: Set<() => void> | null = null;

  constructor(method: Method, uri: string, signal: AbortSignal | undefined, isFullDuplex: boolean) {
    super();
    this.method = method;
    this.uri = uri;
    this.signal = signal;
    this.isFullDuplex = isFullDuplex;
  }

  /** From now on, the response waits for the rest of the request, and so does the server. */
  waitForSend(): void {
    this.#waitsForSend = true;
  }

  /** Whether the server waits for the source of the request. */
  get isStalling(): boolean {
    return this.#waitsForSend && !this.isSendEnded;
  }

  get receives(): "response" {
    return "response";
  }

  /** The probable reason if the server ends the connection within the body of the response. */
  get incompleteReason(): string | null {
    return this.#waitsForSend && this.isRefused
      ? "it closed the connection before the request was sent; if it reads the request while it " +
        'responds, pass the option duplex: "full" to read the response meanwhile'
      : null;
  }

  onSendEnd(listener: () => void): void {
    this.#sendEndListeners ??= new Set();
    this.#sendEndListeners.add(listener);
  }

  offSendEnd(listener: () => void): void {
    this.#sendEndListeners?.delete(listener);
  }

  notifySendEnd(): void {
    const listeners = this.#sendEndListeners;
    if (listeners === null) return;
    this.#sendEndListeners = null;
    for (const listener of listeners) listener();
  }
}
