/**
 * How a fetch-style handler hears that nobody waits for its response any more.
 *
 * @module
 */

import type { Session } from "../base/app/session.ts";
import { StreamPieces } from "./stream_pieces.ts";

/**
 * How long the stream of a response may give nothing once the client has left. It may have ended only
 * its writing side: what still comes in time is sent.
 */
const IDLE_MILLISECONDS = 500;

/** Which request a session is at. There is one at a time, so all share one listener. */
interface Place {
  current: RequestLife | null;
}

const places = new WeakMap<Session, Place>();

function placeOf(session: Session): Place {
  let place = places.get(session);
  if (place === undefined) {
    const made: Place = { current: null };
    places.set(session, made);
    const { signal } = session;
    signal.addEventListener("abort", () => made.current?.sessionEnded(), { once: true });
    place = made;
  }
  return place;
}

/** One request, from when a handler gets it until its response has been sent, or never will be. */
export class RequestLife {
  readonly #session: Session;
  readonly #place: Place;
  readonly #aborter = new AbortController();
  #pieces: StreamPieces | null = null;
  #watching: ReturnType<typeof setInterval> | undefined;

  /** Begins the life of the next request of a session. */
  constructor(session: Session) {
    this.#session = session;
    this.#place = placeOf(session);
    this.#place.current = this;
    if (session.signal.aborted) this.#aborter.abort(session.signal.reason);
  }

  /**
   * Aborted when the session ends or its client leaves, when the body of the request breaks off, and
   * when that of the response can't be sent to its end. What is over is not aborted any more.
   */
  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  /** True where the response is a stream that is still being sent. */
  get isStreaming(): boolean {
    return this.#pieces !== null;
  }

  /** The body of the request has broken off, or that of the response was cut. */
  readonly abort = (reason: unknown): void => {
    this.#aborter.abort(reason);
  };

  /** Takes the stream of a response apart, with which the life ends. */
  takePieces(stream: ReadableStream<Uint8Array>): StreamPieces {
    const cut = (reason: unknown) => {
      this.end();
      this.abort(reason);
    };
    return new StreamPieces(stream, cut, () => this.end());
  }

  /** The response consists of these pieces, which are still to come. */
  stream(pieces: StreamPieces): void {
    this.#pieces = pieces;
    if (this.#session.signal.aborted) this.#leave(pieces);
  }

  /** The session is over, or its client has left. */
  sessionEnded(): void {
    this.#aborter.abort(this.#session.signal.reason);
    if (this.#pieces !== null) this.#leave(this.#pieces);
  }

  /** Gives up a stream that nobody waits for: at once, or when it gives nothing for a while. */
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

  /** Nothing is left to be sent, or nothing will be. */
  end(): void {
    clearInterval(this.#watching);
    this.#pieces = null;
    if (this.#place.current === this) this.#place.current = null;
  }
}
