/** Prints objects, and quotes values in error messages, without secrets. */

import { decodeAscii } from "./bytes.ts";
import { quote } from "./errors.ts";

/** The name of the method that `console.log` and `Deno.inspect` call; `util.inspect` in Deno calls it too. */
export const INSPECT: unique symbol = Symbol.for("Deno.customInspect");

/** How that method prints what it shows. */
export type Inspect = (value: unknown, options?: unknown) => string;

/** Prints an object as `Name(key=value, …)`. */
export function inspectFields(
  name: string,
  fields: Record<string, unknown>,
  inspect: Inspect,
  options: unknown,
): string {
  const parts = Object.entries(fields).map(([key, value]) => {
    // A copy with a prototype, so "[Object: null prototype]" isn't printed each time.
    const shown = key === "headers" ? hideSecrets(value as object) : value;
    return `${key}=${inspect(shown, options)}`;
  });
  return `${name}(${parts.join(", ")})`;
}

const SECRET: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
  "set-cookie",
]);

function isSecret(name: string): boolean {
  return SECRET.has(name.toLowerCase());
}

/** Copies headers or options and replaces credentials. */
export function hideSecrets<T extends object>(values: T): Record<string, unknown> {
  const entries: [string, unknown][] = Object.entries(values);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, isSecret(name) ? "[hidden]" : value]),
  );
}

/** Hides the secrets of headers or options when they are printed; nothing else changes. */
export function hideSecretsOf<T extends object>(values: T): T {
  return Object.defineProperty(values, INSPECT, {
    value: (inspect: Inspect, options: unknown) => inspect(hideSecrets(values), options),
  });
}

/** Quotes the value of a header for an error message, unless it may be a secret. */
export function quoteValue(name: string, value: string | Uint8Array): string {
  return isSecret(name) ? "a value that is not shown" : quote(value);
}

/** Quotes a header line, or the start of one, without a value that may be a secret. */
export function quoteLine(line: Uint8Array): string {
  // The continuation of a folded line may continue a secret.
  if (line[0] === 0x20 || line[0] === 0x09) return "a line that begins with a space or a tab";
  const name = line.subarray(0, Math.max(0, line.indexOf(0x3a)));
  return quote(isSecret(decodeAscii(name).trim()) ? name : line);
}
