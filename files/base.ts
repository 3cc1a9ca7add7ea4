/**
 * The names that a program needs to recognize the failures of transfers, without loading the
 * transfers: {@linkcode TransferError}, with its {@linkcode TransferErrorCode} and
 * {@linkcode TreeResult}, and {@linkcode isReservedName}.
 *
 * @example
 * ```ts
 * import { isReservedName, TransferError } from "@degu/degu/files/base";
 * import { assert } from "@std/assert";
 *
 * /** Reports whether the next attempt can succeed without a change of the target. *\/
 * function isRepeatable(error: unknown): boolean {
 *   return error instanceof TransferError && error.code === "CHANGED";
 * }
 *
 * assert(!isRepeatable(new Error("no transfer")));
 * assert(isReservedName(".degu-files"));
 * ```
 *
 * @module
 */

export { TransferError, type TransferErrorCode, type TreeResult } from "./errors.ts";
export { isReservedName } from "./reserved.ts";
export type { UnsetProperty } from "./wire/metadata.ts";
