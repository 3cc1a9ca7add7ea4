import {
  checkArray,
  checkString,
  copyOptions,
  makeChoiceCheck,
  notAllowedError,
  wrongTypeError,
} from "../../internal/checks.ts";
import type { KeyObject } from "node:crypto";
import {
  bytesOfIPAddress,
  canonicalizeDnsName,
  canonicalizeIPAddress,
} from "../../base/address.ts";
import { quote } from "../../internal/quote.ts";
import {
  type Certificate,
  EXTENSION,
  formatPem,
  isSelfIssued,
  parseCertificate,
  PURPOSE,
  readKeyBits,
} from "./certificate.ts";
import { encodeDer, encodeObjectIdentifier, readDer, TAG } from "./der.ts";
import { publicKeyOf, verifySignature } from "./keys.ts";
import { loadBuiltin } from "../transport/runtime.ts";

/** A certificate and its private key, both as PEM text. The private key is a secret. */
export interface PemPair {
  /** The certificate, which is not secret. */
  readonly certificate: string;
  /** The unencrypted key, as PKCS #8. */
  readonly privateKey: string;
}

/**
 * The names of a device and its organization. Each attribute has 1 to 64 characters (RFC 5280
 * appendix A.1), and no control characters. Trust no peer by its subject: an authority can issue
 * any subject.
 */
export interface CertificateSubject {
  /** The common name, such as the name of a device. */
  readonly commonName: string;
  /** The name of the organization. */
  readonly organization?: string | undefined;
}

/** What a certificate of {@linkcode createLeaf} is for. */
export interface LeafProfile {
  /** The names of the device. Clients look for the name of a server only in `alternativeNames`. */
  readonly subject: CertificateSubject;
  /** The purposes, at least one: `"serverAuth"` of a server, `"clientAuth"` of a client. */
  readonly purposes: readonly ("serverAuth" | "clientAuth")[];
  /**
   * The DNS names and IP addresses of a server (RFC 5280 §4.2.1.6), without wildcards.
   *
   * @default {[]}
   */
  readonly alternativeNames?: readonly string[] | undefined;
}

const encoder = new TextEncoder();

const VERSION_3 = Uint8Array.of(0xa0, 3, TAG.integer, 1, 2);
/** The AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 §3.2). */
const SIGNATURE_ALGORITHM = encodeSequence(encodeObjectIdentifier("1.2.840.10045.4.3.2"));
/**
 * The validity period: from 1970, the earliest time of a clock without a battery, and without an
 * end (RFC 5280 §4.1.2.5), because a user who no longer trusts a device removes the device.
 */
const VALIDITY = encodeSequence(
  encodeDer(TAG.utcTime, encoder.encode("700101000000Z")),
  encodeDer(TAG.generalizedTime, encoder.encode("99991231235959Z")),
);
const DER_TRUE = encodeDer(TAG.boolean, Uint8Array.of(0xff));
/** CA:TRUE, with a path length of 0 (RFC 5280 §4.2.1.9). */
const AUTHORITY_CONSTRAINTS = encodeSequence(DER_TRUE, encodeDer(TAG.integer, Uint8Array.of(0)));
const LEAF_CONSTRAINTS = encodeSequence();
/** The number of unused bits, and the bits (RFC 5280 §4.2.1.3). */
const KEY_CERT_SIGN_AND_CRL_SIGN = encodeDer(TAG.bitString, Uint8Array.of(1, 0x06));
const DIGITAL_SIGNATURE = encodeDer(TAG.bitString, Uint8Array.of(7, 0x80));

