/** The authority of a device: the only kind of certificate that two devices exchange. */

import { X509Certificate } from "node:crypto";
import type { PeerCertificate } from "../../base.ts";
import { publicKey256 } from "../../server.ts";
import { authorityFormProblem, isSignedBy } from "../../net/tls/certificate_writer.ts";
import { deviceId } from "./names.ts";

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
 * accepted: {@linkcode authorityFormProblem} describes the form.
 *
 * @throws {RangeError} if the bytes have another form; the message quotes none of them.
 */
export function readAuthority(der: Uint8Array): Authority {
  const problem = authorityFormProblem(der);
  if (problem !== null) throw badAuthority(problem);
  const read = new X509Certificate(der);
  const certificate = read.toString();
  const keyHash = parseKeyHash(publicKey256(certificate));
  const raw = Uint8Array.from(read.raw);
  return Object.freeze({ certificate, der: raw, keyHash, id: deviceId(keyHash) });
}

/**
 * Reads the PEM text of an authority, which has a single form, as {@linkcode readAuthority} does.
 */
export function readAuthorityText(pem: string): Authority {
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
 * @param devices The possible devices.
 * @returns `null` if the certificate belongs to none of these devices.
 */
export function identifyDevice<T extends Pick<Authority, "id">>(
  verified: PeerCertificate | null | undefined,
  devices: readonly T[],
): T | null {
  if (!verified?.authority) return null;
  const id = deviceId(parseKeyHash(verified.authority.publicKey256));
  const device = devices.find((each) => each.id === id);
  // The id is that of the authority's key: another authority of the device has the same key.
  return device !== undefined && isSignedBy(verified.raw, verified.authority.raw) ? device : null;
}

/** Parses the SHA-256 of a key: `AB:CD:…`. */
function parseKeyHash(publicKey256: string): Uint8Array {
  return Uint8Array.fromHex(publicKey256.replaceAll(":", ""));
}

function badAuthority(problem: string): RangeError {
  return new RangeError(`Not the certificate of a device's authority: ${problem}`);
}
