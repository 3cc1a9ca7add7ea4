/** The authority of a device: the only kind of certificate that two devices exchange. */

import type { PeerCertificate } from "../../base/app/session.ts";
import { readCertificate } from "../../net/tls/authority.ts";
import {
  type Certificate,
  formatPem,
  isSelfIssued,
  parseCertificate,
} from "../../net/tls/certificate.ts";
import { readDer, TAG } from "../../net/tls/der.ts";
import { publicKeyOf, verifySignature } from "../../net/tls/keys.ts";
import { loadBuiltin } from "../../net/tls/modules.ts";
import { SIGNATURE_ALGORITHM } from "./certificates.ts";
import { deviceId } from "./names.ts";

/** An authority of `createDevicePki` has about 500 bytes; a longer certificate is suspicious. */
const MAX_AUTHORITY_BYTES = 2048;

/**
 * The SubjectPublicKeyInfo of a key on P-256, up to its two coordinates (RFC 5480 §2). Its second
 * byte is the length of the rest.
 */
const P256_KEY_BEGIN = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";

export interface Authority {
  readonly certificate: string;
  /** The certificate in DER. */
  readonly der: Uint8Array;
  /** SHA-256 of its public key, 32 bytes: the id is their text. */
  readonly keyHash: Uint8Array;
  readonly id: string;
}

/**
 * Reads the certificate of a device's authority, in DER.
 *
 * An accepted certificate becomes a root of trust, so only the form that `createDevicePki` makes is
 * accepted: version 3, a key on P-256 with both coordinates, signed with that key (ECDSA with
 * SHA-256), CA:TRUE and keyCertSign, no name constraints and no unknown critical extension.
 *
 * @throws {RangeError} if the bytes have another form; the message quotes none of them.
 */
export function readAuthority(der: Uint8Array): Authority {
  if (der.length > MAX_AUTHORITY_BYTES) {
    throw badAuthority(`it has ${der.length} bytes; at most ${MAX_AUTHORITY_BYTES} are allowed`);
  }
  const { X509Certificate, createHash } = loadBuiltin("node:crypto");
  let certificate;
  try {
    // Two parsers must agree on the certificate.
    new X509Certificate(der);
    certificate = parseCertificate(der);
    checkForm(certificate);
  } catch {
    throw badAuthority("it can't be read as one certificate in DER");
  }
  const problem = problemOf(certificate);
  if (problem !== null) throw badAuthority(problem);
  const { raw, publicKey } = certificate;
  const keyHash = Uint8Array.from(createHash("sha256").update(publicKey).digest());
  const id = deviceId(keyHash);
  return Object.freeze({ certificate: formatPem(raw), der: raw, keyHash, id });
}

/**
 * Reads the PEM text of an authority, which has a single form, as {@linkcode readAuthority} does.
 */
export function readAuthorityText(pem: string): Authority {
  const { X509Certificate } = loadBuiltin("node:crypto");
  let der;
  try {
    der = new X509Certificate(pem).raw;
  } catch {
    throw badAuthority("it is not a certificate in PEM form");
  }
  const authority = readAuthority(der);
  if (authority.certificate === pem) return authority;
  throw badAuthority("its PEM text is not in canonical form");
}

/**
 * Identifies the device at the other end of a TLS connection by the authority that has signed the
 * certificate directly, with no other certificate in between. Names in the certificate don't count.
 *
 * @param verified The certificate, as verified in the handshake.
 * @param devices The possible devices; their certificates are PEM text that
 * {@linkcode readAuthorityText} has accepted.
 * @returns `null` if the certificate belongs to none of these devices.
 */
export function identifyDevice<T extends Pick<Authority, "id" | "certificate">>(
  verified: PeerCertificate | null | undefined,
  devices: readonly T[],
): T | null {
  if (!verified?.authority) return null;
  const id = deviceId(Uint8Array.fromHex(verified.authority.publicKey256.replaceAll(":", "")));
  const device = devices.find((each) => each.id === id);
  if (device === undefined) return null;
  const { X509Certificate } = loadBuiltin("node:crypto");
  const key = publicKeyOf(readCertificate(new X509Certificate(device.certificate).raw));
  return key !== null && verifySignature(readCertificate(verified.raw), key) ? device : null;
}

function badAuthority(problem: string): RangeError {
  return new RangeError(`Not the certificate of a device's authority: ${problem}`);
}

/** Checks that a certificate has the algorithm of ours, and no parts of other versions. */
function checkForm({ signed }: Certificate): void {
  const algorithm = readDer(signed, (outside) =>
    outside.enter(TAG.sequence, (body) => {
      body.take(0xa0);
      body.integer();
      const algorithm = body.takeWhole(TAG.sequence);
      for (let i = 0; i < 4; i++) body.take(TAG.sequence);
      body.take(0xa3);
      return algorithm;
    }));
  if (algorithm.toHex() !== SIGNATURE_ALGORITHM.toHex()) {
    throw new RangeError("the certificate has another form");
  }
}

function problemOf(certificate: Certificate): string | null {
  const { version, publicKey, isAuthority, hasKeyUsage, maySignCertificates, uncheckedRules } =
    certificate;
  if (version !== 3) return `it must have version 3; got ${version}`;
  if (!publicKey.toHex().startsWith(P256_KEY_BEGIN)) {
    return "its key is not on P-256 with both coordinates";
  }
  if (!isAuthority) return "its basicConstraints don't say CA:TRUE";
  if (!hasKeyUsage || !maySignCertificates) {
    return "its keyUsage doesn't say keyCertSign";
  }
  if (uncheckedRules !== null) {
    return "it has constraints on names or an unknown critical extension";
  }
  if (!isSelfIssued(certificate)) return "another authority has issued it";
  const key = publicKeyOf(certificate);
  const isSigned = key !== null && verifySignature(certificate, key);
  return isSigned ? null : "it is not signed with its own key";
}
