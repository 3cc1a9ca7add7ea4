/**
 * How far an exchange has come, as its two halves: what this side receives, and what it sends.
 * Client and server have the same halves, in the opposite order, and either half may end first.
 * The connections tell the exchange what has happened, and ask it what may happen next.
 */

import {
  type Incoming,
  INCOMING_TRANSITIONS,
  linkPhases,
  type Outgoing,
  OUTGOING_TRANSITIONS,
  refuseEvent,
} from "./phases.ts";

const INCOMING = linkPhases(INCOMING_TRANSITIONS);
const OUTGOING = linkPhases(OUTGOING_TRANSITIONS);

/** The progress of one exchange: each event of the two tables is a method. */
export class ExchangeProgress {
  #incoming = INCOMING.none;
  #outgoing = OUTGOING.unsent;

  get incoming(): Incoming {
    return this.#incoming.name;
  }

  get outgoing(): Outgoing {
    return this.#outgoing.name;
  }

  expect(): void {
    this.#incoming = this.#incoming.expect ?? refuseEvent("expect", this.#incoming);
  }

  receivePreamble(): void {
    this.#incoming = this.#incoming.receivePreamble ??
      refuseEvent("receivePreamble", this.#incoming);
  }

  handOver(): void {
    this.#incoming = this.#incoming.handOver ?? refuseEvent("handOver", this.#incoming);
  }

  endIncoming(): void {
    this.#incoming = this.#incoming.endIncoming ?? refuseEvent("endIncoming", this.#incoming);
  }

  breakIncoming(): void {
    this.#incoming = this.#incoming.breakIncoming ?? refuseEvent("breakIncoming", this.#incoming);
  }

  beginWrite(): void {
    this.#outgoing = this.#outgoing.beginWrite ?? refuseEvent("beginWrite", this.#outgoing);
  }

  refuseWrites(): void {
    this.#outgoing = this.#outgoing.refuseWrites ?? refuseEvent("refuseWrites", this.#outgoing);
  }

  endOutgoing(): void {
    this.#outgoing = this.#outgoing.endOutgoing ?? refuseEvent("endOutgoing", this.#outgoing);
  }

  /** Whether all was sent that will be sent. */
  get isSendEnded(): boolean {
    return this.#outgoing === OUTGOING.sent || this.#outgoing === OUTGOING.cut;
  }

  /** Whether no other write follows, although the message was not sent to its end. */
  get isRefused(): boolean {
    return this.#outgoing === OUTGOING.refused || this.#outgoing === OUTGOING.cut;
  }

  /** Whether both messages have ended. */
  get isComplete(): boolean {
    return this.#incoming === INCOMING.ended && this.isSendEnded;
  }
}
