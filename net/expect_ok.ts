/** Responses that have to be a success. */

import { askedFor, type Response } from "../base/app/message.ts";
import type { BodyOut } from "../base/body/bodies.ts";
import { Body } from "../base/body/body.ts";
import { wrongType } from "../internal/checks.ts";
import { DeguError } from "../base/errors.ts";
import { quote } from "../internal/quote.ts";
import type { HeaderDict } from "../base/wire/headers.ts";

const MAX_TEXT_BYTES = 1024;
const TEXT_MILLISECONDS = 1000;

/**
 * The status of a response is not the success that {@linkcode expectOk} or a transfer needs. 408,
 * 429, 502, 503 and 504 are {@linkcode isTransient | transient}, so {@linkcode retry} tries again.
 */
export class StatusError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "StatusError";
  /** The status of the response: of `expectOk` not 200 to 299. */
  readonly status: number;
  /**
   * The body, if it is a text of at most 1024 bytes that came within a second; else, and for a
   * transfer, `""`.
   */
  readonly text: string;
  /** The seconds of `retry-after`, for which {@linkcode retry} waits; else `null`. */
  readonly retryAfter: number | null;
  /**
   * Bytes that are left to send, if the server has too little space for them and none of them was
   * sent by this call; else `null`. Other files may still fit.
   */
  readonly needed: number | null;
  /** Bytes that the server has free, if a transfer was told so with the status 507; else `null`. */
  readonly free: number | null;

  /** @internal */
  constructor(
    message: string,
    { status, headers, text = "", needed = null, free = null }: {
      readonly status: number;
      readonly headers?: HeaderDict | undefined;
      readonly text?: string;
      readonly needed?: number | null;
      readonly free?: number | null;
    },
  ) {
    super(message);
    this.status = status;
    this.text = text;
    this.needed = needed;
    this.free = free;
    const seconds = `${headers?.["retry-after"]}`;
    this.retryAfter = /^[0-9]{1,9}$/.test(seconds) ? Number(seconds) : null;
  }
}

/**
 * Waits for a response whose status is a success, 200 to 299. Of any other one the body is read if
 * it is short, or else {@linkcode Response.prototype.discard | discarded}, so that the connection
 * can be used again.
 *
 * @param response The response, or the promise of a request.
 * @returns The same response.
 * @throws {StatusError} if the status is another one.
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
  const received = await response;
  if (typeof received?.discard !== "function") {
    throw wrongType("response", "a Response of this library", received);
  }
  if (received.ok) return received;
  const { status, reason, headers } = received;
  const asked = askedFor(received);
  const text = await readText(received);
  throw new StatusError(
    `${asked === null ? "" : `${asked}: `}the server answered ${status} ${quote(reason)}` +
      (text === "" ? "" : `, ${quote(text)}`),
    { status, headers, text },
  );
}

/** The text of a short body; any other one is given up. */
async function readText(response: Response<BodyOut>): Promise<string> {
  const { body } = response;
  const late = setTimeout(() => response.discard(), TEXT_MILLISECONDS);
  try {
    // A text that is too long would cancel the body, and with it the connection.
    if (body instanceof Body && body.contentLength > MAX_TEXT_BYTES) return "";
    return await response.text({ maxBytes: MAX_TEXT_BYTES });
  } catch {
    return "";
  } finally {
    clearTimeout(late);
    await response.discard();
  }
}
