/**
 * The identification of a peer, by the same rules for clients and servers, after the TLS library
 * has verified the certificates that the peer has presented.
 */

import type { TLSSocket } from "node:tls";
import { canonicalizeDnsName, canonicalizeIPAddress, removeZone } from "../../base/address.ts";
import type { PeerAuthority, PeerCertificate } from "../../base/app/session.ts";
import { TlsError } from "../../base/errors.ts";
import { quote } from "../../internal/quote.ts";
import { evictOldest } from "../../internal/collections.ts";
import { readCertificateChain } from "../transport/runtime.ts";
import { type Authorities, readCertificate } from "./authority.ts";
import {
  type Certificate,
  type CertificateName,
  describeCertificate,
  findUnsupportedExtension,
  findUsageProblem,
  findValidityProblem,
} from "./certificate.ts";
import type { ServerMaterial } from "./context.ts";
import { findKeyProblem, findSignatureProblem } from "./keys.ts";

/**
 * The maximum number of remembered certificates; a session with any other certificate is not
 * resumed.
 */
const MAX_VERIFIED_CLIENTS = 10_000;

/**
 * Returns the certificate of an accepted client; `null` if the client is accepted without a valid
 * certificate.
 *
 * @param handshakeTrust The trust with which the library has verified the certificate.
 * @param currentTrust The server's current trust, which decides.
 */
export function identifyClient(
  socket: TLSSocket,
  handshakeTrust: ServerMaterial,
  currentTrust: ServerMaterial,
): PeerCertificate | null {
  if (!currentTrust.options.requestCert) return null;
  try {
    return verifyClient(socket, handshakeTrust, currentTrust);
  } catch (error) {
    if (currentTrust.requiresCertificate) throw error;
    return null;
  }
}

function verifyClient(
  socket: TLSSocket,
  handshakeTrust: ServerMaterial,
  currentTrust: ServerMaterial,
): PeerCertificate {
  if (!handshakeTrust.options.requestCert) {
    throw new TlsError("NO_CERTIFICATE", "the server did not request a certificate");
  }
  const presentedCertificates = verifyPresentedCertificates("client", socket);
  const { leaf } = presentedCertificates;
  if (socket.isSessionReused()) {
    return describeCertificate(leaf, findResumedAuthority(presentedCertificates, currentTrust));
  }
  const authority = findIssuingAuthority("client", currentTrust.authorities, presentedCertificates);
  rememberVerifiedClient(leaf.certificate256, authority.publicKey256);
  return describeCertificate(leaf, authority);
}

/**
 * The library doesn't verify the certificate of a resumed session, so this process must have
 * verified the certificate before, with an authority that is still trusted.
 */
function findResumedAuthority(
  presentedCertificates: PresentedCertificates,
  currentTrust: ServerMaterial,
): PeerAuthority {
  const issuerKeys = getIssuerKeys(presentedCertificates.leaf.certificate256);
  if (
    issuerKeys.values().some((publicKey256) => currentTrust.authorities.trustsKey(publicKey256))
  ) {
    const authority = findAuthority("client", currentTrust.authorities, presentedCertificates);
    if (authority !== null) return authority;
  }
  if (issuerKeys.size > 0) {
    throw new TlsError("UNTRUSTED", "the client resumed a session, whose authority is not trusted");
  }
  throw new TlsError(
    "POLICY",
    "the client resumed a session whose certificate was not verified by this process",
  );
}

/**
 * Reports whether a client that was accepted before is trusted now. The authority of its
 * certificate must be trusted, even if clients without a certificate are accepted.
 */
export function isStillTrusted(
  certificate: PeerCertificate | null,
  currentTrust: ServerMaterial,
): boolean {
  const authority = certificate?.authority ?? null;
  return authority === null
    ? !currentTrust.requiresCertificate
    : currentTrust.authorities.trustsKey(authority.publicKey256);
}

export function identifyServer(
  socket: TLSSocket,
  authorities: Authorities | null,
  host: string | null,
): PeerCertificate {
  if (socket.isSessionReused()) throw new TlsError("POLICY", "the session was resumed");
  const presentedCertificates = verifyPresentedCertificates("server", socket);
  const problem = host === null ? null : findNameProblem(presentedCertificates.leaf, host);
  if (problem !== null) throw new TlsError("WRONG_NAME", `the server's certificate ${problem}`);
  const authority = authorities &&
    findIssuingAuthority("server", authorities, presentedCertificates);
  return describeCertificate(presentedCertificates.leaf, authority);
}

interface PresentedCertificates {
  readonly leaf: Certificate;
  readonly intermediates: readonly Uint8Array[];
}

/**
 * Reads the certificate of a peer, which the TLS library must have verified, and checks that it can
 * be used now.
 */
