/** Checks that byte arrays still have their announced length when they are sent. */

import { realLength } from "../internal/bytes.ts";
import { BodyError } from "./errors.ts";

/** Throws a {@linkcode BodyError} unless an array has the announced number of bytes. */
export function checkUnchanged(bytes: Uint8Array, announced: number): void {
  if (realLength(bytes) !== announced) throw changedError(bytes, announced);
}

/** The error for an array whose length differs from the announced one. */
export function changedError(bytes: Uint8Array, announced: number): BodyError {
  return new BodyError(
    `an array of ${announced} bytes had ${realLength(bytes)} when it was to be sent; ` +
      "don't resize or transfer its buffer before that",
  );
}
