/** The permission bits of files, which travel with them. */

import type { HeaderDict } from "../base.ts";

const FORM = /^0[0-7]{3}$/;

/**
 * Permission bits as four octal digits: `0755`. Set-user-ID, set-group-ID and sticky don't travel.
 */
export function formatMode(mode: number): string {
  return `0${(mode & 0o777).toString(8).padStart(3, "0")}`;
}

/** Reads permission bits; `null` if the value has another form. */
export function parseMode(value: unknown): number | null {
  return typeof value === "string" && FORM.test(value) ? Number.parseInt(value, 8) : null;
}

/** The permission bits of a mode of the system; `null` on Windows, where files have none. */
export function bitsOf(mode: number | bigint | null): number | null {
  return mode === null || Deno.build.os === "windows" ? null : Number(mode) & 0o777;
}

export function modeHeader(mode: number | null): HeaderDict {
  return mode === null ? {} : { "file-mode": formatMode(mode) };
}

/** Asks for the permission bits in a list or a bundle. */
export const WANT_MODE: HeaderDict = { "want-file-mode": "?1" };

export function wantsMode(headers: HeaderDict): boolean {
  return headers["want-file-mode"] === "?1";
}

/**
 * Asks for the bits that a new file gets at the server of all that it asks for: an app that takes
 * bits says these by the header `file-mode-mask`. It finds them out by a temporary file, so only a
 * call that is about to write asks.
 */
export const WANT_MASK: HeaderDict = { "want-file-mode-mask": "?1" };

export function wantsMask(headers: HeaderDict): boolean {
  return headers["want-file-mode-mask"] === "?1";
}

/**
 * The permission bits of a copy: never more than the source has, nor than a new file gets, but for
 * the owner, who can always read and write it.
 *
 * @param granted What a new file gets there of all permission bits.
 */
export function modeOfCopy(source: number, granted: number): number {
  return source & granted | 0o600;
}

/**
 * The permission bits that a written file gets with its name, `null` if it keeps its first ones;
 * and whether it gets them also where it replaces a file, which else leaves it its own.
 *
 * @param source The bits of the source; `null` if they are not known, or not wanted.
 * @param granted What a new file gets there of all permission bits; `null` if files have none.
 */
export function modeOfWritten(
  source: number | null,
  granted: number | null,
): { readonly newMode: number | null; readonly hasOwnMode: boolean } {
  if (source === null || granted === null) {
    return { newMode: usualMode(granted), hasOwnMode: false };
  }
  return { newMode: modeOfCopy(source, granted), hasOwnMode: true };
}

/** What a new file gets whose source has no known permission bits. */
export function usualMode(granted: number | null): number | null {
  return granted === null ? null : granted & 0o666;
}