/**
 * Creates a certificate authority and its private key: ECDSA with P-256, `CA:TRUE`, and a path
 * length of 0, so that the authority can issue leaves, and no other authorities. Needs no
 * permission.
 *
 * The certificate is valid from 1970 on and doesn't expire (RFC 5280 §4.1.2.5), so that a device
 * with a wrong clock can use it. To end the trust in an authority, remove the authority from the
 * configurations that trust it.
 *
 * @param subject The subject, which should differ from the subjects of all other authorities.
 * @throws {TypeError} if the subject has a wrong type, or an unknown or wrong attribute.
 * @throws {RangeError} if an attribute is empty or too long, or has a control character.
 *
 * @example A server and a client that trust only each other's authority
 * ```ts
 * import { createAuthority, createLeaf } from "@degu/degu/certificates";
 * import { SSLClient, SSLServer } from "@degu/degu";
 * import { assertEquals } from "@std/assert";
 *
 * const serverAuthority = createAuthority({ commonName: "camera authority" });
 * const server = createLeaf(serverAuthority, {
 *   subject: { commonName: "camera" },
 *   purposes: ["serverAuth"],
 *   alternativeNames: ["camera.local", "127.0.0.1"],
 * });
 * const clientAuthority = createAuthority({ commonName: "viewer authority" });
 * const client = createLeaf(clientAuthority, {
 *   subject: { commonName: "viewer" },
 *   purposes: ["clientAuth"],
 * });
 *
 * await using sslServer = await SSLServer.start(
 *   { cert: server.certificate, key: server.privateKey, ca: clientAuthority.certificate },
 *   ["127.0.0.1", 0],
 *   () => [204, "No Content", {}, null],
 * );
 * const sslClient = new SSLClient(
 *   { cert: client.certificate, key: client.privateKey, ca: serverAuthority.certificate },
 *   sslServer.address,
 * );
 * assertEquals((await sslClient.get("/")).status, 204);
 * ```
 */
export function createAuthority(subject: CertificateSubject): PemPair {
  const name = encodeDistinguishedName(checkSubject(subject));
  const { publicKey, privateKey } = generateKeys();
  const der = signCertificate({
    issuer: name,
    subject: name,
    publicKey,
    extensions: [
      encodeExtension("basicConstraints", AUTHORITY_CONSTRAINTS, DER_TRUE),
      encodeExtension("keyUsage", KEY_CERT_SIGN_AND_CRL_SIGN, DER_TRUE),
      encodeExtension("subjectKeyIdentifier", encodeKeyIdentifier(TAG.octetString, publicKey)),
    ],
  }, privateKey);
  return { certificate: formatPem(der), privateKey: exportKey(privateKey) };
}

/**
 * Creates a private key, and a certificate that an authority of {@linkcode createAuthority} signs.
 * The certificate doesn't expire, and can't sign other certificates. Needs no permission.
 *
 * @param authority The authority and its private key.
 * @param profile The subject, the purposes and the names.
 * @throws {TypeError} if an argument or a property is of a wrong type, or a property is unknown.
 * @throws {RangeError} if the authority has another form or private key; if there is no purpose; or
 * if a part of the profile can't be in a certificate. The message doesn't quote the authority.
 *
 * @example
 * ```ts
 * import { createAuthority, createLeaf } from "@degu/degu/certificates";
 * import { assertEquals } from "@std/assert";
 * import { X509Certificate } from "node:crypto";
 *
 * const authority = createAuthority({ commonName: "camera authority" });
 * const { certificate } = createLeaf(authority, {
 *   subject: { commonName: "camera" },
 *   purposes: ["serverAuth"],
 *   alternativeNames: ["camera.local"],
 * });
 * assertEquals(new X509Certificate(certificate).checkHost("camera.local"), "camera.local");
 * ```
 */
