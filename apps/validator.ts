/** The middleware that checks both sides of the contract between a server and an app. */

import {
  type Api,
  type App,
  type AppObject,
  type AppParts,
  readApp,
  type Socket,
} from "../base/app/app.ts";
import {
  type Answer,
  answerFraming,
  cancelAnswer,
  readAnswer,
  type Request,
  type ResponseTuple,
} from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { type BodyIn, progressOf } from "../base/body/bodies.ts";
import {
  checkArray,
  checkFunction,
  checkInteger,
  checkObject,
  checkString,
  wrongType,
} from "../base/checks.ts";
import { BodyError } from "../base/errors.ts";
import { quote, typeName } from "../base/quote.ts";
import type { Framing, HeaderDict } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import {
  checkMethod,
  formatRequestPreamble,
  formatResponsePreamble,
  type Method,
} from "../base/wire/preamble.ts";
import { checkUri, parseUri } from "../base/wire/uri.ts";

/**
 * Wraps an app and checks every rule of the contract: the arguments from the server, and the answer
 * of the app. A broken rule is an error whose message begins with the place:
 * `response.headers["Content-Type"]: the name must be …`.
 *
 * A server also checks each response before sending it. A validator additionally checks the server,
 * requires that the body of a request is read to its end before a response below 400, and works
 * without a server: use it to test apps, servers and middleware.
 *
 * @example
 * ```ts
 * import { type App, Client, Server, Validator } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = () => [200, "OK", { hello: "world" }, null];
 * await using server = new Server(["127.0.0.1", 0], new Validator(app));
 * server.serveForever();
 * assertEquals((await new Client(server.address).request("GET", "/")).status, 200);
 * ```
 */
export class Validator implements AppObject {
  readonly #app: AppParts;

  /**
   * Wraps an app.
   *
   * @param app The app to check.
   * @throws {TypeError} if `app` is not an app.
   */
  constructor(app: App) {
    this.#app = readApp(app, "app");
  }

  /**
   * Passes a request on, and returns the app's answer, always as a tuple.
   *
   * @param request The request.
   * @param session The connection of the request.
   * @param api The classes to make a response from.
   * @throws {TypeError} if an argument or a part of the answer has a wrong type.
   * @throws {RangeError} if an argument or a part of the answer has a value that is not allowed.
   * @throws {BodyError} if a body is not in a state that allows the request or the response.
   */
  async handle(request: Request, session: Session, api: Api): Promise<ResponseTuple> {
    checkRequest(request);
    checkSession(session);
    const classes = ["Body", "BodyIter", "ChunkedBody", "ChunkedBodyIter"] as const;
    checkFunctions("api", api, [...classes, "Range", "ContentRange"]);
    // An app can replace the fields of a request, so they are copied first.
    const { method, body } = request;
    const returned = await this.#app.handle(request, session, api);
    const answer = checkResponse(returned, method, body);
    if (answer.status < 400 && body !== null && !progressOf(body).isConsumed) {
      const error = new BodyError(
        `request.body: must be read to its end before a response with status ${answer.status}, or the ` +
          "session ends after it; it may stay unread if the status is 400 or above",
      );
      cancelAnswer(returned, body, error);
      throw error;
    }
    return [answer.status, answer.reason, answer.headers, answer.body];
  }

