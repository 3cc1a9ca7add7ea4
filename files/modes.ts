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

/** The permission bits of a mode of the system; `null` on Windows. */
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
 * Returns the permission bits of a copy: those that both the source and a new file have; the owner
 * can always read and write it.
 *
 * @param modeMask The bits of a new file that asks for all.
 */
export function modeOfCopy(source: number, modeMask: number): number {
  return source & modeMask | 0o600;
}

/**
 * Returns the mode to set before the rename (`null`: keep the one it was created with), and whether
 * that mode wins over the mode of a file that it replaces.
 *
 * @param source The bits of the source; `null` if they are unknown or not wanted.
 * @param modeMask The bits of a new file that asks for all; `null` on a file system without bits.
 */
export function modeOfWritten(
  source: number | null,
  modeMask: number | null,
): { readonly newMode: number | null; readonly hasOwnMode: boolean } {
  if (source === null || modeMask === null) {
    return { newMode: usualMode(modeMask), hasOwnMode: false };
  }
  return { newMode: modeOfCopy(source, modeMask), hasOwnMode: true };
}

/** Returns the mode of a new file without a source's permission bits. */
export function usualMode(modeMask: number | null): number | null {
  return modeMask === null ? null : modeMask & 0o666;
}
