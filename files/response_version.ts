/**
 * Which version of a file a response is about.
 *
 * @module
 */

import { cancelUnused } from "../base/body/bodies.ts";
import type { Response } from "../base/app/message.ts";
import type { Method } from "../base/wire/preamble.ts";
import { parseReprDigest } from "./digest.ts";
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

/** A version of the file on the server. */
export interface Version {
  /** The strong entity tag. */
  readonly etag: string | null;
  /** Of the whole file. */
  readonly sha256: string | null;
}

/** Returns what a response is about; its body is canceled if that is not valid. */
export function versionOf(method: "GET" | "HEAD", uri: string, response: Response): Version {
  const { etag } = response.headers;
  const isStrong = typeof etag === "string" && !etag.startsWith("W/");
  try {
    return { etag: isStrong ? etag : null, sha256: readDigest(method, uri, response) };
  } catch (error) {
    cancelUnused(response.body, error);
    throw error;
  }
}
