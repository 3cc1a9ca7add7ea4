/**
 * The states of a connection, at the client and at the server.
 *
 * A connection carries one exchange after the other: a request, and a response, which may begin
 * before the request has ended. A client sends no request before it has sent the previous request
 * and read its response, a server answers one request at a time, the
 * only interim response is `100 Continue`, which changes no state, and the protocol is never
 * switched. So each side is always in one of a few states. The tables below name the state that
 * follows each event. Any other event is a bug of this package: it closes the connection, and is
 * reported to the server's logger or to the client's caller.
 *
 * The tables don't contain:
 *
 * - the closing of a connection, and its cause. Garbage collection of a `Connection` closes its
 *   socket; the `Transport`, which outlives the `Connection`, stores the close and its cause;
 * - the progress of the current message, which `Transport` stores; also whether a client still
 *   sends its request while it receives the response;
 * - whether the next response is the last one. On the client, the caller or the server can decide
 *   this at any time; the server decides it for each response;
 * - the pending read of an idle client, which `IdleRead` stores;
 * - the suspicion that the server has refused the client, or the request's body, which decides the
 *   error that is reported (`client_errors.ts`).
 */

/**
 * The events of `AlwaysAllowed` may happen at any time, so the type requires them in every state.
 */
type Transitions<State extends string, Event extends string, AlwaysAllowed extends Event> =
  Readonly<Record<State, Readonly<Partial<Record<Event, State>> & Record<AlwaysAllowed, State>>>>;

/**
 * The states of a server's connection.
 *
 * - `"idle"`: no complete preamble has arrived. `onConnect` also runs in this state.
 * - `"bodyUnread"`: the app has a request whose body was not read to its end.
 * - `"bodyBroken"`: the client broke the framing of the body before a byte of the response was
 *   sent. The response is sent, and is the last one.
 * - `"responding"`: the app has a request without a body, or has read the whole body.
 * - `"closedByClient"`: the client closed the idle connection, as most clients do.
 * - `"closedByApp"`: the app closed the session. This is logged at once, and not again.
 * - `"closed"`: the connection ended in another way.
 */
export type ServerState =
  | "idle"
  | "bodyUnread"
  | "bodyBroken"
  | "responding"
  | "closed"
  | "closedByClient"
  | "closedByApp";

/**
 * The events of a server's connection. `"close"` is the end of the last response as well as the
 * closing of the socket. A response is the last one after an error, with `connection: close`, at a
 * limit, or if the request's body is unread, since the start of the next request is then unknown.
 */
export type ServerEvent =
  | "receiveRequest"
  | "receiveRequestWithBody"
  | "finishBody"
  | "breakBody"
  | "finishResponse"
  | "closeByClient"
  | "closeByApp"
  | "close";

export const SERVER_TRANSITIONS: Transitions<ServerState, ServerEvent, "closeByApp" | "close"> = {
  idle: {
    receiveRequest: "responding",
    receiveRequestWithBody: "bodyUnread",
    closeByClient: "closedByClient",
    closeByApp: "closedByApp",
    close: "closed",
  },
  bodyUnread: {
    finishBody: "responding",
    breakBody: "bodyBroken",
    closeByApp: "closedByApp",
    close: "closed",
  },
  bodyBroken: { closeByApp: "closedByApp", close: "closed" },
  responding: { finishResponse: "idle", closeByApp: "closedByApp", close: "closed" },
  // Late events. `close`: the socket is closed after the last response. `closeByApp`: an app may
  // close a session at any time, and more than once. `finishBody`: a connection may be closed while
  // a slow sink takes the last bytes of a body.
  closed: { closeByApp: "closed", close: "closed", finishBody: "closed" },
  closedByClient: { closeByApp: "closedByClient", close: "closedByClient" },
  closedByApp: { closeByApp: "closedByApp", close: "closedByApp", finishBody: "closedByApp" },
};

/**
 * The states of a client's connection.
 *
 * - `"idle"`: the connection can send a request. The initial state.
 * - `"requesting"`: from the call to the end of the response's preamble. The state begins before
 *   the call reads the headers, because a getter of a header could make another request. An error
 *   in this state means that the server has not responded.
 * - `"responding"`: the rest of the preamble is being checked.
 * - `"bodyUnread"`: the response's body was not read to its end. The request may still be sent.
 * - `"bodyUnsent"`: the response has ended, and the request is still being sent.
 * - `"closed"`: an error closed the connection before a response was returned. A later close of
 *   the connection is stored only by its transport.
 */
export type ClientState =
  | "idle"
  | "requesting"
  | "responding"
  | "bodyUnread"
  | "bodyUnsent"
  | "closed";

/**
 * The events of a client's connection. `"rollback"` is an error that leaves the connection open: a
 * request is invalid, or was aborted before its first byte was sent. `"fail"` is any other error
 * before the response is returned, and closes the connection. `"finishBody"` is the end of the
 * response after that of the request, `"finishBodyFirst"` before it; the end of the request then
 * is `"finishSend"`.
 */
export type ClientEvent =
  | "sendRequest"
  | "rollback"
  | "receivePreamble"
  | "returnResponse"
  | "finishBody"
  | "finishBodyFirst"
  | "finishSend"
  | "fail";

export const CLIENT_TRANSITIONS: Transitions<ClientState, ClientEvent, "fail"> = {
  // A late `fail`: a caller's class of bodies may read the whole body in its constructor, and then
  // throw. The constructor may even make the next request, which then fails.
  idle: { sendRequest: "requesting", fail: "closed" },
  requesting: { rollback: "idle", receivePreamble: "responding", fail: "closed" },
  responding: { returnResponse: "bodyUnread", fail: "closed" },
  bodyUnread: { finishBody: "idle", finishBodyFirst: "bodyUnsent", fail: "closed" },
  bodyUnsent: { finishSend: "idle", fail: "closed" },
  // A late `finishBody`: a caller's class of bodies may begin to write the body to a slow sink in
  // its constructor, and then throw.
  closed: { fail: "closed", finishBody: "closed" },
};

export function invalidTransitionError(event: string, state: string): Error {
  return new Error(
    `a bug of Degu, please report it: the event "${event}" is not allowed for a connection in the ` +
      `state "${state}"`,
  );
}
