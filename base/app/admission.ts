/**
 * Whether whoever a session was opened for is still wanted, asked in the middle of a request.
 *
 * @module
 */

import type { Session } from "./session.ts";

const guards = new WeakMap<Session, () => Promise<boolean>>();

/**
 * Sets what {@linkcode isStillAdmitted} asks about a session. For servers whose trust can change.
 *
 * @param isAdmitted Looks at what holds now, not at what was read before; where it rejects, nobody is
 * admitted.
 */
export function guardSession(session: Session, isAdmitted: () => Promise<boolean>): void {
  guards.set(session, isAdmitted);
}

/**
 * Whether the peer of a session may still do what it has asked for: for an application to ask right
 * before what can't be undone, such as the rename at the end of an upload. True where nobody guards the
 * session. Never rejects.
 */
export async function isStillAdmitted(session: Session): Promise<boolean> {
  const isAdmitted = guards.get(session);
  if (isAdmitted === undefined) return true;
  try {
    return await isAdmitted() === true;
  } catch {
    return false;
  }
}
