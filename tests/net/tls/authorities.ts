/** Certificates of authorities that differ from those of devices, and leaves that they sign. */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyPairKeyObjectResult,
  sign,
} from "node:crypto";
import { formatPem } from "@degu/internal/net/tls/certificate.ts";
import { TAG } from "@degu/internal/net/tls/der.ts";
import { concat } from "@degu/testing/streams.ts";

export interface Deviation {
  /** Signing with Ed25519 takes a tenth of the time of P-256. */
  readonly key?: "P-384" | "P-521" | "RSA" | "Ed25519";
  readonly hash?: "SHA-384";
  /** The extensions in DER. */
  readonly extensions?: readonly Uint8Array[];
  /** The authority that signs, whose name is the issuer's. */
  readonly issuer?: TestAuthority;
  /** The name; if left out, a new one. */
  readonly name?: string;
  /** The keys; if left out, new ones. */
  readonly keys?: KeyPairKeyObjectResult;
  /** The first and the last moment, in days from now. */
  readonly valid?: readonly [from: number, to: number];
}

export interface TestAuthority {
  readonly name: string;
  readonly der: Uint8Array<ArrayBuffer>;
  readonly pem: string;
  readonly keyPem: string;
  readonly keys: KeyPairKeyObjectResult;
}

const DAY = 24 * 60 * 60 * 1000;
const OID = {
  commonName: "550403",
  clientAuth: "2b06010505070302",
  serverAuth: "2b06010505070301",
  rsa: "2a864886f70d01010b",
  ed25519: "2b6570",
  "SHA-256": "2a8648ce3d040302",
  "SHA-384": "2a8648ce3d040303",
  "SHA-512": "2a8648ce3d040304",
  keyUsage: "551d0f",
  basicConstraints: "551d13",
  extendedKeyUsage: "551d25",
  alternativeNames: "551d11",
  nameConstraints: "551d1e",
  any: "551d2500",
  unknown: "2b06010401868d1f01",
} as const;

function encodeElement(tag: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = concat(parts);
  const { length } = content;
  const digits = length < 256 ? [length] : [length >> 8, length & 255];
  const size = length < 128 ? digits : [0x80 + digits.length, ...digits];
  return concat([Uint8Array.of(tag, ...size), content]);
}

const decodeHex = (digits: string) => Uint8Array.fromHex(digits);
const encodeIdentifier = (name: keyof typeof OID) =>
  encodeElement(TAG.objectIdentifier, decodeHex(OID[name]));
const encodeSequence = (...parts: readonly Uint8Array[]) => encodeElement(TAG.sequence, ...parts);
const encodeInteger = (value: number) => encodeElement(TAG.integer, Uint8Array.of(value));
const TRUE = encodeElement(TAG.boolean, Uint8Array.of(255));

function encodeExtension(name: keyof typeof OID, critical: boolean, value: Uint8Array) {
  return encodeSequence(
    encodeIdentifier(name),
    ...critical ? [TRUE] : [],
    encodeElement(TAG.octetString, value),
  );
}

/**
 * Makes an encoder of the extension keyUsage. `bits` has, in hex, the number of unused bits, and
 * the bits (RFC 5280 §4.2.1.3).
 */
const makeKeyUsage = (bits: string) => () =>
  encodeExtension("keyUsage", true, encodeElement(TAG.bitString, decodeHex(bits)));

