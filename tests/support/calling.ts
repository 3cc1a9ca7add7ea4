/**
 * Calls of applications without a server: the arguments that one would hand over.
 *
 * @module
 */

import { bodies, ContentRange, Range } from "../../base.ts";
import type { Api, Socket } from "../../rgi.ts";
import { Session } from "../../server.ts";

/** What an application gets as its third argument. */
export const api: Api = { ...bodies, Range, ContentRange };

/** A session that has just begun. */
export function makeSession(): Session {
  return new Session("127.0.0.1:12345", ["127.0.0.1", 12345], 1000);
}

/** A socket that nobody is at the other end of. */
export const deadSocket: Socket = {
  read: () => Promise.resolve(null),
  write: (bytes) => Promise.resolve(bytes.length),
  close: () => {},
};
