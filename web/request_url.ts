/**
 * The URLs that a `fetch` is given.
 *
 * @module
 */

import { quote } from "../base/errors.ts";

/**
 * Parses a URL, absolute or relative to `base`.
 *
 * @throws {TypeError} where it is none, or has a user name or a password. Neither is in the message.
 */
export function parseRequestUrl(text: string, base: URL): URL {
  const url = URL.parse(text, base);
  if (url === null) throw new TypeError(`input: ${quoteUrl(text)} is no URL`);
  // Whatever shows the URL would show them, as the errors of a fetch do.
  if (url.username === "" && url.password === "") return url;
  throw new TypeError(
    "input: the URL has a user name or a password in it, which are not sent from there; take them " +
      "out, and set the header authorization, or the client's option of this name",
  );
}

/** Quotes what may be a URL, unless it may have a password in it. */
export function quoteUrl(text: string): string {
  return text.includes("@")
    ? "what was given (not shown, for it may hold a password)"
    : quote(text);
}
