/**
 * The descriptions of certificates that Deno's `node:tls` makes of each handshake.
 *
 * @module
 */

import type { TLSSocket } from "node:tls";

/** The part of a socket's handle that is used. */
interface Handle {
  getPeerCertificateChain?(): { readonly certificates: readonly Uint8Array[] } | null;
}

/** A certificate in DER, and what was sent as its issuer. */
interface Undescribed {
  readonly raw: Uint8Array;
  readonly issuerCertificate: Undescribed | undefined;
}

/**
 * Makes `getPeerCertificate()` of a socket return the certificates that the peer sent in DER, as `raw`, and
 * nothing else of them.
 *
 * The library describes them in the handshake, for its own check of the server's name, and with them every
 * certificate that is trusted: 30 µs for each. Everything that Degu needs it reads from the bytes.
 */
export function skipDescriptions(socket: TLSSocket): void {
  // The property is not part of the types. Without it the library does what it always does.
  const { _handle: handle } = socket as TLSSocket & { readonly _handle?: Handle | null };
  if (typeof handle?.getPeerCertificateChain !== "function") return;
  Object.defineProperty(socket, "getPeerCertificate", {
    value: () => nest(handle.getPeerCertificateChain!()?.certificates ?? []) ?? {},
  });
}

function nest(sent: readonly Uint8Array[]): Undescribed | undefined {
  return sent.reduceRight<Undescribed | undefined>(
    (issuerCertificate, raw) => ({ raw, issuerCertificate }),
    undefined,
  );
}
