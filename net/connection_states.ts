/**
 * The states of a connection, at each of its ends.
 *
 * A connection carries one exchange after the other: a request, then its response. A client sends
 * no request before the last response has been read, a server answers one request at a time, there
 * are no interim responses, and no protocol is switched, so either end is always in one of a few
 * states. Whatever happens to an end is an event, and the tables below say which state follows. The
 * tables are the rule: events that may come too late to change anything are named, too, and any
 * other event is a mistake of this package. Such an event closes the connection and is reported, by
 * the server to its logger, by the client to its caller.
 *
 * The server's end begins `idle`, which lasts until a request has arrived up to the end of its
 * preamble; `onConnect` runs in this state, too. The app then has the request: the body is `unread`
 * until its last byte was read, and the end is `answering` afterwards, or at once if the request
 * has no body. If the peer breaks the framing of the body before anything of the response was sent,
 * the end is `broken`: the response still goes out, and is the last one. Once the response was
 * sent, the end is `idle` again, unless the response is the last one: after an error, after
 * `connection: close`, at a limit, or if the body is still unread, since nobody knows where the
 * next request would begin. There are three ways to be over. `endedByPeer`: the peer ended the
 * connection while it was idle, as most do. `closedByApp`: the app closed the session, which is
 * reported then and not again. `over`: all other ends.
 *
 * The client's end begins `idle`, too. The end is `requesting` from the moment at which a request
 * is looked at, since getters of its headers are code that may make another one, to the end of the
 * response's preamble: an error in this state means that the server has not answered. The end is
 * `responding` while the rest of the preamble is checked. The body is then `unread`, and the next
 * request may be made only when the last byte was read, or if there is none. A request that is
 * invalid, or aborted before a byte of it was sent, is undone: the end is `idle`, as before. Any
 * other failure up to the response closes the connection, and the end is `over`. If the connection
 * is closed later, only its transport knows.
 *
 * Not in the tables are:
 *
 * - the closing of a connection, and its cause. Garbage collection of a `Connection` closes its
 *   socket; the `Transport`, which lives on, knows both;
 * - the progress of the current message, known where bytes move, in `Transport`;
 * - the fact that the client's response to come is the last one: its caller or the server may say
 *   so at any time. The server decides this for each response, and remembers nothing;
 * - the read that is pending while a client's end is idle, which `Rest` knows;
 * - the suspicion that the server has refused the client, or the request's body, which chooses the
 *   error that is reported (`client_errors.ts`).
 */

/**
 * For each state of one end of a connection, the state that follows an event. The events of
 * `Always` may happen at any time, so the types demand them of every state.
 */
export type Transitions<State extends string, Event extends string, Always extends Event> =
  Readonly<
    Record<State, Readonly<Partial<Record<Event, State>> & Record<Always, State>>>
  >;

/** The states of a server's end, see above. */
export type ServerState =
  | "idle"
  | "unread"
  | "broken"
  | "answering"
  | "over"
  | "endedByPeer"
  | "closedByApp";

/**
 * The events of a server's end. Both the last response and the closing of the socket are `ends`.
 */
export type ServerEvent =
  | "request"
  | "requestWithBody"
  | "bodyRead"
  | "bodyBreaks"
  | "answered"
  | "peerEnds"
  | "appCloses"
  | "ends";

/** The state of a server's end that follows an event. */
export const SERVER_TRANSITIONS: Transitions<ServerState, ServerEvent, "appCloses" | "ends"> = {
  idle: {
    request: "answering",
    requestWithBody: "unread",
    peerEnds: "endedByPeer",
    appCloses: "closedByApp",
    ends: "over",
  },
  unread: {
    bodyRead: "answering",
    bodyBreaks: "broken",
    appCloses: "closedByApp",
    ends: "over",
  },
  broken: { appCloses: "closedByApp", ends: "over" },
  answering: { answered: "idle", appCloses: "closedByApp", ends: "over" },
  // Late events: `ends`, since the socket is closed after the last response, and whatever else has
  // ended the connection; `appCloses`, since an app may close a session whenever it likes, and more
  // than once; `bodyRead`, since a connection may be closed while a slow sink takes the last bytes.
  over: { appCloses: "over", ends: "over", bodyRead: "over" },
  endedByPeer: { appCloses: "endedByPeer", ends: "endedByPeer" },
  closedByApp: { appCloses: "closedByApp", ends: "closedByApp", bodyRead: "closedByApp" },
};

/** The states of a client's end, see above. */
export type ClientState = "idle" | "requesting" | "responding" | "unread" | "over";

/**
 * The events of a client's end. `fails` is an error before the response is returned that closes the
 * connection, and `undone` an error that leaves the connection open.
 */
export type ClientEvent = "request" | "undone" | "preamble" | "response" | "bodyRead" | "fails";

/** The state of a client's end that follows an event. */
export const CLIENT_TRANSITIONS: Transitions<ClientState, ClientEvent, "fails"> = {
  // A caller's class of bodies may read the whole body in its constructor, and then throw: `fails`
  // comes late. The constructor may even make the next request, which fails in its turn.
  idle: { request: "requesting", fails: "over" },
  requesting: { undone: "idle", preamble: "responding", fails: "over" },
  responding: { response: "unread", fails: "over" },
  unread: { bodyRead: "idle", fails: "over" },
  // Such a constructor may also begin to write the body to a slow sink before it throws: then
  // `bodyRead` comes after `fails`.
  over: { fails: "over", bodyRead: "over" },
};

/**
 * The error for an event that a state doesn't name: a mistake of this package, not of its user.
 *
 * @param what What is in this state.
 */
export function invalidTransitionError(event: string, state: string, what = "connection"): Error {
  return new Error(
    `a bug of Degu, please report it: "${event}" can't happen to a ${what} that is "${state}"`,
  );
}
