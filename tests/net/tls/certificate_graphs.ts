/** Certificates with each kind of key and signature, and in forms that aren't DER. */

import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { concat } from "@degu/testing/streams.ts";

// ───────────────────────── DER

const hex = (digits: string) => Uint8Array.fromHex(digits.replaceAll(" ", ""));

export function encode(tag: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = concat(parts);
  const { length } = content;
  const digits = length < 0x100 ? [length] : [length >> 8, length & 255];
  const size = length < 0x80 ? digits : [0x80 + digits.length, ...digits];
  return concat([Uint8Array.of(tag, ...size), content]);
}

const sequence = (...parts: readonly Uint8Array[]) => encode(0x30, ...parts);
const identifier = (digits: string) => encode(6, hex(digits));
const text = (value: string) => new TextEncoder().encode(value);

const OID = {
  keyUsage: "551d0f",
  alternativeNames: "551d11",
  basicConstraints: "551d13",
  nameConstraints: "551d1e",
  policies: "551d20",
  authorityKeyId: "551d23",
  subjectKeyId: "551d0e",
  extendedKeyUsage: "551d25",
  unknown: "2b06010401868d1f01",
  clientAuth: "2b06010505070302",
  serverAuth: "2b06010505070301",
  any: "551d2500",
  codeSigning: "2b06010505070303",
} as const;

function extension(name: keyof typeof OID, isCritical: boolean, value: Uint8Array): Uint8Array {
  return sequence(identifier(OID[name]), ...isCritical ? [hex("0101ff")] : [], encode(4, value));
}

export function encodeName(commonName: string): Uint8Array {
  return sequence(
    encode(0x31, sequence(identifier("550403"), encode(0x0c, text(commonName)))),
  );
}

const DAY = 24 * 60 * 60 * 1000;

function encodeDays(days: number): Uint8Array {
  const digits = new Date(Date.now() + days * DAY).toISOString().replaceAll(/\D/g, "");
  return encode(0x17, text(`${digits.slice(2, 14)}Z`));
}

// ───────────────────────── keys and signatures

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export type KeyKind =
  | "P-256"
  | "P-384"
  | "P-521"
  | "secp256k1"
  | "Ed25519"
  | "RSA-1024"
  | "RSA-2048"
  | "RSA-4096"
  | "RSA-4098"
  | "RSA-PSS";

const RSA_FILES = {
  "RSA-2048": "rsa_2048.pem",
  "RSA-4096": "rsa_4096.pem",
  "RSA-4098": "rsa_4098.pem",
} as const;

/** Keys, which are generated once: keys of RSA with 4096 and 4098 bits are read from files. */
export class KeyRing {
  readonly #keys = new Map<string, KeyPair>();

  get(kind: KeyKind, index: number): KeyPair {
    // One key is enough of the kinds that are slow.
    const name = kind.startsWith("RSA") ? kind : `${kind} ${index}`;
    return this.#keys.getOrInsertComputed(name, () => makeKeys(kind));
  }
}

function makeKeys(kind: KeyKind): KeyPair {
  switch (kind) {
    case "Ed25519":
      return generateKeyPairSync("ed25519");
    case "RSA-1024":
      return generateKeyPairSync("rsa", { modulusLength: 1024 });
    case "RSA-PSS":
      return generateKeyPairSync("rsa-pss", { modulusLength: 2048 });
    case "RSA-2048":
    case "RSA-4096":
    case "RSA-4098": {
      const pem = Deno.readTextFileSync(new URL(RSA_FILES[kind], import.meta.url));
      const privateKey = createPrivateKey(pem);
      // Deno reads no public key above 4096 bits.
      const publicKey = kind === "RSA-4098" ? privateKey : createPublicKey(pem);
      return { publicKey, privateKey };
    }
    default:
      return generateKeyPairSync("ec", { namedCurve: kind });
  }
}

/** Encodes the SubjectPublicKeyInfo; of RSA with 4098 bits, from the numbers of the private key. */
function encodePublicKey({ publicKey, privateKey }: KeyPair): Uint8Array {
  if (publicKey.type === "public") return publicKey.export({ type: "spki", format: "der" });
  const der = new Uint8Array(privateKey.export({ type: "pkcs1", format: "der" }) as Uint8Array);
  // RSAPrivateKey begins with the version, the modulus and the exponent (RFC 8017 §A.1.2).
  const start = 7;
  const modulusEnd = start + 4 + (der[start + 2]! << 8 | der[start + 3]!);
  const numbers = der.subarray(start, modulusEnd + 2 + der[modulusEnd + 1]!);
  return sequence(
    sequence(identifier("2a864886f70d010101"), hex("0500")),
    encode(3, hex("00"), sequence(numbers)),
  );
}

