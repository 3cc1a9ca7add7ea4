/**
 * Conditional requests (RFC 9110 §13): what a client has, against what there is.
 *
 * @module
 */

import type { HeaderDict } from "../base/wire/headers.ts";
import { type FileState, SETTLED_MILLISECONDS, versionOf } from "./file_state.ts";

/** What a version of a file is known by. */
export interface Validators {
  /** A strong entity tag, in its quotes; `null` while another version could still get the same. */
  readonly etag: string | null;
  /** When the file was last changed, as `last-modified` says; `null` while that could still become wrong. */
  readonly lastModified: number | null;
  /** When the file was last changed, sent or not. In whole seconds since 1970, like the other. */
  readonly modified: number;
}

/**
 * The validators of a file.
 *
 * @param lookedAt When it had this state, in milliseconds since 1970.
 */
export function makeValidators(state: FileState, lookedAt: number): Validators {
  const mtime = Number(state.mtimeNs / 1_000_000n);
  const ctime = Number(state.ctimeNs / 1_000_000n);
  const modified = Math.floor(mtime / 1000);
  const settled = lookedAt - SETTLED_MILLISECONDS;
  return {
    etag: Math.max(mtime, ctime) <= settled ? `"${versionOf(state)}"` : null,
    lastModified: mtime <= settled ? modified : pastOf(modified, lookedAt),
    modified,
  };
}

/** The present for what lies in a future second, as RFC 9110 §8.8.2.1 has it; else `null`. */
function pastOf(modified: number, lookedAt: number): number | null {
  const present = Math.floor(lookedAt / 1000);
  return modified > present ? present : null;
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
 * A file without a tag matches none that a client can name, and one of which is not told when it
 * was changed counts as changed.
 *
 * @returns 412 or 304 where the request is not to be carried out, else `null`.
 */
export function checkConditions(headers: HeaderDict, validators: Validators): 304 | 412 | null {
  const { etag, lastModified, modified } = validators;
  const ifMatch = text(headers, "if-match");
  if (ifMatch !== null) {
    if (!listHas(ifMatch, etag, false)) return 412;
  } else {
    const since = date(headers, "if-unmodified-since");
    if (since !== null && modified > since) return 412;
  }
  const ifNoneMatch = text(headers, "if-none-match");
  if (ifNoneMatch !== null) return listHas(ifNoneMatch, etag, true) ? 304 : null;
  const since = date(headers, "if-modified-since");
  return since !== null && lastModified !== null && modified <= since ? 304 : null;
}

/**
 * Checks the preconditions of a PUT or DELETE, in the same order.
 *
 * @param validators What there is; `null` if there is nothing.
 * @returns Whether the request is to be carried out.
 */
export function allowsWriting(headers: HeaderDict, validators: Validators | null): boolean {
  const ifMatch = text(headers, "if-match");
  if (ifMatch !== null) {
    if (validators === null || !listHas(ifMatch, validators.etag, false)) return false;
  } else {
    const since = date(headers, "if-unmodified-since");
    if (since !== null && validators !== null && validators.modified > since) return false;
  }
  const ifNoneMatch = text(headers, "if-none-match");
  return ifNoneMatch === null || validators === null ||
    !listHas(ifNoneMatch, validators.etag, true);
}

/** Whether a request is for what does not exist yet, and nothing else. */
export function wantsNew(headers: HeaderDict): boolean {
  return text(headers, "if-none-match")?.trim() === "*";
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
function listHas(list: string, etag: string | null, weak: boolean): boolean {
  if (list.trim() === "*") return true;
  if (etag === null) return false;
  // No tag of ours has a comma, so a tag that is cut at one is not taken for ours.
  return list.split(",").some((item) => {
    const tag = item.trim();
    return tag === etag || (weak && tag === `W/${etag}`);
  });
}
