import { type App, type AppParts, callHandle, readApp, type Socket } from "../base/app/app.ts";
import { cancelAppResult, parseAppResult, unsentHeadBodyError } from "../base/app/app_result.ts";
import { attachSignal, makeReadableBody, Request, Response } from "../base/app/message.ts";
import { Session, type SessionCore, sessionCoreOf } from "../base/app/session.ts";
import { cancelUnusedBody, determineSentFraming } from "../base/body/sent_body.ts";
import { ConnectionClosedError } from "../base/errors.ts";
import { copyOptions, wrongTypeError } from "../internal/checks.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import {
  determineReceivedFraming,
  formatResponsePreamble,
  parseResponsePreamble,
} from "../base/wire/preamble.ts";
import { mkSession, type SessionFields } from "./session.ts";

/**
 * Calls an app without a server, checks its response as a server would, and returns the response
 * that a client would get: for tests of apps. The body of an empty response is `null`, and the
 * headers have the framing of the body, but not the `connection: close` that a server may add. The
 * `onConnect` of the app is called first, unless the options have a session or the name of its
 * peer. The response is 413 if the body of the request exceeds the app's limit, 400 if
 * `request.json()` fails, and the response of the error if the app throws a `ResponseError`. The
 * response is 403, and the app is not called, if `isTrusted` of the session isn't true.
 *
 * @param app The app.
 * @param request The request, as `mkreq` makes it.
 * @param options The session.
 * @throws {TypeError} if an argument, an option or a part of the response has a wrong type.
 * @throws {RangeError} if a part of the response has a value that is not allowed.
 * @throws {ConnectionClosedError} with the code `"REFUSED"` if `onConnect` refuses the peer.
 * @throws the error that the app throws, unless it is a `ResponseError`.
 *
 * @example
 * ```ts
 * import { type App, reply } from "@degu/degu";
 * import { callApp, mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = ({ path }) => path[0] === "lamp" ? reply(200, "on") : reply(404);
 * assertEquals((await callApp(app, mkreq("GET", "/lamp"))).status, 200);
 * assertEquals((await callApp(app, mkreq("GET", "/heater"))).reason, "Not Found");
 * ```
 */
export async function callApp(
  app: App,
  request: Request,
  options: {
    /**
     * The session of the request, or the properties of a new session. `onConnect` of the app is not
     * called for a `Session`, and for a peer that `user` names.
     *
     * @default {a new session without an address}
     */
    session?:
      | Session
      | SessionFields
      | undefined;
  } = {},
): Promise<Response> {
  const parts = readApp(app, "app");
  if (!(request instanceof Request)) {
    throw wrongTypeError("request", "a Request of this package, as mkreq() makes it", request);
  }
  const { session: sessionOption = {} } = copyOptions(options, ["session"]);
  const session = sessionOption instanceof Session ? sessionOption : mkSession(sessionOption);
  const sessionCore = sessionCoreOf(session);
  if (sessionCore === null) {
    throw wrongTypeError(
      "session",
      "a session of a server or of mkSession(), or its fields",
      session,
    );
  }
  attachSignal(request, session);
  // Read the fields now, because an app can replace the fields of its request.
  const { method, body } = request;
  let appResult: unknown;
  try {
    if (!isPeerGiven(sessionOption)) await connect(sessionCore, parts.onConnect);
    appResult = await callHandle(
      {
        // Like a server: an app gets no request of a peer that isn't trusted.
        handle: (...args) => sessionCore.ifTrusted(() => parts.handle(...args)),
      },
      request,
      session,
    );
    const response = parseAppResult(appResult);
    const { status, reason, headers } = response;
    const framing = determineSentFraming(method, status, headers, response.body);
    const bytes = new Uint8Array(MAX_PREAMBLE_BYTES);
    const length = formatResponsePreamble(bytes, status, reason, headers, framing, "response.");
    const preamble = parseResponsePreamble(method, bytes, 0, length);
    const hasBody = determineReceivedFraming(method, preamble) !== null;
    if (!hasBody) cancelUnusedBody(response.body, unsentHeadBodyError());
    const responseBody = hasBody ? makeReadableBody(response.body, "response") : null;
    sessionCore.settleResponse(null);
    return new Response(status, reason, preamble.headers, responseBody);
  } catch (error) {
    cancelAppResult(appResult, body, error);
    sessionCore.settleResponse(error);
    throw error;
  }
}

/** Whether the caller has made the decision of `onConnect`. */
function isPeerGiven(sessionOption: Session | SessionFields): boolean {
  return sessionOption instanceof Session || sessionOption.user !== undefined;
}

async function connect(
  sessionCore: SessionCore,
  onConnect: AppParts["onConnect"],
): Promise<void> {
  if (onConnect === null) return;
  const { session } = sessionCore;
  const decision = await onConnect(session, makeSocket(session));
  const refusalReason = await sessionCore.acceptPeer(decision) ?? session.message;
  if (refusalReason === null) return;
  throw new ConnectionClosedError(
    `the app did not accept the peer: ${refusalReason}; to call the app without its onConnect, ` +
      'pass the peer that it would return, such as { session: { user: "anna" } }',
    "REFUSED",
  );
}

/** Makes the socket for `onConnect`, which may use only its properties. */
function makeSocket(session: Session): Socket {
  const fail = () => Promise.reject(new TypeError("callApp() has no connection to read or write"));
  const { peerCertificate } = session;
  return { read: fail, write: fail, close: () => session.close(), peerCertificate };
}