export type SignatureKind = "sha1" | "sha256" | "sha384" | "sha512" | "pss256" | "pss384";

const ECDSA = {
  sha1: "2a8648ce3d0401",
  sha256: "2a8648ce3d040302",
  sha384: "2a8648ce3d040303",
  sha512: "2a8648ce3d040304",
};
const RSA = {
  sha1: "2a864886f70d010105",
  sha256: "2a864886f70d01010b",
  sha384: "2a864886f70d01010c",
  sha512: "2a864886f70d01010d",
};

/** The AlgorithmIdentifier of a signature, and the function that signs. */
function findSigner(
  { privateKey }: KeyPair,
  kind: SignatureKind,
): { algorithm: Uint8Array; sign: (data: Uint8Array) => Uint8Array } {
  const type = privateKey.asymmetricKeyType;
  if (type === "ed25519") {
    return {
      algorithm: sequence(identifier("2b6570")),
      sign: (data) => sign(null, data, privateKey),
    };
  }
  const isPss = kind.startsWith("pss") || type === "rsa-pss";
  const hash = isPss ? `sha${kind.slice(3)}` : kind;
  if (type === "ec") {
    // Deno signs only a hash that has at least half of the bits of the key.
    const minHash = { secp384r1: "sha256", secp521r1: "sha512" }[
      privateKey.asymmetricKeyDetails?.namedCurve ?? ""
    ] ?? "sha1";
    const ecHash = (hash < minHash ? minHash : hash) as keyof typeof ECDSA;
    return {
      algorithm: sequence(identifier(ECDSA[ecHash])),
      sign: (data) => sign(ecHash, data, privateKey),
    };
  }
  if (!isPss) {
    return {
      algorithm: sequence(identifier(RSA[hash as keyof typeof RSA]), hex("0500")),
      sign: (data) => sign(hash, data, privateKey),
    };
  }
  const size = hash === "sha384" ? 48 : 32;
  const digest = sequence(identifier(size === 48 ? "608648016503040202" : "608648016503040201"));
  const parameters = sequence(
    encode(0xa0, digest),
    encode(0xa1, sequence(identifier("2a864886f70d010108"), digest)),
    encode(0xa2, encode(2, Uint8Array.of(size))),
  );
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return {
    algorithm: sequence(identifier("2a864886f70d01010a"), parameters),
    sign: (data) => sign(`sha${size * 8}`, data, { key: privateKey, padding, saltLength: size }),
  };
}

// ───────────────────────── certificates

/** The fields of a certificate before it is signed, which an oddity changes. */
interface Fields {
  version: Uint8Array;
  serial: Uint8Array;
  algorithm: Uint8Array;
  issuer: Uint8Array;
  validity: Uint8Array;
  subject: Uint8Array;
  publicKey: Uint8Array;
  uniqueIds: Uint8Array;
  extensions: Uint8Array[];
  suffix: Uint8Array;
}

interface Parts {
  signedPart: Uint8Array;
  algorithm: Uint8Array;
  signature: Uint8Array;
}

/** A form that isn't usual, or isn't DER: it changes the fields, the parts or the whole. */
export interface Oddity {
  readonly fields?: (fields: Fields) => void;
  readonly parts?: (parts: Parts) => void;
  readonly whole?: (der: Uint8Array) => Uint8Array;
}

