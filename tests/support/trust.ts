import type { Session } from "@degu/degu/server";

/** Describes the trust in a peer at this moment by one word. */
export async function describeTrust(session: Session): Promise<string> {
  const isTrusted = await session.isTrusted();
  return isTrusted ? "trusted" : session.isAnonymous ? "anonymous" : "untrusted";
}
