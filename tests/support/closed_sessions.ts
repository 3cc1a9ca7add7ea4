/**
 * Sessions that their own apps close.
 *
 * @module
 */

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { Session } from "@degu/degu/server";
import { within } from "./raw_peer.ts";
import type { Serving } from "./serving.ts";

/** Why a session is closed. */
export const reason = new Error("revoked");

/** The one session of a server, once there is one. */
export async function onlySession({ server }: Serving): Promise<Session> {
  const found = async () => {
    while (server.sessions.size === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  await within(found(), "a session");
  const [session] = server.sessions;
  return session!;
}

/** Asserts that nothing is left of a session that was closed with a reason, and that no error was logged. */
export function assertClosed(serving: Serving, session: Session, why: unknown = reason): void {
  assert(session.signal.aborted);
  assertStrictEquals(session.signal.reason, why);
  assertEquals(serving.server.sessions.has(session), false);
  assert(session.message?.startsWith("closed by the app"), `${session.message}`);
  assertEquals(serving.logger.at("error"), []);
  assertEquals(serving.logger.at("info"), []);
  assertEquals(serving.logger.at("debug"), [`${session}: ${session.message}`]);
}

/** Resolves when the store of the session is disposed of: the session is then over. */
export function disposed(session: Session): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  session.store.set("disposed", { [Symbol.dispose]: resolve });
  return within(promise, "the store is disposed of");
}
