/**
 * Answers queries on the links about one service, no more often than the rules allow.
 *
 * @module
 */

import type { Link } from "./links.ts";
import { type Incoming, knownRecords } from "./packet.ts";
import { allRecords, instanceName, isAsked, isKnown, type Service } from "./service.ts";

/** Between two responses on one link (RFC 6762 §6): queries can't provoke a flood of answers. */
const GAP_MILLISECONDS = 1000;
/** The same for an answer to a device that probes for the name (RFC 6762 §6). */
const DEFENSE_GAP_MILLISECONDS = 250;
/** A response is held back for a moment, at random, since others may answer, too (RFC 6762 §6). */
const LEAST_DELAY_MILLISECONDS = 20;
const MOST_DELAY_MILLISECONDS = 120;

interface State {
  /** When the last response was sent. */
  last: number;
  /** When the next one will be; infinite if none is due. */
  due: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Sends the records of a service when they are asked for. */
export class Responder implements Disposable {
  readonly #service: Service;
  readonly #states = new Map<Link, State>();

  /** Answers nothing by itself: it is told what was asked. */
  constructor(service: Service) {
    this.#service = service;
  }

  /** Answers a query, if it asks for a record of the service. */
  answer({ questions, answers, authorities }: Incoming, link: Link): void {
    if (!isAsked(questions, allRecords(this.#service, link.addresses))) return;
    // A device that probes for a name sends its proposed records in the same packet.
    if (authorities.length > 0) return this.#respondAfter(0, DEFENSE_GAP_MILLISECONDS, link);
    const asksForName = questions.some(({ name }) => name === instanceName(this.#service));
    if (!asksForName && isKnown(knownRecords(answers), this.#service)) return;
    const range = MOST_DELAY_MILLISECONDS - LEAST_DELAY_MILLISECONDS;
    const delay = LEAST_DELAY_MILLISECONDS + Math.random() * range;
    this.#respondAfter(delay, GAP_MILLISECONDS, link);
  }

  #respondAfter(delay: number, gap: number, link: Link): void {
    const now = performance.now();
    const state = this.#states.get(link) ?? { last: -Infinity, due: Infinity, timer: undefined };
    this.#states.set(link, state);
    const due = Math.max(now + delay, state.last + gap);
    if (due >= state.due) return;
    clearTimeout(state.timer);
    state.due = due;
    state.timer = setTimeout(() => {
      state.due = Infinity;
      state.last = performance.now();
      link.respond({ answers: allRecords(this.#service, link.addresses) });
    }, due - now);
  }

  /** Answers nothing more. */
  [Symbol.dispose](): void {
    for (const { timer } of this.#states.values()) clearTimeout(timer);
  }
}
