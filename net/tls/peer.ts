/**
 * The identity of a peer: the same rules at both ends, after the TLS library has verified the
 * certificates that the peer presented.
 *
 * {@linkcode identifyClient} and {@linkcode identifyServer} are asked when a handshake ends,
 * {@linkcode isStillTrusted} whenever the trust of a server has changed since. Nothing else
 * decides.
 */

import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import { canonicalDnsName, canonicalIPAddress, withoutZone } from "../../base/address.ts";
import type { PeerAuthority, PeerCertificate } from "../../base/app/session.ts";
import { TlsError } from "../../base/errors.ts";
import { quote } from "../../internal/quote.ts";
import { evictOldest } from "../../internal/collections.ts";
import { type Authorities, readCertificate } from "./authority.ts";
import {
  type Certificate,
  type CertificateName,
  describeCertificate,
  usageProblem,
  validityProblem,
} from "./certificate.ts";
import type { ServerMaterial } from "./context.ts";
import { findKeyProblem, signatureProblem } from "./keys.ts";

/** The most verified certificates that are remembered; a session with any other is not resumed. */
const MAX_VERIFIED = 10_000;

/**
 * The certificate of an accepted client; `null` if none is requested, or none is insisted on and
 * the client has shown no good certificate.
 *
 * @param begun The trust that the handshake began with: the library has verified the certificate
 * with it.
 * @param inForce The trust that is in force now, and decides.
 * @throws {TlsError} if the client is not accepted.
 * @throws {RangeError} if the client's certificate can't be parsed.
 */
export function identifyClient(
  socket: TLSSocket,
  begun: ServerMaterial,
  inForce: ServerMaterial,
): PeerCertificate | null {
  if (!inForce.options.requestCert) return null;
  try {
    return verifyClient(socket, begun, inForce);
  } catch (error) {
    if (inForce.requiresCertificate) throw error;
    return null;
  }
}

function verifyClient(
  socket: TLSSocket,
  begun: ServerMaterial,
  inForce: ServerMaterial,
): PeerCertificate {
  if (!begun.options.requestCert) {
    throw new TlsError("NO_CERTIFICATE", "the client was not asked for a certificate");
  }
  const shown = verifyPresented("client", socket);
  const { leaf, between } = shown;
  if (socket.isSessionReused()) {
    return describeCertificate(leaf, authorityOfResumedSession(shown, inForce));
  }
  const verified = findIssuingAuthority("client", begun.authorities, shown);
  rememberVerified(leaf.certificate256, verified.publicKey256);
  const authority = begun === inForce
    ? verified
    : inForce.authorities.find(leaf, between, "clientAuth");
  if (authority !== null) return describeCertificate(leaf, authority);
  throw new TlsError("UNTRUSTED", "the client's authority is not trusted any more");
}

/**
 * The authority of a resumed session. The library has not verified the certificate: an authority
 * that is trusted now must have verified it before.
 */
function authorityOfResumedSession(
  { leaf, between }: PresentedCertificates,
  inForce: ServerMaterial,
): PeerAuthority {
  const keys = verifiedIssuersOf(leaf.certificate256);
  if (keys.values().some((publicKey256) => inForce.authorities.trusts(publicKey256))) {
    const authority = inForce.authorities.find(leaf, between, "clientAuth");
    if (authority !== null) return authority;
  }
  if (keys.size > 0) {
    throw new TlsError("UNTRUSTED", "the client resumed a session, whose authority is not trusted");
  }
  throw new TlsError(
    "POLICY",
    "the client resumed a session whose certificate was not verified by this process",
  );
}

/**
 * Whether the trust in force includes a client that was accepted before: its authority, even if
 * clients without a certificate are accepted.
 */
export function isStillTrusted(
  certificate: PeerCertificate | null,
  inForce: ServerMaterial,
): boolean {
  if (!inForce.options.requestCert) return true;
  const authority = certificate?.authority ?? null;
  return authority === null
    ? !inForce.requiresCertificate
    : inForce.authorities.trusts(authority.publicKey256);
}

