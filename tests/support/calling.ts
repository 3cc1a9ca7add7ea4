/**
 * Calls of applications without a server: the arguments that one would hand over, and the errors that come of them.
 *
 * @module
 */

import { assertEquals, assertInstanceOf } from "@std/assert";
import { bodies, ContentRange, Range } from "../../base.ts";
import type { Api, Socket } from "../../rgi.ts";
import { Session } from "../../server.ts";
import { rejectionOf } from "./expectations.ts";

/** A class of errors. */
export type ErrorClass = abstract new (...args: never[]) => Error;

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

/** Asserts that a promise rejects with just this class and a message that begins so. */
export async function assertBegins(
  promise: Promise<unknown>,
  errorClass: ErrorClass,
  beginning: string,
) {
  const error = await rejectionOf(promise, beginning);
  assertInstanceOf(error, errorClass);
  assertEquals(error.message.slice(0, beginning.length), beginning);
}
