import { requestLineOf, Response } from "./message.ts";
import { Body } from "../body/body.ts";
import type { BodyOut } from "../body/sent_body.ts";
import {
  checkInteger,
  checkObject,
  checkString,
  copyOptions,
  wrongTypeError,
} from "../../internal/checks.ts";
import { DeguError } from "../errors.ts";
import { quote } from "../../internal/quote.ts";
import type { ReceivedHeaders } from "../wire/headers.ts";
import { checkMethod, isSafeMethod, type Method } from "../wire/method.ts";
import { isBusyStatus, isUnprocessedStatus } from "../../internal/statuses.ts";

const MAX_TEXT_BYTES = 1024;
const TEXT_TIMEOUT_MILLISECONDS = 1000;

/**
 * The status of a response is not the success that {@linkcode expectOk} or a transfer needs. For a
 * GET, HEAD, OPTIONS and a transfer, the statuses 408, 429, 502, 503 and 504 are
 * {@linkcode isTransient | transient}, so {@linkcode retry} tries again; for any other request,
 * only 429 and 503 are transient.
 */
export class StatusError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "StatusError";
  /** The status of the response; in an error of `expectOk`, a status outside of 200 to 299. */
  readonly status: number;
  /** The reason phrase, which may be `""`. */
  readonly reason: string;
  /** The method of the request; `null` for a response that a program made itself. */
  readonly method: Method | null;
  /** The path of the request, without its query, which may hold secrets; else `null`. */
  readonly uri: string | null;
  /**
   * The body, if it is a text of at most 1024 bytes that arrived within a second; otherwise, and
   * for a transfer, `""`.
   */
  readonly text: string;
  /** The seconds of `retry-after`, for which {@linkcode retry} waits; else `null`. */
  readonly retryAfter: number | null;

  readonly #headers: ReceivedHeaders;

  /**
   * Makes an error, for a function that requests something of a server, and needs a message of its
   * own. To answer with a status in an app, return `reply(404)`, or throw a `ResponseError`.
   *
   * @param fields The message, the status, and what is known of the request and the response.
   * @throws {TypeError} if a field is of a wrong type or unknown.
   * @throws {RangeError} if the status is not from 100 to 999, or the method not one of the five.
   *
   * @example
   * ```ts
   * import { Client, isTransient, reply, Server, StatusError } from "@degu/degu";
   * import { assertEquals } from "@std/assert";
   *
   * await using server = await Server.start(["127.0.0.1", 0], () => reply(503));
   * const { status, reason, headers } = await new Client(server.address).get("/door");
   * const message = `the door didn't open: the lock is busy (${status})`;
   * const error = new StatusError({ message, status, reason, headers, method: "GET" });
   * assertEquals([error.status, isTransient(error)], [503, true]);
   * ```
   */
  constructor(fields: StatusErrorFields) {
    const { message, status, reason = "", method = null, uri = null, headers, text = "", ...rest } =
      checkStatusErrorFields(fields);
    // A PUT, POST, PATCH or DELETE with a 408, 502 or 504 may already have been processed, for
    // example by the upstream of a proxy.
    const isTransient = method !== null && isSafeMethod(method)
      ? isBusyStatus(status)
      : isUnprocessedStatus(status);
    super(message, { ...rest, isTransient });
    this.status = status;
    this.reason = reason;
    this.method = method;
    // The query may hold secrets.
    this.uri = uri === null ? null : uri.split("?", 1)[0]!;
    this.text = text;
    this.#headers = headers ?? NO_HEADERS;
    const retryAfter = `${this.#headers["retry-after"]}`;
    this.retryAfter = /^[0-9]{1,9}$/.test(retryAfter) ? Number(retryAfter) : null;
  }

  /**
   * The headers of the response, which may hold secrets: neither `Deno.inspect` nor
   * `JSON.stringify` shows them. Empty if the error was made without headers.
   */
  get headers(): ReceivedHeaders {
    return this.#headers;
  }
}

