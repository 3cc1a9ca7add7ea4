/** Properties of the source that the disk of the target refuses to store: they are not content. */

import type { HeadersToSend } from "@degu/degu/base";
import { setMode, setModified } from "./disk/files.ts";
import type { TemporaryFile } from "./disk/temporary.ts";

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

/** The bits that allow other users to read or to write a file. */
const ACCESS_BITS = 0o066;

export function findUnsetModes(bits: number, intendedMode: number): readonly UnsetProperty[] {
  const intendedBits = intendedMode & 0o777;
  if (bits === intendedBits) return [];
  return (bits & ~intendedBits & ACCESS_BITS) === 0 ? ["mode"] : ["mode", "privacy"];
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
