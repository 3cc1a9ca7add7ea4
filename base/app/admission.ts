/**
 * Whether a session's peer is still admitted, checked in the middle of a request.
 *
 * @module
 */

import type { Session } from "./session.ts";

const guards = new WeakMap<Session, () => Promise<boolean>>();

/**
 * Sets what {@linkcode isStillAdmitted} asks about a session. For servers whose trust can change.
 *
 * @param isAdmitted Checks the current state, not a cached one. If it rejects, the peer is not admitted.
 */
export function guardSession(session: Session, isAdmitted: () => Promise<boolean>): void {
  guards.set(session, isAdmitted);
}

/**
 * Whether the peer of a session may still do what it asked for. An app checks this right before a step that
 * can't be undone, such as the rename at the end of an upload. True if no check was set for the session.
 * Never rejects.
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
