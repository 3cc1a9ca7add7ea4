/**
 * The states of a pairing, at the device that invites. At the one that joins there is one request
 * after the other.
 *
 * The state of the line lasts as long as the invitation, and each number that two people may
 * compare has its own. Whatever happens is an event, and the tables below say which state follows.
 * The tables are the rule: events that may come too late to change anything are named, too, and any
 * other event is a mistake of this package, which is thrown and logged.
 *
 * **The line** is `open` until a device sends the secret. That device has it alone from then on:
 * the line is `claimed` while the device's message is checked, and `open` again if the message is
 * refused. Otherwise the line is `answered`, until the device comes back with its certificate and
 * the value of the answer. While the device is stored, which ends with the last answer, the line is
 * `storing`: nothing ends it then, because the other device may have stored this one already. A
 * device whose number both people have confirmed is stored in the same way, but only while the line
 * is `open`: the secret goes first. In the end, paired or not, the line is `over`.
 *
 * **The number** is `opened` by a commitment. It is a try from the moment at which it is
 * `answered`: the joiner knows all that the number is made of, and whoever stands between the two
 * devices has had one chance in a million. When the joiner has revealed its random value, the
 * person here is `asked`. Two things are to come, in either order: the person says yes
 * (`accepted`), and the device comes back with its certificate (`returned`), which it does when its
 * own person has said yes. After both the number is `confirmed`, and the device is stored
 * (`storing`) unless the number has ended meanwhile: by a no, by the end of either connection, by a
 * time limit, by the secret, or with its invitation. Then it is `over`.
 *
 * Not in the tables are the connections to the ports, each of which has its own time limit, and how
 * many tries there were.
 */

import { invalidTransitionError, type Transitions } from "../net/connection_states.ts";

/**
 * The most numbers of one invitation, and of one `degu pair`, that are not confirmed: each gives
 * whoever stands between two devices one chance in a million.
 */
export const MAX_TRIES = 5;

/** The states of the line of an invitation, see above. */
export type LineState = "open" | "claimed" | "answered" | "storing" | "over";

/**
 * The events of a line. `finished` is the end of storing, whether it has succeeded or not; `ends`
 * is the wish to end the invitation, by a call, a signal or its expiry.
 */
export type LineEvent =
  | "secret"
  | "refused"
  | "answered"
  | "returned"
  | "confirmed"
  | "finished"
  | "ends";

/** The state of a line that follows an event. */
export const LINE: Transitions<LineState, LineEvent, "ends"> = {
  open: { secret: "claimed", confirmed: "storing", ends: "over" },
  claimed: { refused: "open", answered: "answered", ends: "over" },
  answered: { returned: "storing", ends: "over" },
  storing: { finished: "over", ends: "storing" },
  // Late events: an invitation may end while a message is being checked.
  over: { refused: "over", answered: "over", ends: "over" },
};

/** The states of a number at the device that invites, see above. */
export type NumberState =
  | "opened"
  | "answered"
  | "asked"
  | "accepted"
  | "returned"
  | "confirmed"
  | "storing"
  | "over";

/** The events of a number. `stores` follows both confirmations; `ends` is whatever else ends it. */
export type NumberEvent = "answered" | "revealed" | "accepted" | "returned" | "stores" | "ends";

/** The state of a number that follows an event. */
export const NUMBER: Transitions<NumberState, NumberEvent, "ends"> = {
  opened: { answered: "answered", ends: "over" },
  answered: { revealed: "asked", ends: "over" },
  asked: { accepted: "accepted", returned: "returned", ends: "over" },
  accepted: { returned: "confirmed", ends: "over" },
  returned: { accepted: "confirmed", ends: "over" },
  confirmed: { stores: "storing", ends: "over" },
  storing: { ends: "storing" },
  // Late events: a number may end while its answer is made, in the moment of a yes, or between the
  // second confirmation and storing.
  over: { answered: "over", accepted: "over", stores: "over", ends: "over" },
};

/** What is in one of the states of a table. */
export class PairingState<State extends string, Event extends string> {
  readonly #table: Transitions<State, Event, never>;
  readonly #report: (bug: Error) => void;
  #now: State;

  /** @param report Gets the error for an event that the table does not name, which is thrown. */
  constructor(table: Transitions<State, Event, never>, first: State, report: (bug: Error) => void) {
    this.#table = table;
    this.#now = first;
    this.#report = report;
  }

  get now(): State {
    return this.#now;
  }

  /** Enters the state that follows an event, and returns that state. */
  on(event: Event): State {
    const next = this.#table[this.#now][event];
    if (next === undefined) {
      const bug = invalidTransitionError(event, this.#now, "pairing");
      this.#report(bug);
      throw bug;
    }
    return this.#now = next;
  }
}