/**
 * The certificate of a trusted server.
 *
 * @param authorities `null` for Deno's default store.
 * @param host The host that the certificate must be for, or `null` for any.
 * @throws the errors of {@linkcode identifyClient}.
 */
export function identifyServer(
  socket: TLSSocket,
  authorities: Authorities | null,
  host: string | null,
): PeerCertificate {
  if (socket.isSessionReused()) throw new TlsError("POLICY", "the session was resumed");
  const shown = verifyPresented("server", socket);
  const problem = host === null ? null : nameProblem(shown.leaf, host);
  if (problem !== null) throw new TlsError("WRONG_NAME", `the server's certificate ${problem}`);
  const authority = authorities && findIssuingAuthority("server", authorities, shown);
  return describeCertificate(shown.leaf, authority);
}

/** The certificates that a peer has shown: its own, and the others in DER. */
interface PresentedCertificates {
  readonly leaf: Certificate;
  readonly between: readonly Uint8Array[];
}

/**
 * Reads the certificate of a peer, which the TLS library must have verified, and checks that it is
 * good for this end now.
 */
function verifyPresented(whose: "client" | "server", socket: TLSSocket): PresentedCertificates {
  // A resumed session may come without a certificate, and the library accepts that.
  if (!socket.authorized) {
    throw new TlsError("UNTRUSTED", `the ${whose}'s certificate was not verified`);
  }
  const [own, ...between] = presentedChain(socket);
  if (own === undefined) throw new TlsError("NO_CERTIFICATE", `the ${whose} sent no certificate`);
  const leaf = readCertificate(own);
  checkCertificate(whose, leaf);
  return { leaf, between };
}

/**
 * Finds the authority that vouched for a peer, which the TLS library has verified against the same
 * authorities.
 *
 * @throws {TlsError} if the authority is not known for certain.
 */
function findIssuingAuthority(
  whose: "client" | "server",
  authorities: Authorities,
  { leaf, between }: PresentedCertificates,
): PeerAuthority {
  const authority = authorities.find(leaf, between, `${whose}Auth`);
  if (authority !== null) return authority;
  const problem = signatureProblem(leaf);
  throw new TlsError(
    "UNTRUSTED",
    problem !== null
      ? `the ${whose}'s certificate ${problem}`
      : `none of the trusted authorities is known for certain to have vouched for the ${whose}, within the ` +
        "limits of its pathlen and extendedKeyUsage; an intermediate with nameConstraints, with an unknown critical " +
        "extension, or signed with P-521 and SHA-256, doesn't count",
  );
}

/**
 * Checks that a certificate can be used for one end of a connection, now.
 *
 * @throws {TlsError} if it can't.
 */
export function checkCertificate(whose: "client" | "server", certificate: Certificate): void {
  const now = Date.now();
  const refuse = (code: TlsError["code"], problem: string) =>
    new TlsError(code, `the ${whose}'s certificate ${problem}`);
  if (certificate.version !== 3) {
    throw refuse("UNTRUSTED", `has version ${certificate.version} instead of 3`);
  }
  const usage = usageProblem(certificate, `${whose}Auth`);
  if (usage !== null) throw refuse("WRONG_PURPOSE", usage);
  const validity = validityProblem(certificate, now);
  if (validity !== null) {
    const isEarly = now < certificate.validFrom.getTime();
    throw refuse(isEarly ? "NOT_YET_VALID" : "EXPIRED", validity);
  }
  const key = findKeyProblem(certificate);
  if (key !== null) throw refuse(key.code, key.problem);
}

/** The member that the types of a socket lack: all certificates that its peer has sent, in DER. */
interface WithHandle {
  readonly _handle?: {
    getPeerCertificateChain?(): { readonly certificates: readonly Uint8Array[] } | null;
  } | null;
}

