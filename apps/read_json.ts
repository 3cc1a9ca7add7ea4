/** JSON that anybody may have sent. */

import type { BodyIn } from "../base/body/bodies.ts";
import type { BodyReadOptions } from "../base/body/body_state.ts";
import { decodeText } from "../base/bytes.ts";

/**
 * Reads the body of a request as JSON; resolves to `undefined`, which is no JSON, if there is no
 * body, or it is not JSON in UTF-8. So a single check of the value finds all mistakes of a client.
 *
 * @param body The body of a request.
 * @param options The most bytes: `maxBytes`, by default 16777216. A longer body is answered with
 * `413 Content Too Large` if the app lets the error through.
 * @throws {TypeError} if an option has the wrong type or is unknown.
 * @throws {RangeError} if `maxBytes` is not allowed.
 * @throws {BodyError} if the body is too long.
 * @throws the other errors of reading the body.
 *
 * @example
 * ```ts
 * import { type App, json, readJson } from "@degu/degu";
 * import { callApp, mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = async ({ body }) => {
 *   const value = await readJson(body, { maxBytes: 1000 });
 *   return typeof value === "number" ? json(value + 1) : json({ error: "not a number" }, 400);
 * };
 * for (const [sent, status] of [["5", 200], ["[]", 400], ["five", 400]] as const) {
 *   assertEquals((await callApp(app, mkreq("POST", "/", {}, sent))).status, status);
 * }
 * ```
 */
export async function readJson(body: BodyIn, options?: BodyReadOptions): Promise<unknown> {
  if (body === null) return undefined;
  const bytes = await body.bytes(options);
  try {
    return JSON.parse(decodeText(bytes));
  } catch {
    return undefined;
  }
}
