/**
 * How far an exchange has come, as its two halves: what this side receives, and what it sends.
 * Client and server have the same halves, in the opposite order, and either half may end first.
 * The connections tell the exchange what has happened, and ask it what may happen next.
 */

import { linkPhases, refuseEvent, type Transitions } from "./phases.ts";

/**
 * What this side receives:
 *
 * - `"none"`: nothing is expected yet. A request is being formatted, or waits for a check of the
 *   connection. This phase begins before the headers are read: a getter of a header could make
 *   another request.
 * - `"awaited"`: the preamble has not arrived.
 * - `"begun"`: the preamble has arrived, and is checked, or waits for the rest of the request.
 * - `"body"`: the program has the message, and bytes of its body may follow.
 * - `"ended"`: the message has ended.
 * - `"broken"`: the message will not be received to its end.
 */
export type Incoming = "none" | "awaited" | "begun" | "body" | "ended" | "broken";

/**
 * What this side sends:
 *
 * - `"unsent"`: nothing. A request can be taken back, and a response be replaced by another one.
 * - `"sending"`: a write has begun.
 * - `"refused"`: a write has failed, or the rest was abandoned, so every other write fails.
 * - `"sent"`: all of the message.
 * - `"cut"`: a part of it, or nothing, and no more will be sent.
 */
export type Outgoing = "unsent" | "sending" | "refused" | "sent" | "cut";

type IncomingEvent =
  | "expect"
  | "receivePreamble"
  /** The program gets the received message. */
  | "handOver"
  | "endIncoming"
  /** An error may come at any time. */
  | "breakIncoming";

export const INCOMING_TRANSITIONS: Transitions<Incoming, IncomingEvent> = {
  none: { expect: "awaited", breakIncoming: "broken" },
  awaited: { receivePreamble: "begun", breakIncoming: "broken" },
  begun: { handOver: "body", breakIncoming: "broken" },
  body: { endIncoming: "ended", breakIncoming: "broken" },
  ended: { breakIncoming: "broken" },
  broken: { breakIncoming: "broken" },
};

type OutgoingEvent = "beginWrite" | "refuseWrites" | "endOutgoing";

export const OUTGOING_TRANSITIONS: Transitions<Outgoing, OutgoingEvent> = {
  unsent: { beginWrite: "sending", refuseWrites: "refused", endOutgoing: "sent" },
  sending: { beginWrite: "sending", refuseWrites: "refused", endOutgoing: "sent" },
  // What follows a refused write fails at the socket.
  refused: { beginWrite: "refused", refuseWrites: "refused", endOutgoing: "cut" },
  sent: {},
  cut: { beginWrite: "cut", refuseWrites: "cut" },
};

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
