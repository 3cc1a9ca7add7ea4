/**
 * Conditional requests (RFC 9110 §13): compares the client's version of a file with the current
 * file.
 *
 * A file that was just written has no entity tag yet, and a list has no tags. So a request that
 * writes or deletes can also have the stamp of the file that it may replace: the size of the file,
 * its time in milliseconds and, unless the stamp was made from a list, its version. Two files can
 * have the same size and time, for example copies of one source, but not the same version.
 */

import type { HeadersToSend } from "../../base.ts";
import { parseDecimal } from "../../internal/decimal.ts";
import { type FileStats, fileVersionOf, SETTLED_MILLISECONDS } from "../disk/file_pieces.ts";

export interface Validators {
  /**
   * A strong entity tag with its quotes; `null` as long as another version could get the same tag.
   */
  readonly etag: string | null;
  /**
   * The value of `last-modified`, in whole seconds since 1970; `null` as long as another version
   * could get the same value.
   */
  readonly lastModified: number | null;
  /** The modification time in whole seconds since 1970, even if `lastModified` is `null`. */
  readonly modified: number;
}

/** @param checkedAt The time at which `stats` was read, in milliseconds since 1970. */
export function makeValidators(stats: FileStats, checkedAt: number): Validators {
  const mtime = Number(stats.mtime);
  const ctime = Number(stats.ctime);
  const modified = Math.floor(mtime / 1000);
  const settledTime = checkedAt - SETTLED_MILLISECONDS;
  // A modification time in the future is replaced by the present (RFC 9110 §8.8.2.1).
  const currentSeconds = Math.floor(checkedAt / 1000);
  return {
    etag: Math.max(mtime, ctime) <= settledTime ? `"${fileVersionOf(stats)}"` : null,
    lastModified: mtime <= settledTime && isSendableTime(mtime)
      ? modified
      : modified > currentSeconds
      ? currentSeconds
      : null,
    modified,
  };
}

/** Formats a time in whole seconds since 1970 as an HTTP-date (RFC 9110 §5.6.7). */
export function formatDate(seconds: number): string {
  return new Date(seconds * 1000).toUTCString();
}

/** The two obsolete forms of an HTTP-date, which a recipient must accept (RFC 9110 §5.6.7). */
const RFC_850_DATE = /^([A-Z][a-z]+)day, (\d\d)-([A-Z][a-z]{2})-(\d\d) (\d\d:\d\d:\d\d) GMT$/;
const ASCTIME_DATE = /^([A-Z][a-z]{2}) ([A-Z][a-z]{2}) ([ \d]\d) (\d\d:\d\d:\d\d) (\d{4})$/;
const DAY_NAMES = ["Sun", "Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur"];

export function parseDate(value: string): number | null {
  const fixdateText = toFixdateText(value);
  const seconds = Date.parse(fixdateText) / 1000;
  // `Date.parse` accepts many forms; only the form of `formatDate` is valid.
  const isValid = isSendableTime(seconds * 1000) && formatDate(seconds) === fixdateText;
  return isValid ? seconds : null;
}

function toFixdateText(value: string): string {
  const [, longDay = "", day, month, shortYear, time] = RFC_850_DATE.exec(value) ?? [];
  if (DAY_NAMES.includes(longDay)) {
    return `${longDay.slice(0, 3)}, ${day} ${month} ${expandYear(Number(shortYear))} ${time} GMT`;
  }
  const asctime = ASCTIME_DATE.exec(value);
  if (asctime === null) return value;
  const [, dayName, asctimeMonth, asctimeDay, asctimeTime, year] = asctime;
  return `${dayName}, ${asctimeDay!.replace(" ", "0")} ${asctimeMonth} ${year} ${asctimeTime} GMT`;
}

/** Returns the latest year with the two last digits that is at most 50 years in the future. */
function expandYear(lastDigits: number): number {
  const currentYear = new Date().getUTCFullYear();
  const year = currentYear - currentYear % 100 + lastDigits;
  return year > currentYear + 50 ? year - 100 : year;
}

/** The first and the last time with a year of four digits, as an HTTP-date requires. */
const MIN_TIME = Date.parse("0000-01-01T00:00:00.000Z");
const MAX_TIME = Date.parse("9999-12-31T23:59:59.999Z");

export function isSendableTime(time: number): boolean {
  return time >= MIN_TIME && time <= MAX_TIME;
}

/** Returns the time that is sent: 1970 for an unknown time, and for a time that can't be sent. */
export function sentTimeOf(time: Date | null): Date {
  return time !== null && isSendableTime(time.getTime()) ? time : new Date(0);
}

/** A valid time, but not after the 28th of a month. */
const COMMON_TIME_PATTERN =
  /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$/;

export function parseTime(text: unknown): Date | null {
  if (typeof text !== "string") return null;
  const date = new Date(text);
  // `toISOString` takes as long as parsing the rest of an entry of a list.
  if (COMMON_TIME_PATTERN.test(text)) return date;
  return isSendableTime(date.getTime()) && date.toISOString() === text ? date : null;
}

/**
 * Checks the preconditions of a request in the order of RFC 9110 §13.2.2. A file without a tag
 * matches no tag of a client.
 */
