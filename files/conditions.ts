/**
 * Conditional requests (RFC 9110 §13): what a client has, against what there is.
 *
 * @module
 */

import type { HeaderDict } from "../base/headers.ts";

/** What a version of a file is known by. */
export interface Validators {
  /** A strong entity tag, in its quotes. */
  readonly etag: string;
  /** When it was last changed, in whole seconds since 1970. */
  readonly lastModified: number;
}

/** The validators of a file with a size in bytes that was changed at a time in nanoseconds. */
export function makeValidators(size: number, modified: bigint): Validators {
  const second = Number(modified / 1_000_000_000n);
  return {
    etag: `"${size.toString(16)}-${modified.toString(16)}"`,
    // Not in the future, whatever the file system says (RFC 9110 §8.8.2.1).
    lastModified: Math.min(second, Math.floor(Date.now() / 1000)),
  };
}

/** A time in whole seconds since 1970 as an HTTP-date (RFC 9110 §5.6.7). */
export function formatDate(seconds: number): string {
  return new Date(seconds * 1000).toUTCString();
}

/** The time of an HTTP-date in whole seconds; `null` for any other text, which has no meaning. */
function parseDate(value: string): number | null {
  const seconds = Date.parse(value) / 1000;
  // `Date.parse` knows many forms: only the one that we write counts.
  return Number.isInteger(seconds) && formatDate(seconds) === value ? seconds : null;
}

/**
 * Checks the preconditions of a GET or HEAD in the order of RFC 9110 §13.2.2.
 *
 * @returns 412 or 304 where the request is not to be carried out, else `null`.
 */
export function checkConditions(headers: HeaderDict, validators: Validators): 304 | 412 | null {
  const { etag, lastModified } = validators;
  const ifMatch = text(headers, "if-match");
  if (ifMatch !== null) {
    if (!listHas(ifMatch, etag, false)) return 412;
  } else {
    const since = date(headers, "if-unmodified-since");
    if (since !== null && lastModified > since) return 412;
  }
  const ifNoneMatch = text(headers, "if-none-match");
  if (ifNoneMatch !== null) return listHas(ifNoneMatch, etag, true) ? 304 : null;
  const since = date(headers, "if-modified-since");
  return since !== null && lastModified <= since ? 304 : null;
}

/**
 * Whether a `range` counts: an `if-range` has to name this version (RFC 9110 §13.1.5). By its tag:
 * a date is good to the second only, in which a file can change twice.
 */
export function isRangeWanted(headers: HeaderDict, { etag }: Validators): boolean {
  const ifRange = text(headers, "if-range");
  return ifRange === null || ifRange === etag;
}

function text(headers: HeaderDict, name: string): string | null {
  const value = headers[name];
  return typeof value === "string" ? value : null;
}

function date(headers: HeaderDict, name: string): number | null {
  const value = text(headers, name);
  return value === null ? null : parseDate(value);
}

/** Whether a list of entity tags, or `*`, has one; weak ones count where `weak` is true. */
function listHas(list: string, etag: string, weak: boolean): boolean {
  if (list.trim() === "*") return true;
  // No tag of ours has a comma, so a tag that is cut at one is not taken for ours.
  return list.split(",").some((item) => {
    const tag = item.trim();
    return tag === etag || (weak && tag === `W/${etag}`);
  });
}