const replaceExtension = (name: keyof typeof OID, value: Uint8Array) => (fields: Fields) => {
  const prefix = identifier(OID[name]).toHex();
  const others = fields.extensions.filter((each) => !each.toHex().includes(prefix));
  fields.extensions = [...others, value];
};
const withExtension = (name: keyof typeof OID, digits: string, critical = "0101ff"): Oddity => ({
  fields: replaceExtension(
    name,
    sequence(identifier(OID[name]), hex(critical), encode(4, hex(digits))),
  ),
});
const withNames = (digits: string) => withExtension("alternativeNames", digits, "");
const withTimes = (from: string, to = "20490101000000Z"): Oddity => ({
  fields: (fields) => {
    const time = (value: string) => encode(/^\d{14}|[.+]/.test(value) ? 0x18 : 0x17, text(value));
    fields.validity = sequence(time(from), time(to));
  },
});
const withSubjectValue = (tag: number, digits: string): Oddity => ({
  fields: (fields) => {
    const value = encode(tag, hex(digits));
    fields.subject = sequence(encode(0x31, sequence(identifier("550403"), value)));
  },
});
/** Writes the length of the outermost element with one byte more than necessary. */
const lengthen = (der: Uint8Array) =>
  der[1]! < 0x80 ? concat([der.subarray(0, 1), Uint8Array.of(0x81), der.subarray(1)]) : concat([
    Uint8Array.of(der[0]!, der[1]! + 1, 0),
    der.subarray(2),
  ]);

