/**
 * How far an exchange has come, as its two halves: what this side receives, and what it sends.
 * Client and server have the same halves, in the opposite order, and either half may end first.
 * The connections tell the exchange what has happened, and ask it what may happen next.
 */

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

/**
 * One exchange. Each event is a method, whose first lines say in which phases it may occur; in any
 * other phase it is a bug of this package. `tests/net/protocol/exchange_test.ts` has the table. A
 * table here, by the names of events and phases, costs 0.3 µs per exchange.
 */
export class Exchange {
  #incoming: Incoming = "none";
  #outgoing: Outgoing = "unsent";

  get incoming(): Incoming {
    return this.#incoming;
  }

  get outgoing(): Outgoing {
    return this.#outgoing;
  }

  expect(): void {
    if (this.#incoming !== "none") throw invalidTransitionError("expect", this.#incoming);
    this.#incoming = "awaited";
  }

  receivePreamble(): void {
    if (this.#incoming !== "awaited") throw invalidTransitionError("preamble", this.#incoming);
    this.#incoming = "begun";
  }

  /** The program gets the received message. */
  handOver(): void {
    if (this.#incoming !== "begun") throw invalidTransitionError("hand over", this.#incoming);
    this.#incoming = "body";
  }

  endIncoming(): void {
    if (this.#incoming !== "body") throw invalidTransitionError("end", this.#incoming);
    this.#incoming = "ended";
  }

  /** Allowed in each phase: an error may come at any time. */
  breakIncoming(): void {
    this.#incoming = "broken";
  }

  /** Allowed in each phase but `"sent"`: what follows a refused write fails at the socket. */
  beginWrite(): void {
    if (this.#outgoing === "sent") throw invalidTransitionError("write", this.#outgoing);
    if (this.#outgoing === "unsent") this.#outgoing = "sending";
  }

  refuseWrites(): void {
    if (this.#outgoing === "sent") throw invalidTransitionError("refuse", this.#outgoing);
    if (this.#outgoing !== "cut") this.#outgoing = "refused";
  }

  endOutgoing(): void {
    if (this.isSendEnded) throw invalidTransitionError("end", this.#outgoing);
    this.#outgoing = this.#outgoing === "refused" ? "cut" : "sent";
  }

  /** Whether all was sent that will be sent. */
  get isSendEnded(): boolean {
    return this.#outgoing === "sent" || this.#outgoing === "cut";
  }

  /** Whether no other write follows, although the message was not sent to its end. */
  get isRefused(): boolean {
    return this.#outgoing === "refused" || this.#outgoing === "cut";
  }

  /** Whether both messages have ended. */
  get isComplete(): boolean {
    return this.#incoming === "ended" && this.isSendEnded;
  }
}

/** The error of an event that can't happen. */
export function invalidTransitionError(event: string, state: string): Error {
  return new Error(
    `a bug of Degu, please report it: the event "${event}" is not allowed for a connection in the ` +
      `state "${state}"`,
  );
}
