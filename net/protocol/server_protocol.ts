/**
 * Where a connection of a server stands: the phase of the connection, and during an exchange the
 * phase of its answer. The halves of the exchange, received and sent, are in `exchange.ts`; what
 * waits for a slot is in `transport/slots.ts`, and no connection of a server yet.
 *
 * **The connection** is `accepting` while its peer is checked and `onConnect` runs. It is `idle`
 * until the first byte of a request, `receiving` until the end of its preamble, and `answering`
 * from there until the request and its response have ended. After the last response it is
 * `lingering`, without a slot, so that its peer can still read this response. It is `closed` when
 * no byte is sent or received any more, although its app may still work; and `ended` when that is
 * over too.
 *
 * **The answer** is `awaited` while the peer's trust is asked for, while the app works, and while
 * its result is checked. A chunked body for HTTP/1.0 is `collecting` first, and its response is
 * checked again when it is complete; so is the response that waits for `discarding` an ignored
 * request. A valid response is `sending`, or `streaming` if its body has an unknown length. When
 * it was sent, it may be `relaying`: the app still writes the request's body, such as to another
 * server.
 */

import type { RequestPreamble } from "../../base/wire/preamble.ts";
import { linkPhases, refuseEvent, type Transitions } from "./phases.ts";
import type { RequestReader } from "./request_reader.ts";

export type ServerPhase =
  | "accepting"
  | "idle"
  | "receiving"
  | "answering"
  | "lingering"
  | "closed"
  | "ended";

export type ServerEvent =
  | "accept"
  | "receive"
  /** An empty line before a request was skipped. */
  | "skip"
  | "begin"
  /** Another request may follow the exchange. */
  | "finish"
  | "linger"
  /** The app, the peer, an error or a time-out closes the connection. */
  | "close"
  /** The app has returned. */
  | "end";

export const SERVER_TRANSITIONS: Transitions<ServerPhase, ServerEvent> = {
  accepting: { accept: "idle", close: "closed" },
  idle: { receive: "receiving", linger: "lingering", close: "closed" },
  receiving: {
    receive: "receiving",
    skip: "idle",
    begin: "answering",
    // The request is invalid.
    linger: "lingering",
    close: "closed",
  },
  answering: { finish: "idle", linger: "lingering", close: "closed" },
  lingering: { linger: "lingering", close: "ended" },
  // A callback of the app, such as `onExchange`, may close the session at the end of an exchange.
  closed: { finish: "closed", linger: "closed", close: "closed", end: "ended" },
  ended: { linger: "ended", close: "ended", end: "ended" },
};

export type AnswerPhase =
  | "awaited"
  | "collecting"
  | "discarding"
  | "sending"
  | "streaming"
  | "sent"
  | "relaying";

export type AnswerEvent =
  | "collect"
  | "discard"
  | "recheck"
  | "send"
  | "stream"
  | "endSend"
  | "relay";

export const ANSWER_TRANSITIONS: Transitions<AnswerPhase, AnswerEvent> = {
  awaited: { collect: "collecting", discard: "discarding", send: "sending", stream: "streaming" },
  collecting: { recheck: "awaited" },
  discarding: { recheck: "awaited" },
  sending: { endSend: "sent" },
  streaming: { endSend: "sent" },
  sent: { relay: "relaying" },
  relaying: {},
};

/** Why an exchange is the last one of a server's connection. */
export type LastRequestReason =
  | "broken request"
  | "unread request"
  /** The response, which reads the request's body, has ended before it. */
  | "early response"
  /** Clients stop sending at an error status (RFC 9112 §9.5). */
  | "early error"
  | "response"
  | "request"
  | "distrust"
  | "limit"
  | "shutdown"
  /** The peer has the most slots, and a connection of another peer waits for one. */
  | "slot";

const PHASES = linkPhases(SERVER_TRANSITIONS);
export const ANSWERS = linkPhases(ANSWER_TRANSITIONS);

/** What a server knows about its connection without its socket, its app and its exchange. */
export class ServerProtocol {
  readonly requests: RequestReader;
  #phase = PHASES.accepting;
  /** When the connection became idle. */
  idleSince = Infinity;
  /** Why the current response is the last one; `null` unless the peer was found untrusted. */
  distrustReason: string | null = null;

  constructor(requests: RequestReader) {
    this.requests = requests;
  }

  get phase(): ServerPhase {
    return this.#phase.name;
  }

  /** Whether it can be closed without loss: before the first byte of a request. */
  get isIdle(): boolean {
    return (this.#phase === PHASES.idle || this.#phase === PHASES.accepting) &&
      this.requests.buffer.bufferedBytes === 0;
  }

  /** Whether no request follows, and it only waits for its app, or for its last bytes. */
  get isClosing(): boolean {
    return this.isDiscarding || this.#phase === PHASES.closed;
  }

  /** Whether its last response was sent: what arrives is discarded. */
  get isDiscarding(): boolean {
    return this.#phase === PHASES.lingering || this.#phase === PHASES.ended;
  }

  /** The session begins. */
  accept(): void {
    this.#phase = this.#phase.accept ?? refuseEvent("accept", this.#phase);
    this.#awaitRequest();
  }

  /** Returns the next request, which begins an exchange; `null` if more bytes are needed. */
  readRequest(): RequestPreamble | null {
    this.#noteBytes();
    const preamble = this.requests.read();
    if (preamble !== null) this.#phase = this.#phase.begin ?? refuseEvent("begin", this.#phase);
    else if (this.#phase === PHASES.receiving) this.#noteEmptyLine();
    return preamble;
  }

  /** Another request may follow the exchange. */
  finish(): void {
    this.#phase = this.#phase.finish ?? refuseEvent("finish", this.#phase);
    this.#awaitRequest();
  }

  /** The peer may still read the last response. */
  linger(): void {
    this.#phase = this.#phase.linger ?? refuseEvent("linger", this.#phase);
  }

  /** The app, the peer, an error or a time-out closes the connection. */
  close(): void {
    this.#phase = this.#phase.close ?? refuseEvent("close", this.#phase);
  }

  /** The app has returned. */
  end(): void {
    this.#phase = this.#phase.end ?? refuseEvent("end", this.#phase);
  }

  #awaitRequest(): void {
    this.idleSince = performance.now();
    this.#noteBytes();
  }

  #noteBytes(): void {
    if (this.requests.buffer.bufferedBytes === 0) return;
    this.#phase = this.#phase.receive ?? refuseEvent("receive", this.#phase);
  }

  #noteEmptyLine(): void {
    if (this.requests.buffer.bufferedBytes > 0) return;
    this.#phase = this.#phase.skip ?? refuseEvent("skip", this.#phase);
  }
}