export const EXTENSIONS = {
  authority: (pathLength?: number) => {
    const limit = pathLength === undefined ? [] : [encodeInteger(pathLength)];
    return encodeExtension("basicConstraints", true, encodeSequence(TRUE, ...limit));
  },
  noAuthority: () => encodeExtension("basicConstraints", true, encodeSequence()),
  signsCertificates: makeKeyUsage("0106"),
  signsAlsoHandshakes: makeKeyUsage("0284"),
  signsLists: makeKeyUsage("0102"),
  enciphers: makeKeyUsage("0009"),
  signsHandshakes: makeKeyUsage("0780"),
  unknown: (critical: boolean, length = 2) =>
    encodeExtension("unknown", critical, new Uint8Array(length)),
  nameConstraints: (critical: boolean) =>
    // The permitted subtree is the dNSName "a".
    encodeExtension("nameConstraints", critical, decodeHex("3007a0053003820161")),
  alternativeNames: (der: Uint8Array) => encodeExtension("alternativeNames", false, der),
  isFor: (...purposes: readonly ("clientAuth" | "serverAuth" | "any")[]) =>
    encodeExtension("extendedKeyUsage", false, encodeSequence(...purposes.map(encodeIdentifier))),
} as const;

function encodeName(text: string): Uint8Array {
  const value = encodeElement(TAG.utf8String, new TextEncoder().encode(text));
  return encodeSequence(
    encodeElement(TAG.set, encodeSequence(encodeIdentifier("commonName"), value)),
  );
}

/** Encodes the time after a number of days. The format ends in 2049. */
function encodeTime(days: number): Uint8Array {
  const digits = new Date(Date.now() + days * DAY).toISOString().replaceAll(/\D/g, "").slice(2, 14);
  return encodeElement(TAG.utcTime, new TextEncoder().encode(`${digits}Z`));
}

/** Reads the stored keys, because making RSA keys takes as long as 150 certificates. */
function readRsaKeys(): KeyPairKeyObjectResult {
  const pem = Deno.readTextFileSync(new URL("rsa_2048.pem", import.meta.url));
  return { publicKey: createPublicKey(pem), privateKey: createPrivateKey(pem) };
}

/** Makes a certificate like a device's authority, with deviations. */
export function makeAuthority(deviation: Deviation = {}): TestAuthority {
  const { key = "P-256", issuer, name = crypto.randomUUID() } = deviation;
  const { extensions = [EXTENSIONS.authority(), EXTENSIONS.signsCertificates()] } = deviation;
  const keys = deviation.keys ??
    (key === "RSA"
      ? readRsaKeys()
      : key === "Ed25519"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("ec", { namedCurve: key }));
  const [from, to] = deviation.valid ?? [-1, 1];
  const signer = (issuer?.keys ?? keys).privateKey;
  // Deno supports P-521 only with SHA-512.
  const isLong = signer.asymmetricKeyDetails?.namedCurve === "secp521r1";
  const { hash = isLong ? "SHA-512" : "SHA-256" } = deviation;
  const type = signer.asymmetricKeyType;
  const algorithm = type === "rsa"
    ? encodeSequence(encodeIdentifier("rsa"), decodeHex("0500"))
    : encodeSequence(encodeIdentifier(type === "ed25519" ? type : hash));
  const content = encodeSequence(
    // The version is 3.
    decodeHex("a003020102"),
    encodeInteger(1),
    algorithm,
    encodeName(issuer?.name ?? name),
    encodeSequence(encodeTime(from), encodeTime(to)),
    encodeName(name),
    keys.publicKey.export({ type: "spki", format: "der" }),
    encodeElement(0xa3, encodeSequence(...extensions)),
  );
  const digest = type === "ed25519" ? null : hash.replace("-", "").toLowerCase();
  const signature = sign(digest, content, signer);
  const der = encodeSequence(
    content,
    algorithm,
    encodeElement(TAG.bitString, Uint8Array.of(0), signature),
  );
  return {
    ...{ name, der, pem: formatPem(der), keys },
    get keyPem() {
      return `${keys.privateKey.export({ type: "pkcs8", format: "pem" })}`;
    },
  };
}

/** Makes a certificate for a handshake, signed by an authority. */
export function makeLeaf(issuer: TestAuthority, name?: string): TestAuthority {
  const extensions = [
    EXTENSIONS.noAuthority(),
    EXTENSIONS.signsHandshakes(),
    EXTENSIONS.isFor("serverAuth", "clientAuth"),
  ];
  return makeAuthority({ issuer, extensions, ...(name === undefined ? {} : { name }) });
}