/** The names determine the graphs: a name more would change every graph. */
export const ODDITIES: Readonly<Record<string, Oddity>> = {
  "padded serial": { fields: (fields) => fields.serial = hex("0202 0001") },
  "empty serial": { fields: (fields) => fields.serial = hex("0200") },
  "negative serial": { fields: (fields) => fields.serial = hex("0201 ff") },
  "zero serial": { fields: (fields) => fields.serial = hex("0201 00") },
  "serial of 21 bytes": { fields: (fields) => fields.serial = hex(`0215 ${"11".repeat(21)}`) },
  "long serial length": { fields: (fields) => fields.serial = hex("028101 01") },
  "version 1 with extensions": { fields: (fields) => fields.version = hex("") },
  "version 1": {
    fields: (fields) => {
      fields.version = hex("");
      fields.extensions = [];
    },
  },
  "version 1 written": { fields: (fields) => fields.version = hex("a003 020100") },
  "version 2": { fields: (fields) => fields.version = hex("a003 020101") },
  "version 4": { fields: (fields) => fields.version = hex("a003 020103") },
  "padded version": { fields: (fields) => fields.version = hex("a004 02020002") },
  "a field in the version": { fields: (fields) => fields.version = hex("a005 020102 0500") },
  "no extensions": { fields: (fields) => fields.extensions = [] },
  "unique identifiers": { fields: (fields) => fields.uniqueIds = hex("810200aa 820200bb") },
  "a field after the extensions": { fields: (fields) => fields.suffix = hex("0500") },
  "empty subject": { fields: (fields) => fields.subject = sequence() },
  "a subject with a line feed": withSubjectValue(0x0c, "610a62"),
  "a subject in invalid UTF-8": withSubjectValue(0x0c, "ff61"),
  "a subject in UTF-16": withSubjectValue(0x1e, "00610062"),
  "a subject in half of UTF-16": withSubjectValue(0x1e, "006100"),
  "a subject in Latin-1": withSubjectValue(0x14, "e9"),
  "a subject of a number": withSubjectValue(0x02, "01"),
  "an empty subject value": withSubjectValue(0x0c, ""),
  "a subject of two values": {
    fields: (fields) => {
      const value = (type: string) => sequence(identifier(type), encode(0x0c, text(type)));
      fields.subject = sequence(
        encode(0x31, value("55040a"), value("550403")),
        encode(0x31, value("550403")),
        encode(0x31, value("2b0601")),
      );
    },
  },
  "February 31": withTimes("200231000000Z"),
  "no seconds": withTimes("2002280000Z"),
  "a GeneralizedTime before 2050": withTimes("20200228000000Z"),
  "a fraction of a second": withTimes("20200228000000.5Z"),
  "a time zone": withTimes("20200228000000+0100"),
  "24 hours": withTimes("200228240000Z"),
  "a leap second": withTimes("161231235960Z"),
  "the end before the start": withTimes("300101000000Z", "200101000000Z"),
  "no end": withTimes("200101000000Z", "99991231235959Z"),
  "the year 0": withTimes("00000101000000Z"),
  "critical is 1": withExtension("basicConstraints", "3003 0101ff", "010101"),
  "critical is false": withExtension("basicConstraints", "3003 0101ff", "010100"),
  "CA is 1": withExtension("basicConstraints", "3003 010101"),
  "CA is false": withExtension("basicConstraints", "3003 010100"),
  "CA of two bytes": withExtension("basicConstraints", "3004 0102ffff"),
  "a pathlen without CA": withExtension("basicConstraints", "3003 020105"),
  "a pathlen of -1": withExtension("basicConstraints", "3006 0101ff 0201ff"),
  "a padded pathlen": withExtension("basicConstraints", "3007 0101ff 02020001"),
  "a pathlen of 128": withExtension("basicConstraints", "3007 0101ff 02020080"),
  "a pathlen of 2^64": withExtension("basicConstraints", `300e 0101ff 0209 01${"00".repeat(8)}`),
  "a field after the pathlen": withExtension("basicConstraints", "3008 0101ff 020101 0500"),
  "a byte after the constraints": withExtension("basicConstraints", "3003 0101ff 00"),
  "empty constraints": withExtension("basicConstraints", ""),
  "constraints in a set": withExtension("basicConstraints", "3103 0101ff"),
  "two constraints": {
    fields: ({ extensions }) => extensions.push(extension("basicConstraints", true, hex("3000"))),
  },
  "a usage with an undefined bit": withExtension("keyUsage", "0302 0187"),
  "a usage of no bits": withExtension("keyUsage", "0301 00"),
  "a usage of no bytes": withExtension("keyUsage", "0300"),
  "a usage of nine bits": withExtension("keyUsage", "0303 078480"),
  "a usage of all bits, padded": withExtension("keyUsage", "0303 00 8400"),
  "a usage with 8 unused bits": withExtension("keyUsage", "0302 0884"),
  "a usage of lists": withExtension("keyUsage", "0302 0102"),
  "a usage twice in one": withExtension("keyUsage", "0302 0284 0302 0284"),
  "no purpose": withExtension("extendedKeyUsage", "3000", ""),
  "any purpose": withExtension("extendedKeyUsage", "3006 0604551d2500", ""),
  "a padded purpose": withExtension("extendedKeyUsage", "300b 0609 802b06010505070302", ""),
  "a truncated purpose": withExtension("extendedKeyUsage", "300a 0608 2b06010505070382", ""),
  "an empty purpose": withExtension("extendedKeyUsage", "3002 0600", ""),
  "a critical purpose": withExtension(
    "extendedKeyUsage",
    "3014 06082b06010505070301 06082b06010505070302",
  ),
  "a purpose of another type": withExtension("extendedKeyUsage", "300a 0408 2b06010505070302", ""),
  "no names": withNames("3000"),
  "names in a set": withNames("3103 820161"),
  "a name with a comma": withNames(`300f 820d ${text("a, DNS:b.test").toHex()}`),
  "a name with a zero byte": withNames("3005 8203 610062"),
  "an address of five bytes": withNames("3007 8705 7f00000101"),
  "an address of four bytes": withNames("3006 8704 7f000001"),
  "a name in UTF-8": withNames("3004 8202 c3a9"),
  "a constructed name": withNames("3005 a203 820161"),
  "a universal name": withNames("3003 020161"),
  "names of each type": withNames(
    "3020 a005 0603550403 810161 820162 860163 8704 7f000001 88032a0304 a502 3000",
  ),
  "a directory name": withNames("3012 a410 300e 310c 300a 0603550403 0c03616263"),
  "a directory name in another form": withNames("3005 a403 020101"),
  "a registered identifier of no bytes": withNames("3002 8800"),
  "a byte after the names": withNames("3003 820161 00"),
  "critical names": withExtension("alternativeNames", "3003 820161"),
  "an empty authority key identifier": withExtension("authorityKeyId", "3000", ""),
  "another authority key identifier": withExtension("authorityKeyId", "3003 8001aa", ""),
  "an authority key identifier with a field": withExtension(
    "authorityKeyId",
    "3005 8001aa 8500",
    "",
  ),
  "an issuer and a serial number": withExtension(
    "authorityKeyId",
    "300b 8001aa a103 820161 820101",
    "",
  ),
  "a critical authority key identifier": withExtension("authorityKeyId", "3003 8001aa"),
  "a subject key identifier in another form": withExtension("subjectKeyId", "0301 00", ""),
  "an empty subject key identifier": withExtension("subjectKeyId", "0400", ""),
  "a critical subject key identifier": withExtension("subjectKeyId", "0401 aa"),
  "critical policies": withExtension("policies", "3006 3004 0602 2a03"),
  "policies": withExtension("policies", "3006 3004 0602 2a03", ""),
  "name constraints": withExtension("nameConstraints", "3007 a005 3003 820161", ""),
  "critical name constraints": withExtension("nameConstraints", "3007 a005 3003 820161"),
  "an unknown extension": withExtension("unknown", "0500", ""),
  "an unknown extension of odd bytes": withExtension("unknown", "3080 ff", ""),
  "an unknown critical extension": withExtension("unknown", "0500"),
  "an extension without a value": {
    fields: ({ extensions }) => extensions.push(sequence(identifier("2a0305"))),
  },
  "a field after the value of an extension": {
    fields: ({ extensions }) => extensions.push(sequence(identifier("2a0305"), hex("0400 0500"))),
  },
  "an extension whose type is padded": {
    fields: ({ extensions }) => extensions.push(sequence(identifier("2a800305"), hex("0400"))),
  },
  "an extension with a long length": {
    fields: ({ extensions }) =>
      extensions.push(lengthen(sequence(identifier("2a0305"), hex("0400")))),
  },
  "an extension of an indefinite length": {
    fields: ({ extensions }) => extensions.push(hex("3080 06032a0305 0400 0000")),
  },
  "an extension with a long tag": {
    fields: ({ extensions }) => extensions.push(hex("3f1007 06032a0305 0400")),
  },
  "a key with unused bits": {
    fields: (fields) =>
      fields.publicKey = replaceKeyBits(fields.publicKey, (bits) => bits.with(0, 1)),
  },
  "a key with a byte more": {
    fields: (fields) =>
      fields.publicKey = replaceKeyBits(fields.publicKey, (bits) => concat([bits, hex("00")])),
  },
  "a key with a field more": {
    fields: (fields) =>
      fields.publicKey = encode(
        0x30,
        fields.publicKey.subarray(headerSize(fields.publicKey)),
        hex("0500"),
      ),
  },
  "a compressed key": { fields: (fields) => fields.publicKey = compressKey(fields.publicKey) },
  "another algorithm in the signed part": {
    fields: (fields) => fields.algorithm = sequence(identifier(ECDSA.sha384)),
  },
  "another algorithm": {
    parts: (parts) => parts.algorithm = sequence(identifier(ECDSA.sha384)),
  },
  "an algorithm with parameters": {
    fields: (fields) => fields.algorithm = sequence(fields.algorithm.subarray(2), hex("0500")),
    parts: (parts) => parts.algorithm = sequence(parts.algorithm.subarray(2), hex("0500")),
  },
  "a changed signature": {
    parts: (parts) => parts.signature = parts.signature.with(20, parts.signature[20]! ^ 1),
  },
  "a signature with a byte more": {
    parts: (parts) => parts.signature = concat([parts.signature, hex("00")]),
  },
  "a signature with a long length": {
    parts: (parts) => parts.signature = lengthen(parts.signature),
  },
  "a changed signed part": {
    parts: (parts) =>
      parts.signedPart = parts.signedPart.with(
        -1 + parts.signedPart.length,
        parts.signedPart.at(-1)! ^ 1,
      ),
  },
  "a byte after the certificate": { whole: (der) => concat([der, hex("00")]) },
  "a field after the signature": {
    whole: (der) => encode(0x30, der.subarray(headerSize(der)), hex("0500")),
  },
  "a signature with unused bits": {
    whole: (der) => {
      const start = der.length - signatureSizes.get(der)!;
      return der.with(start, 1).with(der.length - 1, der.at(-1)! & 0xfe);
    },
  },
  "a long length": { whole: lengthen },
  "an indefinite length": {
    whole: (der) => concat([hex("3080"), der.subarray(headerSize(der)), hex("0000")]),
  },
  "half of it": { whole: (der) => der.subarray(0, der.length >> 1) },
  "nothing": { whole: () => new Uint8Array() },
};

