/**
 * The states of a pairing at the inviter. The joiner sends one request after the other.
 *
 * The line has a state as long as the invitation is open, and each number that two people may
 * compare has its own. The tables below say which state follows an event. They also name the events
 * that may come too late to change anything. Any other event is a mistake of this package, which is
 * logged and thrown.
 *
 * **The line** is `open` until a device sends the secret. Then that device has the line alone: the
 * line is `claimed` while the message of the device is checked, and `open` again if the message is
 * refused. If it isn't, the line is `answered` until the device reconnects with its certificate and
 * the value of the answer. The line is `storing` while the device is stored, which ends with the
 * last response. This state can't be interrupted, because the other device may have stored this one
 * already. A device whose number both people have confirmed is stored in the same way, but only
 * while the line is `open`: the secret has precedence. The last state, paired or not, is `ended`.
 *
 * **The number** is `opened` by a commitment. It is a try as soon as it is `answered`: the joiner
 * then knows all parts of the number, and a stranger between the two devices has had one chance in
 * a million. Once the joiner has `revealed` its random value, the inviter asks its person. Two
 * events follow in either order: the person says yes (`accepted`), and the joiner reconnects over
 * TLS (`reconnected`) after the yes of its own person. After both the number is `confirmed`, and
 * the device is stored (`storing`), unless the number has `ended` before: by a no, by the end of
 * either connection, by a time limit, by the secret, or with its invitation.
 *
 * The tables contain neither the connections to the ports, each of which has its own time limit,
 * nor the number of tries.
 */

import { invalidTransitionError, type Transitions } from "../net/connection_states.ts";

/**
 * The most numbers of one invitation, and of one `degu pair`, that are not confirmed. Each gives a
 * stranger between the two devices one chance in a million.
 */
export const MAX_TRIES = 5;

/** The states of the line of an invitation, see above. */
export type LineState = "open" | "claimed" | "answered" | "storing" | "ended";

/**
 * The events of a line. `finish` is the end of storing, whether it has succeeded or not; `end` is a
 * call, a signal or the expiry that ends the invitation.
 */
export type LineEvent =
  | "claim"
  | "refuse"
  | "answer"
  | "reconnect"
  | "confirm"
  | "finish"
  | "end";

/** The state of a line that follows an event. */
export const LINE_TRANSITIONS: Transitions<LineState, LineEvent, "end"> = {
  open: { claim: "claimed", confirm: "storing", end: "ended" },
  claimed: { refuse: "open", answer: "answered", end: "ended" },
  answered: { reconnect: "storing", end: "ended" },
  storing: { finish: "ended", end: "storing" },
  // Late events: an invitation may end while a message is being checked.
  ended: { refuse: "ended", answer: "ended", end: "ended" },
};

/** The states of a number at the inviter, see above. */
export type NumberState =
  | "opened"
  | "answered"
  | "revealed"
  | "accepted"
  | "reconnected"
  | "confirmed"
  | "storing"
  | "ended";

/** The events of a number. `store` follows both confirmations; `end` is every other end. */
export type NumberEvent = "answer" | "reveal" | "accept" | "reconnect" | "store" | "end";

/** The state of a number that follows an event. */
export const NUMBER_TRANSITIONS: Transitions<NumberState, NumberEvent, "end"> = {
  opened: { answer: "answered", end: "ended" },
  answered: { reveal: "revealed", end: "ended" },
  revealed: { accept: "accepted", reconnect: "reconnected", end: "ended" },
  accepted: { reconnect: "confirmed", end: "ended" },
  reconnected: { accept: "confirmed", end: "ended" },
  confirmed: { store: "storing", end: "ended" },
  storing: { end: "storing" },
  // Late events: a number may end while the response is made, in the moment of a yes, or between
  // the second confirmation and storing.
  ended: { answer: "ended", accept: "ended", store: "ended", end: "ended" },
};

/** The current state of a table. */
export class StateMachine<State extends string, Event extends string> {
  readonly #transitions: Transitions<State, Event, never>;
  readonly #onBug: (bug: Error) => void;
  #state: State;

  /** @param onBug Gets the error of an event that the table does not name; then it is thrown. */
  constructor(
    transitions: Transitions<State, Event, never>,
    state: State,
    onBug: (bug: Error) => void,
  ) {
    this.#transitions = transitions;
    this.#state = state;
    this.#onBug = onBug;
  }

  get state(): State {
    return this.#state;
  }

  /** Enters the state that follows an event, and returns that state. */
  apply(event: Event): State {
    const next = this.#transitions[this.#state][event];
    if (next === undefined) {
      const bug = invalidTransitionError(event, this.#state, "pairing");
      this.#onBug(bug);
      throw bug;
    }
    return this.#state = next;
  }
}
