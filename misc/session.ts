import type { HostAddress, ScopedAddress } from "../base/address.ts";
import { type PeerCertificate, type Session, SessionCore } from "../base/app/session.ts";
import {
  checkFunction,
  checkString,
  copyOptions,
  wrongArgumentError,
  wrongTypeError,
} from "../internal/checks.ts";

/** What {@linkcode mkSession} makes a session of. */
export interface SessionFields {
  /**
   * The name of the session in logs: the result of `toString()`.
   *
   * @default {"test"}
   */
  logName?: string | undefined;
  /**
   * The address of the peer.
   *
   * @default {null}
   */
  address?: HostAddress | ScopedAddress | null | undefined;
  /**
   * The verified certificate of the peer.
   *
   * @default {null}
   */
  peerCertificate?: PeerCertificate | null | undefined;
  /**
   * The name of the peer.
   *
   * @default {null}
   */
  user?: string | null | undefined;
  /**
   * The values that the app keeps for the connection. They are not disposed of.
   *
   * @default {an empty map}
   */
  store?: Map<string, unknown> | undefined;
  /**
   * Reports whether the peer of this name is trusted. Any result but `true`, and an error, means
   * that the peer isn't trusted. Requires `user`.
   *
   * @default {always true}
   */
  isTrusted?: (() => boolean | Promise<boolean>) | undefined;
}

/**
 * Makes a session like those that an app gets, without a server: for tests of an app, and for
 * several calls of `callApp` with one session.
 *
 * @param fields The properties of the session; each has a default.
 * @throws {TypeError} if a field is of a wrong type or unknown.
 *
 * @example Two requests of one session
 * ```ts
 * import { type App, reply } from "@degu/degu";
 * import { callApp, mkreq, mkSession } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const app: App = (_request, { store, user }) => {
 *   const count = Number(store.get("count") ?? 0) + 1;
 *   store.set("count", count);
 *   return reply(200, `${user}: ${count}`);
 * };
 * const session = mkSession({ user: "anna" });
 * for (const text of ["anna: 1", "anna: 2"]) {
 *   assertEquals(await (await callApp(app, mkreq("GET", "/"), { session })).text(), text);
 * }
 * ```
 */
export function mkSession(fields: SessionFields = {}): Session {
  const {
    logName = "test",
    address = null,
    peerCertificate = null,
    user = null,
    store,
    isTrusted,
  } = copyOptions(
    fields,
    ["logName", "address", "peerCertificate", "user", "store", "isTrusted"],
    "session",
  );
  checkString("session.logName", logName);
  if (user !== null) checkString("session.user", user);
  if (isTrusted !== undefined) checkFunction("session.isTrusted", isTrusted);
  if (isTrusted !== undefined && user === null) {
    throw wrongArgumentError("session.isTrusted", "needs session.user, the name of the peer");
  }
  if (store !== undefined && !(store instanceof Map)) {
    throw wrongTypeError("session.store", "a Map", store);
  }
  const core = new SessionCore(logName, address, Infinity, peerCertificate, store);
  if (user !== null) core.identifyPeer({ user, ...(isTrusted && { isTrusted }) });
  return core.session;
}
