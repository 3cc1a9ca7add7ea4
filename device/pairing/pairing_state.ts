/**
 * The states of a pairing at the inviter. The joiner sends its requests one after another.
 *
 * The line has a state while the invitation is open, and each number that two people may compare
 * has its own state. The tables below contain the state that follows each event. The tables also
 * contain events that may come too late to change the state. Any other event is a bug of this
 * package, which is logged and thrown.
 *
 * **The line** is `open` until a device sends the secret. Then no other device can use the line:
 * the line is `claimed` while the message of the device is checked, and `open` again if the message
 * is refused. If the message is accepted, the line is `answered` until the device reconnects with
 * its certificate and the value of the response. The line is `storing` while the device is stored,
 * until the last response is sent. No event interrupts this state, because the other device may
 * have stored this device already. A device whose number both people have confirmed is stored in
 * the same way, but only while the line is `open`: the secret has precedence. The last state,
 * paired or not, is `ended`.
 *
 * **The number** is `opened` by a commitment. The number counts as a try as soon as it is
 * `answered`: the joiner then knows all inputs of the number, and a stranger between the two
 * devices has had one chance in a million. Once the joiner has `revealed` its random value, the
 * inviter asks its person to compare the number. Two events follow in either order: this person
 * answers yes (`accepted`), and the joiner reconnects over TLS (`reconnected`) after the person at
 * the joiner has answered yes. After both events, the number is `confirmed`, and the device is
 * stored (`storing`). The number may have `ended` before: by a no, by the end of either connection,
 * by a time limit, by the secret, or with its invitation.
 *
 * The tables cover neither the connections to the ports, each of which has its own time limit, nor
 * the number of tries.
 */

import type { Logger } from "../../server.ts";

/**
 * The events of `AlwaysAllowed` may happen at any time, so the type requires them in every state.
 */
type Transitions<State extends string, Event extends string, AlwaysAllowed extends Event> =
  Readonly<Record<State, Readonly<Partial<Record<Event, State>> & Record<AlwaysAllowed, State>>>>;

export type LineState = "open" | "claimed" | "answered" | "storing" | "ended";

export type LineEvent =
  | "claim"
  | "refuse"
  | "answer"
  | "reconnect"
  | "confirm"
  /** The joiner was stored, or storing has failed. */
  | "finish"
  /** A call of `close()`, the abort of a signal or the expiry ends the invitation. */
  | "end";

export const LINE_TRANSITIONS: Transitions<LineState, LineEvent, "end"> = {
  open: { claim: "claimed", confirm: "storing", end: "ended" },
  claimed: { refuse: "open", answer: "answered", end: "ended" },
  answered: { reconnect: "storing", end: "ended" },
  storing: { finish: "ended", end: "storing" },
  // Late events: an invitation may end while a message is being checked.
  ended: { refuse: "ended", answer: "ended", end: "ended" },
};

export type NumberState =
  | "opened"
  | "answered"
  | "revealed"
  | "accepted"
  | "reconnected"
  | "confirmed"
  | "storing"
  | "ended";

export type NumberEvent = "answer" | "reveal" | "accept" | "reconnect" | "store" | "end";

export const NUMBER_TRANSITIONS: Transitions<NumberState, NumberEvent, "end"> = {
  opened: { answer: "answered", end: "ended" },
  answered: { reveal: "revealed", end: "ended" },
  revealed: { accept: "accepted", reconnect: "reconnected", end: "ended" },
  accepted: { reconnect: "confirmed", end: "ended" },
  reconnected: { accept: "confirmed", end: "ended" },
  confirmed: { store: "storing", end: "ended" },
  storing: { end: "storing" },
  // Late events: a number may end while the response is made, at the same time as a yes, or between
  // the second confirmation and storing.
  ended: { answer: "ended", accept: "ended", store: "ended", end: "ended" },
};

export class StateMachine<State extends string, Event extends string> {
  readonly #transitions: Transitions<State, Event, never>;
  readonly #logger: Pick<Logger, "error">;
  #state: State;

  constructor(
    transitions: Transitions<State, Event, never>,
    state: State,
    logger: Pick<Logger, "error">,
  ) {
    this.#transitions = transitions;
    this.#state = state;
    this.#logger = logger;
  }

  get state(): State {
    return this.#state;
  }

  apply(event: Event): State {
    const nextState = this.#transitions[this.#state][event];
    if (nextState === undefined) {
      const bug = new Error(
        `a bug of Degu, please report it: the event "${event}" is not allowed for a pairing in ` +
          `the state "${this.#state}"`,
      );
      this.#logger.error(`invitation: ${bug}`);
      throw bug;
    }
    return this.#state = nextState;
  }
}
