/**
 * The states of a connection, at each of its ends.
 *
 * A connection carries one exchange after the other: a request, then its response. A client sends no request before it
 * has read the last response, a server answers one request at a time, there are no interim responses, and no protocol
 * is switched, so either end is always in one of a few states. What happens to it is an event, and the tables below say
 * which state follows. An event that a state doesn't name changes nothing: it comes too late, as when an app closes a
 * session whose last response was sent.
 *
 * The server's end begins `idle`, which lasts until a request has arrived up to the end of its preamble; `onConnect`
 * runs in it, too. The app then has the request: its body is `unread` until its last byte was read, and `answering` is
 * what is left to do; a request without a body begins there. Once its response was sent the end is `idle` again, unless
 * the response is the last one: after an error, after `connection: close`, at a limit, or if the body is still unread,
 * since nobody knows where the next request would begin. There are four ways to be over.
 * `endedByPeer`: the peer ended the connection while it was idle, as most do. `closedByApp`: the
 * app closed the session, which is reported then and not again. `gaveWay`: another connection got
 * the slot of a peer that kept its request to itself; likewise. `over`: all others.
 *
 * The client's end begins `idle`, too. It is `requesting` from the moment at which a request is looked at, since
 * getters of its headers are code that may make another one, to the end of the response's preamble: an error in this
 * state means that the server has not answered. It is `responding` while the rest of the preamble is checked, and that
 * nothing follows a response without a body; then the body is `unread`, and only when its last byte was read, or there
 * is none, may the next request be made. A request that is invalid, or aborted before a byte of it was sent, is undone: the
 * end is `idle`, as it was. Any other failure up to the response closes the connection, and the end is `over`. What closes
 * it later only its transport knows.
 *
 * What is not in the tables, and why:
 *
 * - whether a connection is closed, and what broke it, is for its `Transport` to say: a `Connection` may be garbage
 *   collected while its socket is open, which then closes it, and its transport may not;
 * - how far the current message has got in or out is known where bytes move, in `Transport`;
 * - that the client's response to come is the last one: its caller or the server may say so at any time. The server
 *   decides that only once it has answered, and remembers nothing;
 * - whether the server may have refused the client or the request's body: that chooses the error that is reported.
 */

/** For each state of one end of a connection, which state follows an event. */
type Table<State extends string, Event extends string> = Readonly<
  Record<State, Readonly<Partial<Record<Event, State>>>>
>;

/** What a server's end of a connection is doing. */
export type ServerState =
  | "idle"
  | "unread"
  | "answering"
  | "over"
  | "endedByPeer"
  | "closedByApp"
  | "gaveWay";

/**
 * An event of a server's end: `ends` is its last response, or that its socket was closed. Only a
 * peer that has not sent its request to the end can be made to give way.
 */
type ServerEvent =
  | "request"
  | "requestWithBody"
  | "bodyRead"
  | "answered"
  | "peerEnds"
  | "appCloses"
  | "givesWay"
  | "ends";

/** The states of a server's end. */
export const SERVER: Table<ServerState, ServerEvent> = {
  idle: {
    request: "answering",
    requestWithBody: "unread",
    peerEnds: "endedByPeer",
    appCloses: "closedByApp",
    givesWay: "gaveWay",
    ends: "over",
  },
  unread: {
    bodyRead: "answering",
    appCloses: "closedByApp",
    givesWay: "gaveWay",
    ends: "over",
  },
  answering: { answered: "idle", appCloses: "closedByApp", ends: "over" },
  over: {},
  endedByPeer: {},
  closedByApp: {},
  gaveWay: {},
};

/** What a client's end of a connection is doing. */
export type ClientState = "idle" | "requesting" | "responding" | "unread" | "over";

/** What happens to a client's end: `fails` is any error that closes it, up to the response, `undone` any other. */
type ClientEvent = "request" | "undone" | "preamble" | "response" | "bodyRead" | "fails";

/** The states of a client's end. */
export const CLIENT: Table<ClientState, ClientEvent> = {
  idle: { request: "requesting" },
  requesting: { undone: "idle", preamble: "responding", fails: "over" },
  responding: { response: "unread", fails: "over" },
  unread: { bodyRead: "idle", fails: "over" },
  over: {},
};