export function checkConditions(
  headers: HeadersToSend,
  validators: Validators | null,
  isWriting = false,
): 304 | 412 | null {
  const ifMatch = findTextHeader(headers, "if-match");
  if (ifMatch !== null) {
    const isMatch = validators !== null &&
      (ifMatch === "*" || hasTag(ifMatch, validators.etag, false));
    if (!isMatch) return 412;
  } else {
    const since = parseDateHeader(headers, "if-unmodified-since");
    // `modified` is NaN for a time that can't be represented: the file counts as changed.
    if (since !== null && validators !== null && !(validators.modified <= since)) return 412;
  }
  if (validators === null) return null;
  const { etag, lastModified, modified } = validators;
  const ifNoneMatch = findTextHeader(headers, "if-none-match");
  if (ifNoneMatch !== null) {
    return matchesAny(ifNoneMatch) || hasTag(ifNoneMatch, etag, true) ? 304 : null;
  }
  const since = isWriting ? null : parseDateHeader(headers, "if-modified-since");
  return since !== null && lastModified !== null && modified <= since ? 304 : null;
}

export function isNewFileRequired(headers: HeadersToSend): boolean {
  return matchesAny(findTextHeader(headers, "if-none-match") ?? "");
}

/**
 * Reports whether an element of `if-none-match` is `*`. In a list, `*` isn't valid (RFC 9110
 * §13.1.2), but ignoring it could replace a file that the client hasn't seen.
 */
function matchesAny(list: string): boolean {
  return splitList(list).includes("*");
}

/** Splits a list at its commas outside of quotes, and trims its elements (RFC 9110 §5.6.1). */
export function splitList(list: string): string[] {
  const elements = list.match(/(?:"[^"]*"|[^,])+/g) ?? [];
  return elements.map((element) => element.replace(/^[ \t]+/, "").replace(/(?<![ \t])[ \t]+$/, ""));
}

/**
 * Reports whether a `range` applies: an `if-range` must have the tag of the current version (RFC
 * 9110 §13.1.5). A date is not accepted, because a file can change twice within a second.
 */
export function isRangeApplicable(headers: HeadersToSend, { etag }: Validators): boolean {
  const ifRange = findTextHeader(headers, "if-range");
  return ifRange === null || ifRange === etag;
}

function findTextHeader(headers: HeadersToSend, name: string): string | null {
  const value = headers[name];
  return typeof value === "string" ? value : null;
}

function parseDateHeader(headers: HeadersToSend, name: string): number | null {
  const value = findTextHeader(headers, name);
  return value === null ? null : parseDate(value);
}

function hasTag(list: string, etag: string | null, allowsWeak: boolean): boolean {
  if (etag === null) return false;
  return splitList(list).some((tag) => tag === etag || (allowsWeak && tag === `W/${etag}`));
}

/**
 * Returns a time as a coarser disk may store it: in whole seconds, or in even seconds, as FAT does.
 */
export function computeCoarserTimes(time: number): number[] {
  return [1000, 2000].map((unit) => Math.floor(time / unit) * unit);
}

/** Reports whether two times are equal, or differ only because a disk stores coarser times. */
export function isSameTime(firstTime: number, secondTime: number): boolean {
  if (firstTime === secondTime) return true;
  const [earlierTime, laterTime] = firstTime < secondTime
    ? [firstTime, secondTime]
    : [secondTime, firstTime];
  return laterTime - earlierTime < 1 || computeCoarserTimes(laterTime).includes(earlierTime);
}

export const MISSING_FILE_STAMP = "none";

/** @param modified The modification time in milliseconds since 1970. */
export function formatStamp(size: number, modified: number): string {
  return `${size},${new Date(modified).toISOString()}`;
}

export function stampOfStats({ size, mtime }: Pick<FileStats, "size" | "mtime">): string {
  return formatStamp(size, sentTimeOf(mtime).getTime());
}

export function versionedStampOf(stats: FileStats): string {
  return `${stampOfStats(stats)},${fileVersionOf(stats)}`;
}

export function isStampOf(stamp: string, stats: FileStats | null): boolean {
  if (stats === null) return stamp === MISSING_FILE_STAMP;
  return stamp === versionedStampOf(stats) || stamp === stampOfStats(stats);
}

export function isStamp(text: string): boolean {
  // The size may be larger than any that can be sent.
  return text === MISSING_FILE_STAMP || parseTime(STAMP_PATTERN.exec(text)?.[2]) !== null;
}

const STAMP_PATTERN = /^(0|[1-9]\d*),([^,]+)(?:,[0-9a-f-]+)?$/;

export function parseStamp(
  text: unknown,
): { readonly size: number; readonly modified: number } | null {
  const [, digits = "", time] = STAMP_PATTERN.exec(String(text)) ?? [];
  const size = parseDecimal(digits);
  const modified = parseTime(time);
  return size < 0 || modified === null ? null : { size, modified: modified.getTime() };
}

export function makeConditionHeader(stamp: string): HeadersToSend {
  return stamp === MISSING_FILE_STAMP ? { "if-none-match": "*" } : { "if-file-stamp": stamp };
}
