import { X509Certificate } from "node:crypto";
import type { PeerCertificate } from "../../base.ts";
import { publicKey256 } from "../../client.ts";
import { findAuthorityFormProblem } from "../../certificates.ts";
import { checkString } from "../../internal/checks.ts";
import { formatDeviceId } from "./names.ts";

export type DeviceAuthority = ReturnType<typeof readAuthority>;

/**
 * An accepted certificate becomes a root of trust, so it must have the form that `createDevicePki`
 * makes.
 *
 * @throws {RangeError} if the bytes have another form. The message doesn't quote the bytes.
 */
export function readAuthorityDer(der: Uint8Array): DeviceAuthority {
  const problem = findAuthorityFormProblem(der);
  if (problem !== null) throw invalidAuthorityError(problem);
  const certificate = new X509Certificate(der);
  const ca = certificate.toString();
  const hash = publicKey256(ca);
  const raw = Uint8Array.from(certificate.raw);
  return Object.freeze({ id: formatDeviceId(parseKeyHash(hash)), publicKey256: hash, raw, ca });
}

/**
 * Reads the PEM text of a device's authority. Call this function before you trust an authority that
 * another device has sent over a channel that both devices trust.
 *
 * All certificates that a trusted authority signs are accepted, so the authority must have the form
 * that {@linkcode createDevicePki} makes: a key on P-256 with its own signature, `CA:TRUE`, no
 * rules that Degu doesn't check, and at most 2048 bytes. The text must be in the canonical form.
 *
 * @param pem The text of the other device's `caFile`.
 * @throws {TypeError} if the text is not a string.
 * @throws {RangeError} if the text is not the certificate of a device's authority. The message
 * doesn't quote the text.
 *
 * @example
 * ```ts
 * import { createDevicePki, readAuthority } from "@degu/degu/device";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * const { caFile, certFile } = await createDevicePki(dir, "camera");
 * const { id } = readAuthority(await Deno.readTextFile(caFile));
 * assertEquals(id.length, 52); // compare the id with the id that the other device shows
 *
 * const leaf = await Deno.readTextFile(certFile);
 * assertThrows(() => readAuthority(leaf), RangeError, "Not the certificate");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export function readAuthority(pem: string): {
  /** The id of the device: 52 characters of base32 for the SHA-256 of the authority's key. */
  readonly id: string;
  /** The SHA-256 of the SubjectPublicKeyInfo: `AB:CD:…`. */
  readonly publicKey256: string;
  /** The certificate in DER. */
  readonly raw: Uint8Array<ArrayBuffer>;
  /** The certificate as PEM text: the option `ca` of TLS. */
  readonly ca: string;
} {
  checkString("pem", pem);
  let der;
  try {
    der = new X509Certificate(pem).raw;
  } catch {
    throw invalidAuthorityError("it is not a certificate in PEM form");
  }
  const authority = readAuthorityDer(der);
  if (authority.ca === pem) return authority;
  throw invalidAuthorityError("its PEM text is not in canonical form");
}

/**
 * Identifies the peer of a TLS connection by the authority that has signed the peer's certificate
 * directly, without an intermediate. Names in the certificate are ignored.
 */
export function identifyDevice<T extends Pick<DeviceAuthority, "id">>(
  verified: PeerCertificate | null | undefined,
  devices: readonly T[],
): T | null {
  if (!verified?.authority) return null;
  const id = formatDeviceId(parseKeyHash(verified.authority.publicKey256));
  const device = devices.find((each) => each.id === id);
  // The id identifies the key. The device may have other authorities with the same key, so also
  // check the signature of this authority.
  if (device === undefined) return null;
  return directSignatures.getOrInsertComputed(verified, verifyDirectSignature) ? device : null;
}

/** The connections of a peer share its certificate. */
const directSignatures = new WeakMap<PeerCertificate, boolean>();

function verifyDirectSignature({ raw, authority }: PeerCertificate): boolean {
  try {
    return new X509Certificate(raw).verify(new X509Certificate(authority!.raw).publicKey);
  } catch {
    // Deno throws an error if the signature is of another curve than the key.
    return false;
  }
}

export function parseKeyHash(publicKey256: string): Uint8Array {
  return Uint8Array.fromHex(publicKey256.replaceAll(":", ""));
}

function invalidAuthorityError(problem: string): RangeError {
  return new RangeError(`Not the certificate of a device's authority: ${problem}`);
}