/** The number of bytes of the signature with its number of unused bits. */
const signatureSizes = new WeakMap<Uint8Array, number>();

function headerSize(der: Uint8Array): number {
  return der[1]! < 0x80 ? 2 : 2 + (der[1]! & 0x7f);
}

/** Replaces the content of the bit string of a SubjectPublicKeyInfo. */
function replaceKeyBits(der: Uint8Array, replace: (bits: Uint8Array) => Uint8Array): Uint8Array {
  const content = der.subarray(headerSize(der));
  const algorithm = content.subarray(0, 2 + content[1]!);
  const bits = content.subarray(algorithm.length);
  return sequence(algorithm, encode(3, replace(bits.slice(headerSize(bits)))));
}

/** Leaves out the second coordinate of a key of ECDSA (RFC 5480 §2.2). */
function compressKey(der: Uint8Array): Uint8Array {
  return replaceKeyBits(der, (bits) => {
    if (bits[1] !== 4) return bits;
    const size = (bits.length - 2) / 2;
    return concat([Uint8Array.of(0, 2 + bits.at(-1)! % 2), bits.subarray(2, 2 + size)]);
  });
}

export type Purpose = "clientAuth" | "serverAuth" | "any" | "codeSigning";

export interface CertificateOptions {
  readonly keys: KeyPair;
  readonly name: string;
  /** The signer; if left out, the certificate signs itself. */
  readonly issuer?: { readonly name: string; readonly keys: KeyPair } | undefined;
  readonly signature?: SignatureKind | undefined;
  /** `null` without basicConstraints. */
  readonly isAuthority: boolean | null;
  readonly pathLength?: number | undefined;
  readonly purposes?: readonly Purpose[] | undefined;
  /** In hex, the number of unused bits, and the bits. */
  readonly usage?: string | undefined;
  readonly valid?: readonly [from: number, to: number] | undefined;
  readonly hasKeyIds?: boolean | undefined;
  /** Names of {@linkcode ODDITIES}, or others. */
  readonly oddities?: readonly (string | Oddity)[] | undefined;
}

