/**
 * URIs of directories on another device.
 *
 * @module
 */

import { checkUri } from "../base/wire/uri.ts";

/**
 * Checks the URI of a directory: its path ends with a slash; a query may follow.
 *
 * @throws {TypeError} if it is not a string.
 * @throws {RangeError} if it is not a URI, or its path does not end with `/`.
 */
export function checkDirectoryUri(uri: string): void {
  checkUri(uri);
  if (uri.split("?")[0]!.endsWith("/")) return;
  throw new RangeError(`uri: the path of a directory must end with "/"; got ${uri}`);
}