export function createLeaf(authority: PemPair, profile: LeafProfile): PemPair {
  const { issuer, issuerKey } = readIssuer(authority);
  const { subject, purposes, alternativeNames } = checkProfile(profile);
  const { publicKey, privateKey } = generateKeys();
  const purposeIdentifiers = purposes.map((purpose) => encodeObjectIdentifier(PURPOSE[purpose]));
  const extensions = [
    encodeExtension("basicConstraints", LEAF_CONSTRAINTS, DER_TRUE),
    encodeExtension("keyUsage", DIGITAL_SIGNATURE, DER_TRUE),
    encodeExtension("extendedKeyUsage", encodeSequence(...purposeIdentifiers)),
    encodeExtension("subjectKeyIdentifier", encodeKeyIdentifier(TAG.octetString, publicKey)),
    // [0] is the identifier of the issuer's key.
    encodeExtension(
      "authorityKeyIdentifier",
      encodeSequence(encodeKeyIdentifier(0x80, issuer.publicKey)),
    ),
  ];
  if (alternativeNames.length > 0) {
    const names = alternativeNames.map(({ type, value }) =>
      type === "dns"
        ? encodeDer(0x82, encoder.encode(value))
        : encodeDer(0x87, Uint8Array.from(bytesOfIPAddress(value)))
    );
    extensions.push(encodeExtension("subjectAltName", encodeSequence(...names)));
  }
  const der = signCertificate({
    issuer: encodeDer(TAG.sequence, Uint8Array.fromHex(issuer.subjectDer)),
    subject: encodeDistinguishedName(subject),
    publicKey,
    extensions,
  }, issuerKey);
  return { certificate: formatPem(der), privateKey: exportKey(privateKey) };
}

const MAX_ATTRIBUTE_CHARACTERS = 64;

function checkSubject(given: CertificateSubject): CertificateSubject {
  const subject = copyOptions(given, ["commonName", "organization"], "subject");
  checkAttribute("subject.commonName", subject.commonName);
  if (subject.organization !== undefined) {
    checkAttribute("subject.organization", subject.organization);
  }
  return subject;
}

function checkAttribute(label: string, value: string): void {
  checkString(label, value);
  const { length } = [...value];
  if (length === 0 || length > MAX_ATTRIBUTE_CHARACTERS) {
    const problem = `must have 1 to ${MAX_ATTRIBUTE_CHARACTERS} characters; got ${length}`;
    throw notAllowedError(label, problem);
  }
  if (!value.isWellFormed() || /\p{Cc}/u.test(value)) {
    throw notAllowedError(label, `must have no control characters; got ${quote(value)}`);
  }
}

const checkPurpose = makeChoiceCheck(...Object.keys(PURPOSE));

function checkProfile(given: LeafProfile) {
  const names = ["subject", "purposes", "alternativeNames"];
  const { subject, purposes, alternativeNames = [] } = copyOptions(given, names, "profile");
  checkArray("purposes", purposes);
  purposes.forEach((purpose, index) => checkPurpose(`purposes[${index}]`, purpose));
  if (purposes.length === 0) throw notAllowedError("purposes", "must have at least one; got none");
  checkArray("alternativeNames", alternativeNames);
  const parsedNames = alternativeNames.map((name, index) => {
    checkString(`alternativeNames[${index}]`, name);
    return parseAlternativeName(`alternativeNames[${index}]`, name);
  });
  return {
    subject: checkSubject(subject),
    purposes: [...new Set(purposes)],
    alternativeNames: [...new Map(parsedNames.map((name) => [name.value, name])).values()],
  };
}

function readIssuer(given: PemPair): { issuer: Certificate; issuerKey: KeyObject } {
  const { createPrivateKey, X509Certificate } = loadBuiltin("node:crypto");
  const authority = copyOptions(given, ["certificate", "privateKey"], "authority");
  checkString("authority.certificate", authority.certificate);
  checkString("authority.privateKey", authority.privateKey);
  let certificate, issuerKey;
  try {
    certificate = new X509Certificate(authority.certificate);
    issuerKey = createPrivateKey(authority.privateKey);
  } catch {
    throw notAllowedError("authority", "must be a certificate and a private key in PEM form");
  }
  const der = Uint8Array.from(certificate.raw);
  const problem = findAuthorityFormProblem(der) ??
    (certificate.checkPrivateKey(issuerKey) ? null : "the private key is of another certificate");
  if (problem === null) return { issuer: parseCertificate(der), issuerKey };
  throw notAllowedError("authority", `must be an authority of createAuthority(): ${problem}`);
}