let serial = 0;

export function makeCertificate(options: CertificateOptions): Uint8Array<ArrayBuffer> {
  const { keys, name, issuer = { name, keys }, isAuthority, pathLength, purposes } = options;
  const { usage, valid: [from, to] = [-2, 2], hasKeyIds = false } = options;
  const { algorithm, sign } = findSigner(issuer.keys, options.signature ?? "sha256");
  const keyId = (pair: KeyPair) => encodePublicKey(pair).slice(-20);
  const limit = pathLength === undefined ? [] : [encode(2, Uint8Array.of(pathLength))];
  const extensions = [
    ...isAuthority === null ? [] : [
      extension(
        "basicConstraints",
        true,
        isAuthority ? sequence(hex("0101ff"), ...limit) : sequence(),
      ),
    ],
    ...usage === undefined ? [] : [extension("keyUsage", true, encode(3, hex(usage)))],
    ...purposes === undefined ? [] : [extension(
      "extendedKeyUsage",
      false,
      sequence(...purposes.map((each) => identifier(OID[each]))),
    )],
    ...hasKeyIds
      ? [
        extension("subjectKeyId", false, encode(4, keyId(keys))),
        extension("authorityKeyId", false, sequence(encode(0x80, keyId(issuer.keys)))),
      ]
      : [],
  ];
  const fields: Fields = {
    version: hex("a003 020102"),
    // Two certificates differ, also if they have the same key and signature algorithm.
    serial: encode(2, Uint8Array.of(1, ++serial >> 8 & 255, serial & 255)),
    algorithm,
    issuer: encodeName(issuer.name),
    validity: sequence(encodeDays(from), encodeDays(to)),
    subject: encodeName(name),
    publicKey: encodePublicKey(keys),
    uniqueIds: new Uint8Array(),
    extensions,
    suffix: new Uint8Array(),
  };
  const oddities = (options.oddities ?? []).map((each) =>
    typeof each === "string" ? ODDITIES[each]! : each
  );
  for (const oddity of oddities) oddity.fields?.(fields);
  const signedPart = sequence(
    fields.version,
    fields.serial,
    fields.algorithm,
    fields.issuer,
    fields.validity,
    fields.subject,
    fields.publicKey,
    fields.uniqueIds,
    ...fields.extensions.length === 0 ? [] : [encode(0xa3, sequence(...fields.extensions))],
    fields.suffix,
  );
  const parts: Parts = { signedPart, algorithm, signature: sign(signedPart) };
  for (const oddity of oddities) oddity.parts?.(parts);
  let der: Uint8Array = sequence(
    parts.signedPart,
    parts.algorithm,
    encode(3, hex("00"), parts.signature),
  );
  signatureSizes.set(der, parts.signature.length + 1);
  for (const oddity of oddities) der = oddity.whole?.(der) ?? der;
  return Uint8Array.from(der);
}
