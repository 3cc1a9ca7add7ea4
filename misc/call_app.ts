/** Calling an app without a server. */

import { createHash } from "node:crypto";
import { type App, callHandle, readApp } from "../base/app/app.ts";
import {
  answerFraming,
  bodyToHeadError,
  cancelAnswer,
  readAnswer,
  receivedBody,
  Request,
  Response,
} from "../base/app/message.ts";
import { Session } from "../base/app/session.ts";
import { cancelUnused } from "../base/body/bodies.ts";
import { checkObject, copyOptions, wrongType } from "../base/checks.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import {
  formatResponsePreamble,
  parseResponsePreamble,
  receivedFraming,
} from "../base/wire/preamble.ts";
import { setPeer } from "../kit/device/device_server.ts";
import type { Peer } from "../kit/device/peer_store.ts";
import { deviceId } from "../kit/identity/names.ts";

/** The client of the request that the app gets. */
export interface CallAppOptions {
  /**
   * The session of the request.
   *
   * @default {a new one without an address}
   */
  session?: Session | undefined;
  /** The result of `peerOf(session)` in the app; a string stands for a peer of that name. */
  peer?: Peer | string | undefined;
}

/** The requests that the session of a call may make. */
const MAX_REQUESTS = 1000;

/**
 * Calls an app without a server, checks its answer as a server would, and returns the response that
 * a client would get: for tests of apps. No bytes are `null`, and the headers frame the body; only
 * the `connection: close` that a server adds is missing. The `onConnect` of the app is not asked. A
 * body that is too long for the app is answered with 413, and one that is no JSON for
 * `request.json()` with 400.
 *
 * @param app The app.
 * @param request The request, as `mkreq` makes it.
 * @param options The session, and the peer of it.
 * @throws {TypeError} if an argument, an option or a part of the answer is of a wrong type.
 * @throws {RangeError} if a part of the answer has a value that is not allowed.
 * @throws what the app throws.
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
  options: CallAppOptions = {},
): Promise<Response> {
  const parts = readApp(app, "app");
  if (!(request instanceof Request)) {
    throw wrongType("request", "a Request of this package, as mkreq() makes it", request);
  }
  const { session = new Session("test", null, MAX_REQUESTS), peer } = copyOptions(options, [
    "session",
    "peer",
  ]);
  if (!(session instanceof Session)) throw wrongType("session", "a Session", session);
  if (typeof peer === "string") setPeer(session, peerNamed(peer));
  else if (peer !== undefined) {
    checkObject("peer", peer);
    setPeer(session, peer);
  }
  // An app can replace the fields of its request.
  const { method, body } = request;
  const returned = await callHandle(parts, request, session);
  try {
    const answer = readAnswer(returned);
    const { status, reason, headers } = answer;
    const framing = answerFraming(method, body, answer, "response.", false);
    const sent = new Uint8Array(MAX_PREAMBLE_BYTES);
    const length = formatResponsePreamble(sent, status, reason, headers, framing, "response.");
    const preamble = parseResponsePreamble(method, sent, 0, length);
    const hasBody = receivedFraming(method, preamble) !== null;
    if (!hasBody) cancelUnused(answer.body, bodyToHeadError());
    const received = hasBody ? receivedBody(answer.body) : null;
    return new Response(status, reason, preamble.headers, received);
  } catch (error) {
    cancelAnswer(returned, body, error);
    throw error;
  }
}

/** A peer that no device knows: the same name has the same id. */
function peerNamed(name: string): Peer {
  const id = deviceId(createHash("sha256").update(name).digest());
  return { id, name, addresses: [], pairedAt: new Date(0), certificate: "" };
}
