/**
 * A cache of parsed certificates, for peers that return: a certificate with the same bytes is parsed once.
 * Whether it is valid now, and trusted, is decided each time.
 *
 * @module
 */

import type { KeyObject } from "node:crypto";
import { forgetOldest } from "../../base/forget_oldest.ts";
import { type Certificate, fingerprint256, parseCertificate } from "./certificate.ts";
import { publicKeyOf } from "./signature.ts";

/** How many certificates are remembered: some megabytes at most. */
const MAX_KNOWN = 1000;
/** The largest certificate that is remembered, in bytes. */
const MAX_KNOWN_BYTES = 2048;

/** Everything derived from the bytes of a certificate alone. It is shared and must not be changed. */
export class KnownCertificate {
  /** The parsed certificate. */
  readonly certificate: Certificate;
  /** Its subject, in a form to look it up by. */
  readonly subject: string;
  /** Its issuer, in the same form. */
  readonly issuer: string;
  #key: KeyObject | null | undefined;
  #certificate256: string | undefined;
  #publicKey256: string | undefined;

  /** Parses a certificate in DER. */
  constructor(der: Uint8Array) {
    this.certificate = parseCertificate(der);
    this.subject = this.certificate.links.subject.toHex();
    this.issuer = this.certificate.links.issuer.toHex();
  }

  /** Its key; `null` if that can't be used. */
  get key(): KeyObject | null {
    if (this.#key === undefined) this.#key = publicKeyOf(this.certificate);
    return this.#key;
  }

  /** The SHA-256 of the whole certificate: `AB:CD:…`. */
  get certificate256(): string {
    return this.#certificate256 ??= fingerprint256(this.certificate.raw);
  }

  /** The SHA-256 of its SubjectPublicKeyInfo: `AB:CD:…`. */
  get publicKey256(): string {
    return this.#publicKey256 ??= fingerprint256(this.certificate.publicKey);
  }
}

const known = new Map<string, KnownCertificate>();

/**
 * Parses a certificate, or returns the remembered one with exactly the same bytes.
 *
 * @param der The certificate in DER.
 * @throws {RangeError} if it isn't one.
 */
export function readCertificate(der: Uint8Array): KnownCertificate {
  if (der.length > MAX_KNOWN_BYTES) return new KnownCertificate(der);
  const key = der.toHex();
  const found = known.get(key);
  if (found !== undefined) return found;
  const read = new KnownCertificate(der);
  known.set(key, read);
  forgetOldest(known, MAX_KNOWN);
  return read;
}
