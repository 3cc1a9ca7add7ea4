/**
 * Where a connection stands, as tables of phases: for each phase, the phase that follows each event
 * that may occur in it. Any other event is a bug of this package.
 *
 * **A server's connection** is `accepting` while its peer is checked and `onConnect` runs. It is
 * `idle` until the first byte of a request, `receiving` until the end of its preamble, and
 * `answering` from there until the request and its response have ended; `distrusted` if this
 * response is the last one, because the peer was found untrusted. After the last response it is
 * `lingering`, without a slot, so that its peer can still read this response. It is `closed` when
 * no byte is sent or received any more, although its app may still work; or `dismissed`, if its app
 * or a change of trust has closed it, so that no error that follows is logged. It is `ended` when
 * that is over too.
 *
 * **Its slot** is `held`, or `yielding` if the next response is the last one. A handshake also has
 * a slot. What waits for a slot is in `transport/slots.ts`, and no connection of a server yet.
 *
 * **The answer** is `awaited` while the peer's trust is asked for, while the app works, and while
 * its result is checked. A response that waits for `discarding` an ignored request is checked again
 * afterwards. A valid response is `sending`, or `streaming` if its body has an unknown length. When
 * it was sent, it may be `relaying`: the app still writes the request's body, such as to another
 * server.
 *
 * **The two halves of an exchange** are the same at both ends, in the opposite order.
 */

export type Transitions<Name extends string, Event extends string> = Readonly<
  Record<Name, Readonly<Partial<Record<Event, Name>>>>
>;

/** A phase, with a link to the phase that follows each event; `null` if the event can't occur. */
export type Phase<Name extends string, Event extends string> =
  & { readonly name: Name }
  & { readonly [_ in Event]: Phase<Name, Event> | null };

/**
 * Links the phases of a table. Following a link takes 3 ns, and looking up two names 30 ns; for
 * this, all phases have the same properties.
 */
export function linkPhases<Name extends string, Event extends string>(
  transitions: Transitions<Name, Event>,
): Readonly<Record<Name, Phase<Name, Event>>> {
  const rows = Object.entries(transitions) as [Name, Partial<Record<Event, Name>>][];
  const events = new Set(rows.flatMap(([, row]) => Object.keys(row)));
  const noLinks = Object.fromEntries([...events].map((event) => [event, null]));
  const phases = Object.fromEntries(rows.map(([name]) => [name, { name, ...noLinks }]));
  for (const [name, row] of rows) {
    for (const [event, next] of Object.entries(row)) {
      phases[name] = Object.assign(phases[name]!, { [event]: phases[next as Name] });
    }
  }
  return phases as Readonly<Record<Name, Phase<Name, Event>>>;
}

export type ServerPhase =
  | "accepting"
  | "idle"
  | "receiving"
  | "answering"
  | "distrusted"
  | "lingering"
  | "dismissed"
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
  /** The peer was found untrusted. */
  | "distrust"
  | "linger"
  /** The app closes the session, or the server doesn't trust its peer any more. */
  | "dismiss"
  /** The peer, an error, a time-out or the end of the server closes the connection. */
  | "close"
  /** The app has returned. */
  | "end";

/** The events that end a connection in each phase between `accepting` and `lingering`. */
const ENDS = { linger: "lingering", dismiss: "dismissed", close: "closed" } as const;

export const SERVER_TRANSITIONS: Transitions<ServerPhase, ServerEvent> = {
  accepting: { accept: "idle", dismiss: "dismissed", close: "closed" },
  idle: { receive: "receiving", ...ENDS },
  // It lingers after an invalid request.
  receiving: { receive: "receiving", skip: "idle", begin: "answering", ...ENDS },
  answering: { finish: "idle", distrust: "distrusted", ...ENDS },
  distrusted: { distrust: "distrusted", ...ENDS },
  lingering: { linger: "lingering", close: "ended" },
  dismissed: { linger: "dismissed", close: "dismissed", end: "ended" },
  closed: { linger: "closed", close: "closed", end: "ended" },
  ended: { linger: "ended", close: "ended", end: "ended" },
};

export type SlotPhase = "held" | "yielding";

/** A slot yields if a connection of a peer with fewer slots waits, until none waits any more. */
export const SLOT_TRANSITIONS: Transitions<SlotPhase, "yield" | "keep"> = {
  held: { yield: "yielding", keep: "held" },
  yielding: { keep: "held" },
};

export type AnswerPhase =
  | "awaited"
  | "discarding"
  | "sending"
  | "streaming"
  | "sent"
  | "relaying";

export type AnswerEvent =
  | "discard"
  | "recheck"
  | "send"
  | "stream"
  | "endSend"
  | "relay";

export const ANSWER_TRANSITIONS: Transitions<AnswerPhase, AnswerEvent> = {
  awaited: { discard: "discarding", send: "sending", stream: "streaming" },
  discarding: { recheck: "awaited" },
  sending: { endSend: "sent" },
  streaming: { endSend: "sent" },
  sent: { relay: "relaying" },
  relaying: {},
};

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

/** Throws the error of an event that can't occur. */
export function refuseEvent(event: string, { name }: { readonly name: string }): never {
  throw invalidTransitionError(event, name);
}

export function invalidTransitionError(event: string, phase: string): Error {
  return new Error(
    `a bug of Degu, please report it: the event "${event}" is not allowed for a connection in the ` +
      `state "${phase}"`,
  );
}
