import { argumentErrorDetails } from "../internal/error_details.ts";

/**
 * Describes the error for an argument or option with a wrong type or a value that isn't allowed.
 * The error may come from another copy of this package, because the function reads its hidden
 * property `Symbol.for("degu.argument")`.
 *
 * @param error A thrown value.
 * @returns The name of the argument, or its path in a larger value, such as
 * `headers["content-type"]`; and the requirement that the value breaks. `null` for any other value.
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
export function describeArgumentError(
  error: unknown,
): { readonly argument: string; readonly problem: string } | null {
  const { argument, problem } = argumentErrorDetails.copyOf(error);
  return typeof argument === "string" && typeof problem === "string" ? { argument, problem } : null;
}
