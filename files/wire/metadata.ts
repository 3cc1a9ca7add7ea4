/**
 * The permission bits and the time of a file: their headers, what a new file gets, and what the
 * disk of the target refuses to store.
 */

import type { HeadersToSend } from "../../base.ts";
import { type ModeSupport, setMode, setModified } from "../disk/files.ts";
import type { TemporaryFile } from "../disk/temporary.ts";

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

/**
 * A property of a copied or identical file that the disk of the target has refused, although the
 * source has it.
 */
export type UnsetProperty =
  /** The modification time. */
  | "time"
  /** The permission bits. */
  | "mode"
  /** In addition to `"mode"`: more users can read or write the file than the bits would allow. */
  | "privacy";

const UNSET_PROPERTIES: readonly UnsetProperty[] = ["time", "mode", "privacy"];

const GROUP_AND_OTHERS_READ_WRITE = 0o066;

export function findUnsetModes(bits: number, intendedMode: number): readonly UnsetProperty[] {
  const intendedBits = intendedMode & 0o777;
  if (bits === intendedBits) return [];
  return (bits & ~intendedBits & GROUP_AND_OTHERS_READ_WRITE) === 0
    ? ["mode"]
    : ["mode", "privacy"];
}

/** Sets a time and permission bits unless they are `null`; returns what the disk has refused. */
export function setMetadata(
  path: string,
  modified: Date | null,
  mode: number | null,
): readonly UnsetProperty[] {
  const isTimeUnset = modified !== null && !setModified(path, modified);
  const unsetModes = mode === null ? [] : findUnsetModes(setMode(path, mode), mode);
  return isTimeUnset ? ["time", ...unsetModes] : unsetModes;
}

/** A complete file before its renaming. Until then, only this user may be able to read the file. */
export type CompleteFile = Pick<
  TemporaryFile,
  "path" | "info" | "newMode" | "hasOwnMode" | "isTimeUnset"
>;

/**
 * Sets the permission bits of a file that is about to be renamed.
 *
 * @param replacedFile The file that it replaces, and whose bits it gets unless it has its own.
 * @returns The properties that the disk has refused. The usual bits of a new file don't count.
 */
export function setFinalMode(
  { path, newMode, hasOwnMode, isTimeUnset }: CompleteFile,
  replacedFile: Deno.FileInfo | null,
): readonly UnsetProperty[] {
  const mode = replacedFile === null || hasOwnMode ? newMode : replacedFile.mode;
  const bits = mode === null ? null : setMode(path, mode);
  const hasUsualMode = replacedFile === null && !hasOwnMode;
  const unsetModes = bits === null || hasUsualMode ? [] : findUnsetModes(bits, mode!);
  return isTimeUnset ? ["time", ...unsetModes] : unsetModes;
}

export function makeUnsetHeader(unset: readonly UnsetProperty[]): HeadersToSend {
  return unset.length === 0 ? {} : { "file-unset": unset.join(", ") };
}

/** Ignores unknown properties. */
export function parseUnsetHeader(headers: HeadersToSend): readonly UnsetProperty[] {
  const { "file-unset": text } = headers;
  if (typeof text !== "string") return [];
  const names = text.split(", ");
  return UNSET_PROPERTIES.filter((property) => names.includes(property));
}

export function isUnset(value: unknown): value is readonly UnsetProperty[] {
  return Array.isArray(value) && value.length > 0 &&
    value.every((property) => UNSET_PROPERTIES.includes(property));
}
