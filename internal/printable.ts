import { decodeAscii } from "./bytes.ts";
import { checkString } from "./checks.ts";
import { quote, quoteHost } from "./quote.ts";

/**
 * Makes text safe to print on one line of a terminal or of a log: names of files and devices that a
 * peer has chosen, and messages that contain such names. Control characters (ends of lines, escape
 * sequences), characters that are invisible or change the order of others, and halves of surrogate
 * pairs become visible. Other characters don't change.
 *
 * @param text The text.
 * @returns The text, with each such character as its code point in hexadecimal digits: `\u{1b}`.
 * The result is for people: a text that contained the characters `\u{1b}` before looks the same.
 * @throws {TypeError} if the text is not a string.
 *
 * @example A name that would clear the screen
 * ```ts
 * import { printable } from "@degu/degu/base";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(printable("Zoë's photos/1.jpg"), "Zoë's photos/1.jpg");
 * assertEquals(printable("1.jpg\n\x1b[2J\u202egpj"), "1.jpg\\u{a}\\u{1b}[2J\\u{202e}gpj");
 * ```
 */
export function printable(text: string): string {
  checkString("text", text);
  // A literal here is parsed at the first call, and not at each start of a program.
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** The maximum length of a text in a log: an error message may quote a whole body. */
const MAX_LOGGED_LENGTH = 16384;
const STACK_INDENT = "    ";

/**
 * Further lines, such as those of a stack, are indented, so that they don't look like the first
 * line of another text.
 */
export function makeLinesPrintable(text: string): string {
  if (text.length > MAX_LOGGED_LENGTH) {
    text = `${text.slice(0, MAX_LOGGED_LENGTH)}… (${text.length} in all)`;
  }
  if (!text.includes("\n")) return printable(text);
  const [firstLine = "", ...moreLines] = text.split("\n").map(printable);
  const indented = moreLines.map((line) =>
    line.startsWith(STACK_INDENT) ? line : STACK_INDENT + line
  );
  return [firstLine, ...indented].join("\n");
}

export const INSPECT: unique symbol = Symbol.for("Deno.customInspect");

export type Inspect = (value: unknown, options?: unknown) => string;

export function inspectFields(
  name: string,
  fields: Record<string, unknown>,
  inspect: Inspect,
  options: unknown,
): string {
  const parts = Object.entries(fields).map(([key, value]) => {
    // A copy with a prototype avoids "[Object: null prototype]" in every line.
    const shownValue = key === "headers" ? hideSecrets(value as object) : value;
    return `${key}=${inspect(shownValue, options)}`;
  });
  return `${name}(${parts.join(", ")})`;
}

const SECRET_HEADERS: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
  "set-cookie",
]);

function isSecret(name: string): boolean {
  return SECRET_HEADERS.has(name.toLowerCase());
}

export function hideSecrets<T extends object>(values: T): Record<string, unknown> {
  const entries: [string, unknown][] = Object.entries(values);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, isSecret(name) ? "[hidden]" : value]),
  );
}

export function hideSecretsIn<T extends object>(values: T): T {
  Object.defineProperty(values, "toJSON", { value: () => hideSecrets(values) });
  return Object.defineProperty(values, INSPECT, {
    value: (inspect: Inspect, options: unknown) => inspect(hideSecrets(values), options),
  });
}

export function quoteValue(name: string, value: string | Uint8Array): string {
  if (isSecret(name)) return "a value that is not shown";
  return name.toLowerCase() === "host" && typeof value === "string"
    ? quoteHost(value)
    : quote(value);
}

export function quoteLine(line: Uint8Array): string {
  // The continuation of a folded line may continue a secret.
  if (line[0] === 0x20 || line[0] === 0x09) return "a line that begins with a space or a tab";
  const name = line.subarray(0, Math.max(0, line.indexOf(0x3a)));
  return quote(isSecret(decodeAscii(name).trim()) ? name : line);
}
