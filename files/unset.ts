/** Properties of the source that the disk of the target refuses to store: they are not content. */

import type { HeadersToSend } from "@degu/degu/base";

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