/** The message of the error of a status, and the request and the response of the error. */
export interface StatusErrorFields extends ErrorOptions {
  /**
   * The problem, without the path at the start of the message and the advice at its end.
   *
   * @default {the message}
   */
  readonly problem?: string | undefined;
  /** The problem, and advice. */
  readonly message: string;
  /** The status of the response, 100 to 999. */
  readonly status: number;
  /**
   * The reason phrase.
   *
   * @default {""}
   */
  readonly reason?: string | undefined;
  /**
   * The method of the request, by which {@linkcode isTransient} decides about some statuses.
   *
   * @default {null}
   */
  readonly method?: Method | null | undefined;
  /**
   * The path of the request. The error doesn't keep a query, which may hold secrets.
   *
   * @default {null}
   */
  readonly uri?: string | null | undefined;
  /**
   * The headers of the response.
   *
   * @default {{}}
   */
  readonly headers?: ReceivedHeaders | undefined;
  /**
   * The text of the body.
   *
   * @default {""}
   */
  readonly text?: string | undefined;
}

const NO_HEADERS: ReceivedHeaders = Object.freeze({});

function checkStatusErrorFields(given: StatusErrorFields): StatusErrorFields {
  if (typeof given !== "object" || given === null) {
    throw wrongTypeError("fields", `an object; in an app, use ${APP_ADVICE}`, given);
  }
  const fields = copyOptions(given, FIELD_NAMES, "fields");
  const { message, status, method = null, uri = null, headers = NO_HEADERS } = fields;
  checkString("message", message);
  checkInteger("status", status, 100, 999);
  if (method !== null) checkMethod(method);
  if (uri !== null) checkString("uri", uri);
  checkObject("headers", headers);
  for (const name of ["reason", "text", "problem"] as const) {
    if (fields[name] !== undefined) checkString(name, fields[name]);
  }
  return fields;
}

const FIELD_NAMES: readonly (keyof StatusErrorFields)[] = [
  ...["message", "status", "reason", "method", "uri", "headers", "text", "problem"] as const,
  "cause",
];

const APP_ADVICE = "reply(404) or new ResponseError(reply(404))";

/**
 * Waits for a response, and checks that its status is a success, 200 to 299. The body of any other
 * response is read if it is short, or else {@linkcode Response.prototype.discard | discarded}, so
 * that the connection can be reused.
 *
 * @param response The response, or the promise of a request.
 * @returns The same response.
 * @throws {StatusError} if the status is not a success.
 * @throws {TypeError} if there is no response.
 * @throws the errors of the request.
 *
 * @example
 * ```ts
 * import { Client, expectOk, json, retry, routes, Server, StatusError } from "@degu/degu";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const app = routes({ "GET /temperature": () => json(21.5) });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 *
 * const response = await retry(() => expectOk(client.request("GET", "/temperature")));
 * assertEquals(await response.json(), 21.5);
 * const error = await assertRejects(() => expectOk(client.request("GET", "/wind")), StatusError);
 * assertEquals(error.status, 404);
 * ```
 */
export async function expectOk<R extends Response<BodyOut>>(response: R | Promise<R>): Promise<R> {
  const result = await response;
  if (!(result instanceof Response)) {
    throw wrongTypeError("response", "a Response of this library", result);
  }
  if (result.ok) return result;
  throw responseStatusError(result, await readShortText(result));
}

export function responseStatusError(response: Response<BodyOut>, text: string): StatusError {
  const { status, reason, headers } = response;
  const problem = `the server answered ${status} ${quote(reason)}` +
    (text === "" ? "" : `, ${quote(text)}`);
  const request = requestLineOf(response);
  const message = request === null ? problem : `${request.method} ${request.uri}: ${problem}`;
  return new StatusError({ message, problem, status, reason, headers, text, ...request });
}

async function readShortText(response: Response<BodyOut>): Promise<string> {
  const { body } = response;
  const timeoutTimer = setTimeout(() => response.discard(), TEXT_TIMEOUT_MILLISECONDS);
  try {
    // Reading a text that is too long would cancel the body, and close the connection.
    if (body instanceof Body && body.contentLength > MAX_TEXT_BYTES) return "";
    return await response.text({ maxBytes: MAX_TEXT_BYTES });
  } catch {
    return "";
  } finally {
    clearTimeout(timeoutTimer);
    await response.discard();
  }
}
