import type { RequestPreamble } from "../../base/wire/preamble.ts";
import {
  ANSWER_TRANSITIONS,
  linkPhases,
  refuseEvent,
  SERVER_TRANSITIONS,
  type ServerPhase,
} from "./phases.ts";
import type { RequestReader } from "./request_reader.ts";

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
    return this.isDiscarding || this.#phase === PHASES.closed || this.#phase === PHASES.dismissed;
  }

  /** Whether its last response was sent: what arrives is discarded. */
  get isDiscarding(): boolean {
    return this.#phase === PHASES.lingering || this.#phase === PHASES.ended;
  }

  /** The session begins. */
  accept(now: number): void {
    this.#phase = this.#phase.accept ?? refuseEvent("accept", this.#phase);
    this.#awaitRequest(now);
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
  finish(now: number): void {
    this.#phase = this.#phase.finish ?? refuseEvent("finish", this.#phase);
    this.#awaitRequest(now);
  }

  /** The peer may still read the last response. */
  linger(): void {
    this.#phase = this.#phase.linger ?? refuseEvent("linger", this.#phase);
  }

  /** The peer was found untrusted, so the current response is the last one. */
  distrust(): void {
    this.#phase = this.#phase.distrust ?? refuseEvent("distrust", this.#phase);
  }

  /** The app closes the session, or the server doesn't trust its peer any more. */
  dismiss(): void {
    this.#phase = this.#phase.dismiss ?? refuseEvent("dismiss", this.#phase);
  }

  /** The peer, an error, a time-out or the end of the server closes the connection. */
  close(): void {
    this.#phase = this.#phase.close ?? refuseEvent("close", this.#phase);
  }

  /** The app has returned. */
  end(): void {
    this.#phase = this.#phase.end ?? refuseEvent("end", this.#phase);
  }

  #awaitRequest(now: number): void {
    this.idleSince = now;
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
