import { requestLineOf, type Response } from "../base/app/message.ts";
import type { BodyOut } from "../base/body/bodies.ts";
import { Body } from "../base/body/body.ts";
import { notConstructibleError, wrongTypeError } from "../internal/checks.ts";
import { DeguError, type DeguErrorOptions } from "../base/errors.ts";
import { quote } from "../internal/quote.ts";
import type { ReceivedHeaders } from "../base/wire/headers.ts";
import type { Method } from "../base/wire/preamble.ts";
import { type Transience, TRANSIENT } from "../internal/error_details.ts";
import { isBusyStatus, isUnprocessedStatus } from "../internal/statuses.ts";

const MAX_TEXT_BYTES = 1024;
const TEXT_TIMEOUT_MILLISECONDS = 1000;

/**
 * The status of a response is not the success that {@linkcode expectOk} or a transfer needs. For a
 * GET, a HEAD and a transfer 408, 429, 502, 503 and 504 are {@linkcode isTransient | transient}, so
 * {@linkcode retry} tries again; for any other request, only 429 and 503 are transient.
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

  /** @internal */
  constructor(core: StatusErrorCore) {
    if (!(core instanceof StatusErrorCore)) {
      throw notConstructibleError("StatusError", CONSTRUCTOR_ADVICE);
    }
    const { fields } = core;
    super(fields.message, fields);
    this.status = fields.status;
    this.reason = fields.reason ?? "";
    this.method = fields.method ?? null;
    this.uri = fields.uri ?? null;
    this.text = fields.text ?? "";
    this.#headers = fields.headers ?? NO_HEADERS;
    const retryAfter = `${this.#headers["retry-after"]}`;
    this.retryAfter = /^[0-9]{1,9}$/.test(retryAfter) ? Number(retryAfter) : null;
  }

  /**
   * The headers of the response, which may hold secrets: neither `Deno.inspect` nor
   * `JSON.stringify` shows them. Empty for the status of a file in a bundle of files.
   */
  get headers(): ReceivedHeaders {
    return this.#headers;
  }

  /** @internal */
  override get [TRANSIENT](): Transience {
    // A PUT, POST or DELETE with a 408, 502 or 504 may already have been processed, for example by
    // the upstream of a proxy.
    return this.method === "GET" || this.method === "HEAD"
      ? isBusyStatus(this.status)
      : isUnprocessedStatus(this.status);
  }
}

/** The argument of a {@linkcode StatusError}, which programs can't make. */
class StatusErrorCore {
  readonly fields: StatusErrorFields;

  constructor(fields: StatusErrorFields) {
    this.fields = fields;
  }
}

interface StatusErrorFields extends DeguErrorOptions {
  readonly message: string;
  readonly status: number;
  readonly reason?: string | undefined;
  readonly method?: Method | null;
  readonly uri?: string | null;
  readonly headers?: ReceivedHeaders | undefined;
  readonly text?: string;
}

const NO_HEADERS: ReceivedHeaders = Object.freeze({});

const CONSTRUCTOR_ADVICE =
  "reply(404) or new ResponseError(reply(404)) in an app, and else a class that extends DeguError";

export function makeStatusError(fields: StatusErrorFields): StatusError {
  return new StatusError(new StatusErrorCore(fields));
}

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
  if (typeof result?.discard !== "function") {
    throw wrongTypeError("response", "a Response of this library", result);
  }
  if (result.ok) return result;
  throw makeResponseStatusError(result, await readShortText(result));
}

export function makeResponseStatusError(response: Response<BodyOut>, text: string): StatusError {
  const { status, reason, headers } = response;
  const request = requestLineOf(response);
  const problem = `the server answered ${status} ${quote(reason)}` +
    (text === "" ? "" : `, ${quote(text)}`);
  const message = request === null ? problem : `${request.method} ${request.uri}: ${problem}`;
  return makeStatusError({ message, problem, status, reason, ...request, headers, text });
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
