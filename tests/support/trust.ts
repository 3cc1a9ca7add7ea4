import { ResponseError, type Session } from "@degu/degu/server";

/** Describes the trust in a peer at this moment by one word. */
export async function describeTrust(session: Session): Promise<string> {
  if (session.user === null && session.peerCertificate === null) return "anonymous";
  try {
    return await session.ifTrusted(() => "trusted");
  } catch (error) {
    if (error instanceof ResponseError && `${error.response}`.startsWith("403,")) {
      return "untrusted";
    }
    throw error;
  }
}