function signCertificate(
  fields: {
    readonly issuer: Uint8Array;
    readonly subject: Uint8Array;
    readonly publicKey: Uint8Array;
    readonly extensions: readonly Uint8Array[];
  },
  key: KeyObject,
): Uint8Array {
  const { sign } = loadBuiltin("node:crypto");
  const signedPart = encodeSequence(
    VERSION_3,
    encodeDer(TAG.integer, makeSerialNumber()),
    SIGNATURE_ALGORITHM,
    fields.issuer,
    VALIDITY,
    fields.subject,
    fields.publicKey,
    encodeDer(0xa3, encodeSequence(...fields.extensions)),
  );
  const signature = encodeDer(TAG.bitString, Uint8Array.of(0), sign("sha256", signedPart, key));
  return encodeSequence(signedPart, SIGNATURE_ALGORITHM, signature);
}

function generateKeys(): { publicKey: Uint8Array; privateKey: KeyObject } {
  const { generateKeyPairSync } = loadBuiltin("node:crypto");
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { publicKey: publicKey.export({ type: "spki", format: "der" }), privateKey };
}

function exportKey(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string; // PEM is text
}

function encodeSequence(...pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return encodeDer(TAG.sequence, ...pieces);
}

function encodeExtension(
  type: keyof typeof EXTENSION,
  value: Uint8Array,
  ...critical: [typeof DER_TRUE] | []
): Uint8Array {
  const id = encodeObjectIdentifier(EXTENSION[type]);
  return encodeSequence(id, ...critical, encodeDer(TAG.octetString, value));
}

/** Encodes the SHA-1 of the bits of a key, by which the key is looked up (RFC 5280 §4.2.1.2). */
function encodeKeyIdentifier(tag: number, publicKey: Uint8Array): Uint8Array {
  const { createHash } = loadBuiltin("node:crypto");
  return encodeDer(tag, createHash("sha1").update(readDer(publicKey, readKeyBits)).digest());
}

function encodeDistinguishedName({ organization, commonName }: CertificateSubject): Uint8Array {
  const encodeAttribute = (type: string, value: string) => {
    const string = encodeDer(TAG.utf8String, encoder.encode(value));
    return encodeDer(TAG.set, encodeSequence(encodeObjectIdentifier(type), string));
  };
  const name = encodeAttribute("2.5.4.3", commonName);
  if (organization === undefined) return encodeSequence(name);
  return encodeSequence(encodeAttribute("2.5.4.10", organization), name);
}

/**
 * The first two bits are 0 and 1, so that the integer is positive, without a leading zero byte (RFC
 * 5280 §4.1.2.2).
 */
function makeSerialNumber(): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0]! &= 0x3f;
  bytes[0]! |= 0x40;
  return bytes;
}

/** An entry of a certificate's subjectAltName (RFC 5280 §4.2.1.6), in canonical form. */
export interface AlternativeName {
  readonly type: "dns" | "ip";
  readonly value: string;
}

/**
 * A DNS name has letters, digits, hyphens and dots only (RFC 1123 §2.1): no wildcard, no trailing
 * dot, and no last label of digits, which could be taken for an IPv4 address.
 */
export function parseAlternativeName(label: string, text: string): AlternativeName {
  const address = canonicalizeIPAddress(text);
  if (address !== null) return { type: "ip", value: address };
  const name = text.endsWith(".") ? null : canonicalizeDnsName(text);
  if (name !== null && name.split(".").every((label) => HOST_LABEL.test(label))) {
    return { type: "dns", value: name };
  }
  throw notAllowedError(label, `must be a DNS name or an IP address; got ${quote(text)}`);
}

/** Host names in certificates must not have underscores, nor a hyphen at either end of a label. */
export const HOST_LABEL = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/**
 * The maximum size of an authority's certificate; the certificates of {@linkcode createAuthority}
 * have about 500 bytes.
 */
