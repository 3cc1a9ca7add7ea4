import { notAllowedError } from "../internal/checks.ts";
import { quote } from "../internal/quote.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { parseDecimal } from "../internal/decimal.ts";
import {
  type ContentRange,
  parseContentRange,
  parseRange,
  type Range,
} from "../base/wire/range.ts";

/** Statuses whose responses have no body in the Fetch standard. */
export const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/** Characters and names that can't be sent are refused later, when the message is formatted. */
export function toHeaderDict(headers: Headers): HeaderDict {
  // Only `set-cookie` can occur more than once: `Headers` joins the duplicates of other headers.
  const cookieCount = headers.getSetCookie().length;
  if (cookieCount > 1) {
    throw notAllowedError(
      'headers["set-cookie"]',
      `${cookieCount} set-cookie headers, but a header can occur only once`,
    );
  }
  const dict: HeaderDict = Object.create(null);
  for (const [name, value] of headers) dict[name] = parseHeaderValue(name, value);
  return dict;
}

function parseHeaderValue(name: string, value: string): string | number | Range | ContentRange {
  try {
    if (name === "range") return parseRange(value);
    if (name === "content-range") return parseContentRange(value);
  } catch {
    const validForm = name === "range" ? "bytes=0-499 or bytes=500-" : "bytes 0-499/1234";
    throw notAllowedError(
      `headers["${name}"]`,
      `must have the form ${validForm}; got ${quote(value)}`,
    );
  }
  if (name !== "content-length") return value;
  const length = parseDecimal(value);
  if (length < 0) {
    throw notAllowedError(
      'headers["content-length"]',
      `must be a plain number; got ${quote(value)}`,
    );
  }
  return length;
}

export function toFetchHeaders(dict: HeaderDict): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(dict)) {
    if (value !== undefined) headers.append(name, String(value));
  }
  return headers;
}

export function quoteUrl(text: string): string {
  return text.includes("@")
    ? "text that is not shown, because it may hold a password"
    : quote(text);
}
