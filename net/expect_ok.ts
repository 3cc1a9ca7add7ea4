/** Responses that have to be a success. */

import type { Response } from "../base/app/message.ts";
import type { BodyOut } from "../base/body/bodies.ts";
import { wrongType } from "../base/checks.ts";
import { DeguError } from "../base/errors.ts";
import { quote } from "../base/quote.ts";

/**
 * The status of a response is not a success: {@linkcode expectOk}. 408, 429, 502, 503 and 504 are
 * {@linkcode isTransient | transient}, so {@linkcode retry} tries again.
 */
export class StatusError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "StatusError";
  /** The status of the response, not 200 to 299. */
  readonly status: number;

  /** @internal */
  constructor(status: number, reason: string) {
    super(`the server answered ${status} ${quote(reason)}`);
    this.status = status;
  }
}

/**
 * Waits for a response whose status is a success, 200 to 299. The body of any other response is
 * {@linkcode Response.prototype.discard | discarded}, so that the connection can be used again.
 *
 * @param response The response, or the promise of a request.
 * @returns The same response.
 * @throws {StatusError} if the status is another one.
 * @throws {TypeError} if there is no response.
 * @throws the errors of the request.
 *
 * @example
 * ```ts
 * import { Client, expectOk, json, retry, Router, Server, StatusError } from "@degu/degu";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const app = new Router({ temperature: () => json(21.5) });
 * await using server = await Server.start(["127.0.0.1", 0], app);
 * const client = new Client(server.address);
 *
 * const response = await retry(() => expectOk(client.request("GET", "/temperature")));
 * assertEquals(await response.json(), 21.5);
 * const error = await assertRejects(() => expectOk(client.request("GET", "/wind")), StatusError);
 * assertEquals(error.status, 410);
 * ```
 */
export async function expectOk<R extends Response<BodyOut>>(response: R | Promise<R>): Promise<R> {
  const received = await response;
  if (typeof received?.discard !== "function") {
    throw wrongType("response", "a Response of this library", received);
  }
  if (received.ok) return received;
  await received.discard();
  throw new StatusError(received.status, received.reason);
}
