/**
 * The digest in a response.
 *
 * @module
 */

import type { Response } from "../base/app/message.ts";
import type { Method } from "../base/wire/preamble.ts";
import { parseReprDigest } from "../files/digest.ts";
import { unexpectedResponse } from "./transfer_error.ts";

/**
 * Reads the SHA-256 of the whole file from a response; `null` if it has none.
 *
 * @throws {TransferError} if its `repr-digest` is not valid.
 */
export function readDigest(
  method: Method,
  uri: string,
  { headers }: Response,
): string | null {
  const { "repr-digest": digest } = headers;
  try {
    return typeof digest === "string" ? parseReprDigest(digest) : null;
  } catch (cause) {
    throw unexpectedResponse(method, uri, "the response has an invalid repr-digest", { cause });
  }
}
