/**
 * The URLs that a `fetch` is given.
 *
 * @module
 */

import { quote } from "../base/errors.ts";

/**
 * Parses a URL, absolute or relative to `base`.
 *
 * @throws {TypeError} if it is not a URL, or has a user name or a password. Neither is in the message.
 */
export function parseRequestUrl(text: string, base: URL): URL {
  const url = URL.parse(text, base);
  if (url === null) throw new TypeError(`input: must be a URL; got ${quoteUrl(text)}`);
  // Errors of a fetch show the URL, and would show them.
  if (url.username === "" && url.password === "") return url;
  throw new TypeError(
    "input: must be a URL without a user name and a password; remove them, and set the authorization " +
      "header or the client's option authorization",
  );
}

/** Quotes what may be a URL, unless it may have a password in it. */
export function quoteUrl(text: string): string {
  return text.includes("@")
    ? "text that is not shown, because it may hold a password"
    : quote(text);
}
