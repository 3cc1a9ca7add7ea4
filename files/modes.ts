import type { HeadersToSend } from "@degu/degu/base";
import type { ModeSupport } from "./disk/files.ts";

const MODE_PATTERN = /^0[0-7]{3}$/;

export function formatMode(mode: number): string {
  return `0${(mode & 0o777).toString(8).padStart(3, "0")}`;
}

export function parseMode(value: unknown): number | null {
  return typeof value === "string" && MODE_PATTERN.test(value) ? Number.parseInt(value, 8) : null;
}

export function permissionBitsOf(mode: number | null): number | null {
  return mode === null || Deno.build.os === "windows" ? null : mode & 0o777;
}

export function makeModeHeader(mode: number | null): HeadersToSend {
  return mode === null ? {} : { "file-mode": formatMode(mode) };
}

export const WANT_MODE_HEADER: HeadersToSend = { "want-file-mode": "?1" };

export function isModeRequested(headers: HeadersToSend): boolean {
  return headers["want-file-mode"] === "?1";
}

/**
 * The header that requests the permission bits that a new file can have at the server. The app
 * responds with the header `file-mode-mask`. To find the bits, the app must create a temporary
 * file, so a client sends this header only before it writes.
 */
export const WANT_MODE_MASK_HEADER: HeadersToSend = { "want-file-mode-mask": "?1" };

export function isModeMaskRequested(headers: HeadersToSend): boolean {
  return headers["want-file-mode-mask"] === "?1";
}

/** The owner can always read and write the copy. `null` stands for no permission bits. */
export function computeCopiedMode(mode: number | null, mask: number | null): number | null {
  return mode === null || mask === null ? null : mode & mask | 0o600;
}

/**
 * Tells a client that the file system refuses every change of permission bits, so that the client
 * sends no request that only sets bits.
 */
export const FIXED_MODES_HEADER: HeadersToSend = { "file-mode-fixed": "?1" };

export function areModesFixed(headers: HeadersToSend): boolean {
  return headers["file-mode-fixed"] === "?1";
}

/**
 * @returns `newMode` is set before the file is renamed; with `null`, the file keeps the mode from
 * its creation. If `hasOwnMode` is false, the new file gets the mode of the file that it replaces.
 */
export function chooseFileMode(
  sourceMode: number | null,
  modeMask: number | null,
): { readonly newMode: number | null; readonly hasOwnMode: boolean } {
  const copiedMode = computeCopiedMode(sourceMode, modeMask);
  return { newMode: copiedMode ?? computeDefaultMode(modeMask), hasOwnMode: copiedMode !== null };
}

/**
 * The options of a temporary file whose content was verified before, and which therefore gets the
 * mode of its source at its creation.
 */
export function makeCreationModes(
  sourceMode: number,
  support: ModeSupport | null,
): { readonly mode: number; readonly newMode?: number | null } {
  const mode = sourceMode | 0o600;
  // Set the mode again, to find out whether the file system has ignored it.
  return support?.isFixed ? { mode, newMode: computeCopiedMode(mode, support.mask) } : { mode };
}

export function computeDefaultMode(modeMask: number | null): number | null {
  return modeMask === null ? null : modeMask & 0o666;
}
