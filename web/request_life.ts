/**
 * Notifies a fetch-style handler that its response is no longer wanted.
 *
 * @module
 */

import type { Session } from "../base/app/session.ts";
import { StreamPieces } from "./stream_pieces.ts";

/**
 * How long the stream of a response may stay silent once the client has left. The client may have closed only
 * its writing side, so pieces that come in time are still sent.
 */
const IDLE_MILLISECONDS = 500;

/** The request that a session is processing: one at a time, so all of them share one listener. */
interface Current {
  life: RequestLife | null;
}

const currents = new WeakMap<Session, Current>();

function currentOf(session: Session): Current {
  const known = currents.get(session);
  if (known !== undefined) return known;
  const current: Current = { life: null };
  currents.set(session, current);
  session.signal.addEventListener("abort", () => current.life?.sessionEnded(), { once: true });
  return current;
}

/** One request, from when a handler gets it until its response has been sent or canceled. */
export class RequestLife {
  readonly #session: Session;
  readonly #current: Current;
  readonly #aborter = new AbortController();
  #pieces: StreamPieces | null = null;
  #watching: ReturnType<typeof setInterval> | undefined;

  /** Begins the life of the next request of a session. */
  constructor(session: Session) {
    this.#session = session;
    this.#current = currentOf(session);
    this.#current.life = this;
    if (session.signal.aborted) this.#aborter.abort(session.signal.reason);
  }

  /**
   * Aborted when the session ends or its client leaves, when the body of the request fails, and when
   * that of the response can't be sent to its end. A request that is over is no longer aborted.
   */
  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  /** True if the response is a stream that is still being sent. */
  get isStreaming(): boolean {
    return this.#pieces !== null;
  }

  /** The body of the request has failed, or that of the response was cut. */
  readonly abort = (reason: unknown): void => {
    this.#aborter.abort(reason);
  };

  /** Takes over the stream of a response; the life ends with it. */
  takePieces(stream: ReadableStream<Uint8Array>): StreamPieces {
    const cut = (reason: unknown) => {
      this.end();
      this.abort(reason);
    };
    return new StreamPieces(stream, cut, () => this.end());
  }

  /** The response consists of these pieces, which have not arrived yet. */
  stream(pieces: StreamPieces): void {
    this.#pieces = pieces;
    if (this.#session.signal.aborted) this.#leave(pieces);
  }

  /** The session is over, or its client has left. */
  sessionEnded(): void {
    this.#aborter.abort(this.#session.signal.reason);
    if (this.#pieces !== null) this.#leave(this.#pieces);
  }

  /** Cancels a stream that is no longer wanted: at once, or when it has been silent for a while. */
  #leave(pieces: StreamPieces): void {
    const session = this.#session;
    const { reason } = session.signal;
    if (session.message !== null) return pieces.cancel(reason);
    let last = pieces.wait;
    this.#watching = setInterval(() => {
      const { wait } = pieces;
      if (wait === 0 || wait !== last) {
        last = wait;
        return;
      }
      pieces.cancel(reason);
      session.close(reason);
    }, IDLE_MILLISECONDS);
  }

  /** Nothing more will be sent. */
  end(): void {
    clearInterval(this.#watching);
    this.#pieces = null;
    if (this.#current.life === this) this.#current.life = null;
  }
}