function verifyPresentedCertificates(
  role: "client" | "server",
  socket: TLSSocket,
): PresentedCertificates {
  // A resumed session may come without a certificate, and the library accepts that.
  if (!socket.authorized) {
    throw new TlsError("UNTRUSTED", `the ${role}'s certificate was not verified`);
  }
  const [leafDer, ...intermediates] = readCertificateChain(socket);
  if (leafDer === undefined) {
    throw new TlsError("NO_CERTIFICATE", `the ${role} sent no certificate`);
  }
  const leaf = readCertificate(leafDer);
  checkCertificate(role, leaf);
  return { leaf, intermediates };
}

function findAuthority(
  role: "client" | "server",
  authorities: Authorities,
  { leaf, intermediates }: PresentedCertificates,
): PeerAuthority | null {
  return authorities.findAuthority(leaf, intermediates, `${role}Auth`);
}

function findIssuingAuthority(
  role: "client" | "server",
  authorities: Authorities,
  presentedCertificates: PresentedCertificates,
): PeerAuthority {
  const authority = findAuthority(role, authorities, presentedCertificates);
  if (authority !== null) return authority;
  const problem = findSignatureProblem(presentedCertificates.leaf);
  if (problem !== null) throw new TlsError("UNTRUSTED", `the ${role}'s certificate ${problem}`);
  throw new TlsError(
    "UNTRUSTED",
    `the authority of the ${role}'s certificate can't be determined: ${UNKNOWN_PATH_REASON}`,
  );
}

const UNKNOWN_PATH_REASON =
  "no trusted authority has issued it within the limits of its pathlen and extendedKeyUsage; " +
  "intermediates with nameConstraints, with an unknown critical extension, or signed with P-521 " +
  "and SHA-256 are ignored";

export function checkCertificate(role: "client" | "server", certificate: Certificate): void {
  const now = Date.now();
  const makeError = (code: TlsError["code"], problem: string) =>
    new TlsError(code, `the ${role}'s certificate ${problem}`);
  const usageProblem = findUsageProblem(certificate, `${role}Auth`);
  if (usageProblem !== null) {
    throw makeError(certificate.version === 3 ? "WRONG_PURPOSE" : "UNTRUSTED", usageProblem);
  }
  const validityProblem = findValidityProblem(certificate, now);
  if (validityProblem !== null) {
    const isEarly = now < certificate.validFrom.getTime();
    throw makeError(isEarly ? "NOT_YET_VALID" : "EXPIRED", validityProblem);
  }
  const keyProblem = findKeyProblem(certificate);
  if (keyProblem !== null) throw makeError("WEAK", keyProblem);
  const extension = findUnsupportedExtension(certificate);
  if (extension !== null) {
    throw makeError("UNTRUSTED", `has a critical extension that can't be checked, ${extension}`);
  }
}

/**
 * The SHA-256 of each client certificate that was verified in this process, with the SHA-256 of the
 * keys of its authorities; the most recently used last. An entry outlives the context of its
 * verification.
 *
 * All TLS servers in a process encrypt tickets with one key, and a resumed session contains its
 * certificate, which is not verified again. Without this table, every server would accept a client
 * of any other server, also of a server without authorities, and would accept the client forever.
 */
const verifiedClients = new Map<string, Set<string>>();

export function rememberVerifiedClient(certificate256: string, publicKey256: string): void {
  verifiedClients.set(certificate256, getIssuerKeys(certificate256).add(publicKey256));
  evictOldest(verifiedClients, MAX_VERIFIED_CLIENTS);
}

export function getIssuerKeys(certificate256: string): Set<string> {
  const issuerKeys = verifiedClients.get(certificate256);
  if (issuerKeys === undefined) return new Set();
  // Insert the entry again, as the most recently used.
  verifiedClients.delete(certificate256);
  verifiedClients.set(certificate256, issuerKeys);
  return issuerKeys;
}

export function findHostIp(host: string): string | null {
  return canonicalizeIPAddress(removeZone(host));
}

/**
 * Finds the reason why a certificate is not for this host; `null` if the certificate is for this
 * host. Only its subjectAltName counts, never its subject (RFC 9525).
 */
export function findNameProblem({ names }: Certificate, host: string): string | null {
  if (names === null) return "has no subjectAltName, and its subject does not count";
  const address = findHostIp(host);
  const name = address === null ? canonicalizeDnsName(host) : null;
  const isMatch = address !== null
    ? names.some(({ type, value }) => type === "IP Address" && value === address)
    : name !== null && names.some((certificateName) => matchesDnsName(certificateName, name));
  if (isMatch) return null;
  const nameList = names.map(({ type, value }) => `${type}:${value}`).join(", ");
  return `is not for ${quote(host)}; its names are ${quote(nameList)}`;
}

/**
 * A wildcard matches exactly one label, and must be followed by at least two labels (RFC 9525
 * §6.3).
 */
function matchesDnsName({ type, value }: CertificateName, name: string): boolean {
  if (type !== "DNS") return false;
  const dnsName = value.toLowerCase();
  if (!dnsName.startsWith("*.")) return dnsName === name;
  const parentDomain = dnsName.slice(2);
  const dotIndex = name.indexOf(".");
  return parentDomain.includes(".") && dotIndex > 0 && name.slice(dotIndex + 1) === parentDomain;
}