/**
 * The certificates in DER, the peer's own first, then the others as they were sent; none if the
 * peer presented none. The TLS library may add a trusted certificate, by name: only signatures show
 * which belong together.
 */
export function presentedChain(socket: TLSSocket): Uint8Array[] {
  const sent = (socket as TLSSocket & WithHandle)._handle?.getPeerCertificateChain?.();
  if (sent != null) return [...sent.certificates];
  const described = new Set<DetailedPeerCertificate>();
  let shown: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  // In the library's description, the last certificate is its own issuer.
  while (shown?.raw !== undefined && !described.has(shown)) {
    described.add(shown);
    shown = shown.issuerCertificate;
  }
  return Array.from(described, ({ raw }) => raw);
}

/**
 * Makes `getPeerCertificate()` of a socket return nothing, if the certificates are to be had in
 * DER.
 *
 * The library describes them in the handshake, for its own check of the server's name, and with
 * them every trusted certificate: 30 µs for each. Degu reads everything from the bytes.
 */
export function disablePeerCertificateObjects(socket: TLSSocket): void {
  // Without the property the library describes them as always.
  if (typeof (socket as TLSSocket & WithHandle)._handle?.getPeerCertificateChain !== "function") {
    return;
  }
  Object.defineProperty(socket, "getPeerCertificate", { value: () => ({}) });
}

/**
 * The certificates of clients that were verified in this process, by their SHA-256, each with the
 * SHA-256 of the keys of the authorities that vouched for it; the most recently used last. An entry
 * outlives the context of its verification.
 *
 * The tickets of all TLS servers in a process are encrypted with one key, and a resumed session
 * brings its certificate along, which is not verified again. Without this table, a client that
 * another server has accepted, with other authorities or with none, would be accepted everywhere,
 * and a client that was accepted once, forever.
 */
const verifiedClients = new Map<string, Set<string>>();

export function rememberVerified(certificate256: string, publicKey256: string): void {
  verifiedClients.set(certificate256, verifiedIssuersOf(certificate256).add(publicKey256));
  evictOldest(verifiedClients, MAX_VERIFIED);
}

/**
 * The keys of the authorities that vouched for a certificate; none for an unverified certificate.
 */
export function verifiedIssuersOf(certificate256: string): Set<string> {
  const keys = verifiedClients.get(certificate256);
  if (keys === undefined) return new Set();
  // Re-inserted as the most recently used.
  verifiedClients.delete(certificate256);
  verifiedClients.set(certificate256, keys);
  return keys;
}

/** The IP address of a host in the form for comparisons, without its zone; `null` for a name. */
export function hostAddress(host: string): string | null {
  return canonicalIPAddress(withoutZone(host));
}

/**
 * The reason why a certificate is not for this host, by its subjectAltName only, never by its
 * subject (RFC 9525); `null` if it is for this host.
 */
export function nameProblem({ names }: Certificate, host: string): string | null {
  if (names === null) return "has no subjectAltName, and its subject does not count";
  const address = hostAddress(host);
  const name = address === null ? canonicalDnsName(host) : null;
  const matches = address !== null
    ? names.some(({ type, value }) => type === "IP Address" && value === address)
    : name !== null && names.some((each) => matchesDnsName(each, name));
  if (matches) return null;
  const listed = names.map(({ type, value }) => `${type}:${value}`).join(", ");
  return `is not for ${quote(host)}; its names are ${quote(listed)}`;
}

/** A wildcard matches exactly one label, and at least two must follow it (RFC 9525 §6.3). */
function matchesDnsName({ type, value }: CertificateName, name: string): boolean {
  if (type !== "DNS") return false;
  const presented = value.toLowerCase();
  if (!presented.startsWith("*.")) return presented === name;
  const parent = presented.slice(2);
  const dot = name.indexOf(".");
  return parent.includes(".") && dot > 0 && name.slice(dot + 1) === parent;
}