const MAX_AUTHORITY_BYTES = 2048;

/**
 * The SubjectPublicKeyInfo of a key on P-256, up to its two coordinates (RFC 5480 §2). The second
 * byte is the length of the remainder.
 */
const P256_KEY_PREFIX = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";

/**
 * Finds the reason why a certificate doesn't have the form of an authority of
 * {@linkcode createAuthority}; `null` if it has this form. Call this function before you trust an
 * authority that a peer has sent: all certificates that a trusted authority signs are accepted.
 *
 * The form is: version 3, a key on P-256 with both coordinates, signed with that key (ECDSA with
 * SHA-256), CA:TRUE and keyCertSign, no name constraints, no unknown critical extension, and at
 * most 2048 bytes. The reason doesn't quote the bytes. The form doesn't show who has made the
 * authority: compare its `publicKey256` with the value that you expect.
 *
 * @param der The certificate, in DER.
 * @throws {TypeError} if the argument isn't a `Uint8Array`.
 *
 * @example
 * ```ts
 * import { createAuthority, createLeaf, findAuthorityFormProblem } from "@degu/degu/certificates";
 * import { assertEquals } from "@std/assert";
 * import { X509Certificate } from "node:crypto";
 *
 * const derOf = (pem: string) => Uint8Array.from(new X509Certificate(pem).raw);
 * const authority = createAuthority({ commonName: "camera authority" });
 * assertEquals(findAuthorityFormProblem(derOf(authority.certificate)), null);
 *
 * const subject = { commonName: "camera" };
 * const leaf = createLeaf(authority, { subject, purposes: ["serverAuth"] });
 * const problem = findAuthorityFormProblem(derOf(leaf.certificate));
 * assertEquals(problem, "its basicConstraints don't have CA:TRUE");
 * ```
 */
export function findAuthorityFormProblem(der: Uint8Array): string | null {
  if (!(der instanceof Uint8Array)) throw wrongTypeError("der", "a Uint8Array", der);
  if (der.length > MAX_AUTHORITY_BYTES) {
    return `it has ${der.length} bytes; at most ${MAX_AUTHORITY_BYTES} are allowed`;
  }
  const { X509Certificate } = loadBuiltin("node:crypto");
  let certificate;
  try {
    // Two parsers must agree on the certificate.
    new X509Certificate(der);
    certificate = parseCertificate(der);
    checkAuthorityForm(certificate);
  } catch {
    return "it can't be read as one certificate in DER";
  }
  const { version, publicKey, isAuthority, hasKeyUsage, maySignCertificates, uncheckedExtension } =
    certificate;
  if (version !== 3) return `it must have version 3; got ${version}`;
  if (!publicKey.toHex().startsWith(P256_KEY_PREFIX)) {
    return "its key is not on P-256 with both coordinates";
  }
  if (!isAuthority) return "its basicConstraints don't have CA:TRUE";
  if (!hasKeyUsage || !maySignCertificates) return "its keyUsage doesn't say keyCertSign";
  if (uncheckedExtension !== null) {
    return "it has constraints on names or an unknown critical extension";
  }
  if (!isSelfIssued(certificate)) return "another authority has issued it";
  const key = publicKeyOf(certificate);
  const isSigned = key !== null && verifySignature(certificate, key);
  return isSigned ? null : "it is not signed with its own key";
}

function checkAuthorityForm({ signedPart }: Certificate): void {
  const algorithm = readDer(signedPart, (reader) =>
    reader.readNested(TAG.sequence, (fields) => {
      fields.readContent(0xa0);
      fields.readInteger();
      const algorithm = fields.readWhole(TAG.sequence);
      for (let i = 0; i < 4; i++) fields.readContent(TAG.sequence);
      fields.readContent(0xa3);
      return algorithm;
    }));
  if (algorithm.toHex() !== SIGNATURE_ALGORITHM.toHex()) {
    throw new RangeError("the certificate has another form");
  }
}
