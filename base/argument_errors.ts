/** What errors say of an argument or an option. */

import { type ArgumentErrorDescription, argumentErrorDetails } from "../internal/error_details.ts";

/**
 * Describes the error of an argument or option that is not allowed or has a wrong type: its name,
 * and the problem. It reads a property that isn't enumerable, `Symbol.for("degu.argument")`, so the
 * error may come from another copy of this package.
 *
 * @param error A thrown value.
 * @returns `null` for any other value.
 *
 * @example
 * ```ts
 * import { Client, describeArgumentError } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * try {
 *   new Client(["127.0.0.1", 80], { timeout: -1 });
 * } catch (error) {
 *   const { argument, problem } = describeArgumentError(error)!;
 *   assertEquals(argument, "timeout");
 *   assertEquals(`${argument}: ${problem}`, (error as Error).message);
 * }
 * ```
 */
export function describeArgumentError(error: unknown): ArgumentErrorDescription | null {
  return argumentErrorDetails.of(error) ?? null;
}