  /**
   * Asks the app whether to accept a peer; accepts every peer if the app has no `onConnect`.
   *
   * @param session The session that begins.
   * @param sock The socket of the connection.
   * @throws {TypeError} if the app returns anything but `true` or `false`.
   */
  async onConnect(session: Session, sock: Socket): Promise<boolean> {
    checkSession(session);
    checkFunctions("sock", sock, ["read", "write", "close"]);
    if (this.#app.onConnect === null) return true;
    const allowed: unknown = await this.#app.onConnect(session, sock);
    if (typeof allowed === "boolean") return allowed;
    throw wrongType("onConnect", "a function that returns true or false", allowed);
  }
}

// ───────────────────────── the arguments of an app

/** The buffer is never read: formatting is the check. */
const scratch = new Uint8Array(MAX_PREAMBLE_BYTES);

function checkRequest(request: Request): void {
  checkObject("request", request);
  const { method, uri, headers, body, mount, path, query } = request;
  checkMethod(method, "request.method");
  checkUri(uri, "request.uri");
  for (const [name, components] of [["mount", mount], ["path", path]] as const) {
    checkArray(`request.${name}`, components);
    components.forEach((component, i) => checkString(`request.${name}[${i}]`, component));
  }
  const parts = parseUri(uri);
  const components = [...mount, ...path];
  if (
    components.length !== parts.path.length ||
    components.some((component, i) => component !== parts.path[i])
  ) {
    throw new RangeError(`request.path: must be what mount leaves of the path of ${quote(uri)}`);
  }
  if (query !== null && typeof query !== "string") {
    throw wrongType("request.query", "a string or null", query);
  }
  if (query !== parts.query) {
    throw new RangeError(`request.query: must be the query of ${quote(uri)}`);
  }
  formatRequestPreamble(scratch, method, uri, headers, null, undefined, "request.headers");
  checkBody(body, headers);
  checkFunctions("request", request, ["shiftPath", "buildProxyUri"]);
}

function checkBody(body: BodyIn, headers: HeaderDict): void {
  const label = "request.body";
  const length = headers["content-length"];
  const chunked = length === undefined;
  if (chunked && headers["transfer-encoding"] === undefined) {
    if (body === null) return;
    throw new RangeError(
      `${label}: must be null, since no header announces a body; got ${typeName(body)}`,
    );
  }
  checkFunctions(label, body, ["read", "bytes", "text", "json", "writeTo"]);
  if (body.chunked !== chunked) {
    throw new RangeError(
      `${label}.chunked: must be ${chunked}, as the headers say; got ${body.chunked}`,
    );
  }
  if (!body.chunked && body.contentLength !== length) {
    throw new RangeError(
      `${label}.contentLength: must be ${length}, as the headers say; got ${body.contentLength}`,
    );
  }
  if (body.used === true) throw new BodyError(`${label}: was used before the app got it`);
}

function checkSession(session: Session): void {
  checkObject("session", session);
  const { address, maxRequests, requests, store, peerCertificate, message } = session;
  if (address !== null && !isAddress(address)) {
    const wanted = "null, [host, port] or [host, port, flowinfo, scopeid]";
    throw wrongType("session.address", wanted, address);
  }
  checkInteger("session.maxRequests", maxRequests, 1, Infinity);
  checkInteger("session.requests", requests, 0, maxRequests - 1);
  if (!(store instanceof Map)) throw wrongType("session.store", "a Map", store);
  if (typeof peerCertificate !== "object") {
    throw wrongType("session.peerCertificate", "an object or null", peerCertificate);
  }
  if (message !== null) {
    throw new RangeError("session.message: must be null while the session has not ended");
  }
}

function isAddress(address: unknown): boolean {
  if (!Array.isArray(address) || (address.length !== 2 && address.length !== 4)) return false;
  const [host, ...numbers] = address;
  return typeof host === "string" && numbers.every(Number.isInteger);
}

function checkFunctions<T extends object>(
  label: string,
  value: T | null,
  names: readonly (keyof T & string)[],
): asserts value is T {
  checkObject(label, value);
  for (const name of names) checkFunction(`${label}.${name}`, value[name]);
}

// ───────────────────────── the answer of an app

/** An answer that can be sent. */
export interface CheckedAnswer extends Answer {
  /** The framing of the body; `undefined` if the headers are sent as given. */
  readonly framing: Framing | undefined;
}

/** Checks the answer of an app. A body that can't be sent is canceled, as a server does. */
export function checkResponse(
  returned: unknown,
  method: Method,
  requestBody: BodyIn,
): CheckedAnswer {
  try {
    const answer = readAnswer(returned);
    const { status, reason, headers } = answer;
    const framing = answerFraming(method, requestBody, answer, "response.");
    formatResponsePreamble(scratch, status, reason, headers, framing, "response.");
    return { ...answer, framing };
  } catch (error) {
    cancelAnswer(returned, requestBody, error);
    throw error;
  }
}
