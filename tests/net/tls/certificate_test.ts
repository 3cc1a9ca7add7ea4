/** Certificates: DER, parsing, names, allowed keys, and the checks of a peer's certificate. */
import * as fc from "fast-check";
import {
  assert,
  assertEquals,
  assertMatch,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from "node:crypto";
import { once } from "node:events";
import * as tls from "node:tls";
import { publicKey256 } from "@degu/degu";
import { TlsError } from "@degu/degu/base";
import { createAuthority, createLeaf } from "@degu/degu/certificates";
import { readCertificate } from "@degu/internal/net/tls/authority.ts";
import {
  type Certificate,
  computeFingerprint,
  describeCertificate,
  parseCertificate,
} from "@degu/internal/net/tls/certificate.ts";
import { encodeDer, TAG } from "@degu/internal/net/tls/der.ts";
import { isUsableKey, publicKeyOf, verifySignature } from "@degu/internal/net/tls/keys.ts";
import { checkCertificate, findNameProblem, identifyServer } from "@degu/internal/net/tls/peer.ts";
import {
  disablePeerCertificateObjects,
  readCertificateChain,
} from "@degu/internal/net/transport/runtime.ts";
import { EXTENSIONS, makeAuthority } from "./authorities.ts";
import { derOf, hashPublicKey as publicKey256OfNode } from "./certificates.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { openSharedPki, readIdentity, readTexts, serveRaw } from "@degu/testing/tls_endpoints.ts";
import { KEY, needsOpenssl, OpensslPki, RSA_2048 } from "./tls_openssl.ts";

const pki = await openSharedPki();
const authority = createAuthority({ commonName: "authority" });

async function readDerFile(path: string): Promise<Uint8Array> {
  return new Uint8Array(new X509Certificate(await Deno.readTextFile(path)).raw);
}

Deno.test("a certificate is read as node:crypto reads it", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const authority = await pki.createAuthority("authority", {
    extensions: ["keyUsage=keyCertSign,cRLSign,encipherOnly"],
    to: "20991231235959Z",
  });
  const extensions = [
    "subjectAltName=DNS:a.example,DNS:*.b.example,IP:192.0.2.1,IP:2001:db8::1:0:0:1,email:a@b.example,URI:https://c.example/d",
    "extendedKeyUsage=serverAuth,clientAuth,1.2.3.4.5",
    "keyUsage=critical,digitalSignature,keyEncipherment",
  ];
  const rows = [
    authority,
    await pki.createCertificate("everything", { issuer: authority, extensions }),
    await pki.createCertificate("no_extensions", { issuer: authority, key: KEY.ed25519 }),
    await pki.createCertificate("rsa", {
      issuer: authority,
      key: KEY.rsa2048,
      from: "19700101000000Z",
    }),
  ];
  for (const { certFile } of rows) {
    await t.step(certFile.slice(pki.dir.length), async () => {
      const expected = new X509Certificate(await Deno.readTextFile(certFile));
      const certificate = parseCertificate(await readDerFile(certFile));
      const description = describeCertificate(certificate, null);
      assertEquals(certificate.version, 3);
      assertEquals([description.subject, description.issuer], [expected.subject, expected.issuer]);
      assertEquals(description.subjectAltNames.join(", "), expected.subjectAltName ?? "");
      assertEquals(description.validFrom.getTime(), Date.parse(expected.validFrom));
      assertEquals(description.validTo.getTime(), Date.parse(expected.validTo));
      assertEquals(description.fingerprint256, expected.fingerprint256);
      assertEquals(certificate.isAuthority, expected.ca);
    });
  }
});

Deno.test(
  "the name of a certificate can't imitate the name of another certificate",
  needsOpenssl,
  async () => {
    await using pki = await OpensslPki.create();
    const configuration = [
      "[req]",
      "distinguished_name = subject",
      "x509_extensions = extensions",
      "prompt = no",
      "[subject]",
      "CN = one\\nO=two",
      "O = a\\\\, b",
      "[extensions]",
      "subjectAltName = @names",
      "[names]",
      "DNS.1 = a.example, DNS:evil.example",
      "otherName.1 = 1.2.3;UTF8:text",
      "dirName.1 = directory",
      "RID.1 = 1.2.3.4",
      "[directory]",
      "CN = listed",
    ];
    await Deno.writeTextFile(pki.makePath("odd.cnf"), configuration.join("\n"));
    await pki.run(
      ...["req", "-x509", "-config", "odd.cnf", "-newkey", ...KEY.p256, "-nodes"],
      ...["-keyout", "odd.key", "-days", "2", "-utf8", "-out", "odd.pem"],
    );
    const certificate = parseCertificate(await readDerFile(pki.makePath("odd.pem")));
    assertEquals(certificate.subject.split("\n").length, 2);
    assert(certificate.subject.startsWith("CN=one\\u{a}O=two\n"), certificate.subject);
    const description = describeCertificate(certificate, null);
    assertEquals(description.subjectAltNames, [
      "DNS:a.example, DNS:evil.example",
      "othername:<unsupported>",
      "DirName:CN=listed",
      "Registered ID:1.2.3.4",
    ]);
    assert(findNameProblem(certificate, "evil.example") !== null);
    assert(findNameProblem(certificate, "a.example") !== null);
  },
);

Deno.test("a certificate with an alternative name whose tag isn't that of a GeneralName is refused", () => {
  const text = new TextEncoder().encode("a.example");
  const parseWithTags = (...tags: number[]) => {
    const names = tags.flatMap((tag) => [tag, text.length, ...text]);
    const san = Uint8Array.of(0x30, names.length, ...names);
    const extensions = [EXTENSIONS.alternativeNames(san)];
    return parseCertificate(makeAuthority({ extensions }).der);
  };
  assertEquals(findNameProblem(parseWithTags(0x82), "a.example"), null);
  // The tags of RFC 5280 §4.2.1.6 in other classes and forms, and numbers without a name.
  const tags = [0x02, 0x04, 0x22, 0x42, 0x62, 0x80, 0x83, 0x84, 0x85, 0x89, 0x8a];
  for (const tag of [...tags, 0xa1, 0xa2, 0xa6, 0xa7, 0xa8, 0xa9, 0xc2, 0xe2]) {
    for (const others of [[], [0x82]]) {
      assertThrows(() => parseWithTags(...others, tag), RangeError, "GeneralName");
      assertThrows(() => parseWithTags(tag, ...others), RangeError, "GeneralName");
    }
  }
});

Deno.test("damaged certificates and random bytes cause a RangeError", async () => {
  const der = await readDerFile(pki.serverSslconfig.certFile);
  const parse = (bytes: Uint8Array) => {
    try {
      return parseCertificate(bytes);
    } catch (error) {
      if (error instanceof RangeError) return null;
      throw error;
    }
  };
  for (let length = 0; length < der.length; length++) {
    assertThrows(() => parseCertificate(der.subarray(0, length)), RangeError);
  }
  const mutation = fc.tuple(fc.nat(der.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
      const bytes = Uint8Array.from(der);
      for (const [index, byte] of mutations) bytes[index] = byte;
      const certificate = parse(bytes);
      if (certificate === null) return;
      describeCertificate(certificate, null);
    }),
    { numRuns: 3000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void parse(bytes)));
});

const BASIC = "0603551d13";
const USAGE = "0603551d0f";
const TRUE = "0101ff";

/** Encodes an extension from parts in hex. */
function encodeExtension(type: string, critical: string, value: string, suffix = ""): Uint8Array {
  const octets = encodeDer(TAG.octetString, Uint8Array.fromHex(value));
  const [prefixBytes, suffixBytes] = [type + critical, suffix].map((hex) =>
    Uint8Array.fromHex(hex)
  );
  return encodeDer(TAG.sequence, prefixBytes!, octets, suffixBytes!);
}

/** Valid extensions in DER, and their `isAuthority` and `pathLength`. */
const VALID_EXTENSIONS:
  readonly (readonly [Uint8Array, isAuthority: boolean, pathLength: number | null])[] = [
    [encodeExtension(BASIC, TRUE, "30030101ff"), true, null],
    [encodeExtension(BASIC, TRUE, "30060101ff020105"), true, 5],
    [encodeExtension(BASIC, TRUE, "30070101ff02020080"), true, 128],
    [encodeExtension(BASIC, TRUE, "3000"), false, null],
    // Old authorities write defaults, which DER leaves out.
    [encodeExtension(BASIC, "010100", "3003010100"), false, null],
  ];

const INVALID_EXTENSIONS: Readonly<Record<string, Uint8Array>> = {
  "critical is 1": encodeExtension(BASIC, "010101", "30030101ff"),
  "CA is 1": encodeExtension(BASIC, TRUE, "3003010101"),
  "a limit of -1": encodeExtension(BASIC, TRUE, "30060101ff0201ff"),
  "a padded limit": encodeExtension(BASIC, TRUE, "30070101ff02020001"),
  "a field after the limit": encodeExtension(BASIC, TRUE, "30080101ff0201010500"),
  "a byte after the constraints": encodeExtension(BASIC, TRUE, "30030101ff00"),
  "a field after the value": encodeExtension(BASIC, TRUE, "30030101ff", "0500"),
  "the type ends inside a number": encodeExtension("0604551d1381", TRUE, "30030101ff"),
  "a usage with an undefined bit": encodeExtension(USAGE, TRUE, "03020107"),
  "a field after the names": encodeExtension("0603551d11", "", "30038201610500"),
  "a field after the authority's identifier": encodeExtension("0603551d23", "", "30038001aa0500"),
  "an unknown field of the authority's identifier": encodeExtension(
    "0603551d23",
    "",
    "30058001aa8500",
  ),
};

Deno.test("an extension has one valid form, and equivalent or longer forms are refused", () => {
  for (const [bytes, isAuthority, pathLength] of VALID_EXTENSIONS) {
    const certificate = parseCertificate(makeAuthority({ extensions: [bytes] }).der);
    assertEquals(
      [certificate.isAuthority, certificate.pathLength],
      [isAuthority, pathLength],
      bytes.toHex(),
    );
  }
  const keyIds = [["30048002aabb", "aabb"], ["300c8001aaa1048202616182017f", "aa"]] as const;
  for (const [value, keyId] of [...keyIds, ["3000", null] as const]) {
    const { der } = makeAuthority({ extensions: [encodeExtension("0603551d23", "", value)] });
    assertEquals(parseCertificate(der).authorityKeyId, keyId, value);
  }
  for (const [name, bytes] of Object.entries(INVALID_EXTENSIONS)) {
    const { der } = makeAuthority({ extensions: [bytes] });
    assertThrows(() => parseCertificate(der), RangeError, "DER: ", name);
  }
});

Deno.test("bytes after a certificate, or after its parts, are refused", () => {
  const { der } = makeAuthority();
  parseCertificate(der);
  for (const suffix of [[0], [5, 0]]) {
    assertThrows(() => parseCertificate(Uint8Array.of(...der, ...suffix)), RangeError, "DER: ");
  }
  const longerCertificate = encodeDer(TAG.sequence, der.subarray(4), Uint8Array.of(5, 0));
  assertThrows(() => parseCertificate(longerCertificate), RangeError, "DER: ");
});

Deno.test("a certificate that names two different algorithms of its signature is refused", () => {
  const { der } = makeAuthority();
  const hex = der.toHex();
  // The algorithm is ECDSA with SHA-256; 3 in place of 2 is SHA-384 (RFC 5758 §3.2).
  const algorithm = "300a06082a8648ce3d040302";
  assertEquals(hex.split(algorithm).length, 3);
  const offsets = [hex.indexOf(algorithm), hex.lastIndexOf(algorithm)];
  for (const offset of offsets) {
    const bytes = Uint8Array.from(der);
    bytes[(offset + algorithm.length) / 2 - 1] = 3;
    assertThrows(() => parseCertificate(bytes), RangeError, "two algorithms");
  }
});

Deno.test("a key with unused bits, or with bytes after its bits, is refused", () => {
  const { der } = makeAuthority();
  // The bit string of a P-256 key has 66 bytes: no unused bits, 4 (uncompressed), coordinates.
  const start = der.toHex().indexOf("03420004") / 2;
  assertEquals(start % 1, 0);
  for (const [index, byte] of [[1, 0x41], [2, 1], [0, 4]] as const) {
    const bytes = Uint8Array.from(der);
    bytes[start + index] = byte;
    assertThrows(() => parseCertificate(bytes), RangeError, "DER: ", `${index}`);
  }
});

const leaf = parseCertificate(await readDerFile(pki.serverSslconfig.certFile));

function makeNamedCertificate(...dns: string[]): Certificate {
  return { ...leaf, names: dns.map((value) => ({ type: "DNS", value })) };
}

Deno.test("findNameProblem() matches a DNS name as RFC 9525 requires", () => {
  const rows: readonly [presented: string, host: string, matches: boolean][] = [
    ["a.example", "a.example", true],
    ["a.example", "a.example.", true],
    ["a.example.", "a.example", false],
    ["a.example", "b.a.example", false],
    ["a.example", "aaexample", false],
    ["a.example", "a.example.com", false],
    ["*.a.example", "b.a.example", true],
    ["*.A.example", "B.a.EXAMPLE", true],
    ["*.a.example", "a.example", false],
    ["*.a.example", ".a.example", false],
    ["*.a.example", "c.b.a.example", false],
    ["*.example", "a.example", false],
    ["*", "example", false],
    ["*.", "example", false],
    ["b*.a.example", "bc.a.example", false],
    ["*b.a.example", "cb.a.example", false],
    ["b.*.example", "b.a.example", false],
    ["*.*.example", "b.a.example", false],
    ["127.0.0.1", "127.0.0.1", false],
    ["*.0.0.1", "127.0.0.1", false],
    ["a.example\0.evil", "a.example", false],
    ["", "a.example", false],
    ["xn--bcher-kva.example", "xn--bcher-kva.example", true],
  ];
  for (const [presented, host, matches] of rows) {
    const problem = findNameProblem(makeNamedCertificate(presented), host);
    assertEquals(problem === null, matches, `${presented} for ${host}`);
    assertEquals(
      findNameProblem(makeNamedCertificate("other.example", presented), host) === null,
      matches,
    );
  }
  const namelessProblem = findNameProblem(
    { ...leaf, subject: "CN=a.example", names: null },
    "a.example",
  );
  assertEquals(namelessProblem, "has no subjectAltName, and its subject does not count");
  for (const type of ["URI", "email", "othername", "IP Address"]) {
    const certificate = { ...leaf, names: [{ type, value: "a.example" }] };
    assert(findNameProblem(certificate, "a.example") !== null, type);
  }
});

Deno.test("findNameProblem() matches an IP address in any form", () => {
  const rows: readonly [presented: string, host: string, matches: boolean][] = [
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["192.0.2.1", "192.0.2.01", false],
    ["2001:db8::1", "2001:DB8:0:0::1", true],
    ["2001:db8::1", "2001:db8::2", false],
    ["fe80::1", "fe80::1%eth0", true],
    ["::ffff:c000:201", "::ffff:192.0.2.1", true],
    ["192.0.2.1", "::ffff:192.0.2.1", false],
    ["::ffff:c000:201", "192.0.2.1", false],
  ];
  for (const [value, host, matches] of rows) {
    const certificate = { ...leaf, names: [{ type: "IP Address", value }] };
    assertEquals(findNameProblem(certificate, host) === null, matches, `${value} for ${host}`);
  }
});

/** Makes a certificate in DER of at least this many bytes. */
function issueCertificate(bytes = 0): Uint8Array {
  const alternativeNames = Array.from(
    { length: Math.ceil(bytes / 40) },
    (_, index) => `${"a".repeat(50)}${index}.example`,
  );
  const subject = { commonName: "peer" };
  const profile = { subject, purposes: ["serverAuth" as const], alternativeNames };
  return derOf(createLeaf(authority, profile).certificate);
}

Deno.test("a cached certificate is not parsed again unless it is large, and different bytes are a different certificate", () => {
  const der = issueCertificate();
  const cachedCertificate = readCertificate(der);
  assertStrictEquals(readCertificate(Uint8Array.from(der)), cachedCertificate);
  assertEquals(cachedCertificate.certificate256, computeFingerprint(der));
  assertEquals(cachedCertificate.publicKey256, computeFingerprint(cachedCertificate.publicKey));
  assert(readCertificate(issueCertificate()) !== cachedCertificate);
  // The last byte belongs to the signature, so the changed certificate can still be parsed.
  const changedDer = Uint8Array.from(der);
  changedDer[der.length - 1]! ^= 1;
  assert(readCertificate(changedDer) !== cachedCertificate);
  const largeDer = issueCertificate(4000);
  assert(readCertificate(largeDer) !== readCertificate(largeDer));
});

Deno.test("the cache keeps a thousand certificates, and drops the oldest first", () => {
  const firstDer = issueCertificate();
  const firstCertificate = readCertificate(firstDer);
  const otherDer = issueCertificate();
  const lastIndex = otherDer.length - 1;
  // Each certificate has another signature, which the parser doesn't check.
  for (let count = 0; count < 999; count++) {
    new DataView(otherDer.buffer, otherDer.byteOffset).setUint16(lastIndex - 1, count);
    readCertificate(otherDer);
  }
  assertStrictEquals(readCertificate(firstDer), firstCertificate);
  new DataView(otherDer.buffer, otherDer.byteOffset).setUint16(lastIndex - 1, 999);
  readCertificate(otherDer);
  assert(readCertificate(firstDer) !== firstCertificate);
});

Deno.test("publicKey256() returns the fingerprint of the first certificate's key", async () => {
  const { cert, ca } = await readTexts(pki.clientSslconfig);
  assertMatch(publicKey256(cert), /^[0-9A-F]{2}(:[0-9A-F]{2}){31}$/);
  assertEquals(publicKey256(cert), publicKey256OfNode(cert));
  assertEquals(publicKey256(cert + ca), publicKey256(cert));
});

Deno.test("publicKey256() refuses an invalid certificate, and its message doesn't quote the text", async () => {
  const key = await Deno.readTextFile(pki.serverSslconfig.keyFile!);
  for (const value of [undefined, new Uint8Array(1)]) {
    assertThrows(() => publicKey256(value as unknown as string), TypeError, "pem: must");
  }
  const damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
  for (const text of ["", "text", key, damaged]) {
    const parse = () => publicKey256(text);
    const { message } = assertThrows(parse, RangeError, "pem: must be a certificate");
    assertEquals(message.split("\n").length, 1);
  }
});

// ───────────────────────── strength of keys

const makeEcGenerator = (namedCurve: string) => () => generateKeyPairSync("ec", { namedCurve });
const rsaPem = await Deno.readTextFile(RSA_2048);
const rsaKeys = { publicKey: createPublicKey(rsaPem), privateKey: createPrivateKey(rsaPem) };

type KeyGenerator = () => { publicKey: KeyObject; privateKey: KeyObject };
const keyKinds: Record<string, [KeyGenerator, boolean]> = {
  "ECDSA with P-521": [makeEcGenerator("P-521"), true],
  "ECDSA with secp256k1": [makeEcGenerator("secp256k1"), false],
  "Ed25519": [() => generateKeyPairSync("ed25519"), true],
  "X25519, which can't sign": [() => generateKeyPairSync("x25519"), false],
  "RSA with 2048 bits": [() => rsaKeys, true],
};

for (const [kind, [generateKeys, isUsable]] of Object.entries(keyKinds)) {
  Deno.test(`a key of ${kind} is ${isUsable ? "accepted" : "refused"}`, () => {
    const { publicKey, privateKey } = generateKeys();
    assertEquals([isUsableKey(publicKey), isUsableKey(privateKey)], [isUsable, isUsable]);
  });
}

// Generating these keys would take many seconds, so the rows have their details.
const rsaRows: readonly [number, bigint, boolean][] = [
  [1024, 65537n, false],
  [2047, 65537n, false],
  [2048, 3n, true],
  [4096, 65537n, true],
  [4097, 65537n, false],
  [2048, 2n ** 32n, true],
  [2048, 2n ** 32n + 1n, false],
];
for (const [modulusLength, publicExponent, isUsable] of rsaRows) {
  const verdict = isUsable ? "accepted" : "refused";
  Deno.test(`RSA with ${modulusLength} bits and the exponent ${publicExponent} is ${verdict}`, () => {
    const asymmetricKeyDetails = { modulusLength, publicExponent };
    assertEquals(isUsableKey({ asymmetricKeyType: "rsa", asymmetricKeyDetails }), isUsable);
  });
}

/** An authority with the same name and another key. */
const namesakeAuthority = createAuthority({ commonName: "authority" });
const issuedLeaf = createLeaf(authority, {
  subject: { commonName: "leaf" },
  purposes: ["clientAuth"],
  alternativeNames: [],
});

function parsePem({ certificate }: { certificate: string }) {
  return parseCertificate(derOf(certificate));
}

function parseKey(pair: { certificate: string }) {
  const key = publicKeyOf(parsePem(pair));
  assert(key !== null);
  return key;
}

Deno.test("a signature is valid only for the key that made it", () => {
  assertEquals(verifySignature(parsePem(issuedLeaf), parseKey(authority)), true);
  assertEquals(verifySignature(parsePem(authority), parseKey(authority)), true);
  for (const otherPair of [namesakeAuthority, issuedLeaf]) {
    assertEquals(verifySignature(parsePem(issuedLeaf), parseKey(otherPair)), false);
  }
  for (const { publicKey } of [rsaKeys, generateKeyPairSync("ed25519")]) {
    assertEquals(verifySignature(parsePem(issuedLeaf), publicKey), false);
  }
});

Deno.test("a signature is invalid if any byte of the certificate was changed", () => {
  const certificate = parsePem(issuedLeaf);
  const key = parseKey(authority);
  for (const field of ["signedPart", "signature"] as const) {
    const bytes = certificate[field];
    for (let offset = 0; offset < bytes.length; offset += 7) {
      const changedBytes = bytes.slice();
      changedBytes[offset]! ^= 1;
      const isValid = verifySignature({ ...certificate, [field]: changedBytes }, key);
      assertEquals(isValid, false, `${field} ${offset}`);
    }
    assertEquals(verifySignature({ ...certificate, [field]: bytes.slice(1) }, key), false);
  }
});

Deno.test("a signature with an unknown or obsolete algorithm is invalid", () => {
  const certificate = parsePem(issuedLeaf);
  const sha1 = "1.2.840.10045.4.1";
  for (const algorithm of [sha1, "1.2.840.113549.1.1.5", "1.2.840.113549.1.1.11", "1.3.101.112"]) {
    const isValid = verifySignature({ ...certificate, algorithm }, parseKey(authority));
    assertEquals(isValid, false, algorithm);
  }
});

Deno.test("a signature by a broken or weak key is invalid", () => {
  const certificate = parsePem(issuedLeaf);
  const { publicKey: weakKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const keys = [
    certificate.publicKey.slice(0, -1),
    new Uint8Array(0),
    Uint8Array.from(weakKey.export({ format: "der", type: "spki" })),
  ];
  for (const publicKey of keys) assertEquals(publicKeyOf({ ...certificate, publicKey }), null);
});

// ───────────────────────── checks of a peer's certificate that don't rely on the TLS library

Deno.test("a certificate is checked for its role, its times, its version and its key", () => {
  const issueLeaf = (...purposes: ("serverAuth" | "clientAuth")[]) => {
    const profile = { subject: { commonName: "peer" }, purposes, alternativeNames: [] };
    return parsePem(createLeaf(authority, profile));
  };
  const [serverLeaf, clientLeaf] = [issueLeaf("serverAuth"), issueLeaf("clientAuth")];
  const dualLeaf = issueLeaf("serverAuth", "clientAuth");
  const rootCertificate = parsePem(authority);
  const [from, to] = [clientLeaf.validFrom.getTime(), clientLeaf.validTo.getTime()];
  const weakLeaf = { ...clientLeaf, publicKey: clientLeaf.publicKey.slice(0, -1) };
  const rows: [Certificate, "client" | "server", code: string | null, time?: number][] = [
    [serverLeaf, "server", null],
    [dualLeaf, "server", null],
    [dualLeaf, "client", null],
    [clientLeaf, "server", "WRONG_PURPOSE"],
    [serverLeaf, "client", "WRONG_PURPOSE"],
    [rootCertificate, "client", "WRONG_PURPOSE"],
    [rootCertificate, "server", "WRONG_PURPOSE"],
    [clientLeaf, "client", "NOT_YET_VALID", from - 1],
    [clientLeaf, "client", null, from],
    [clientLeaf, "client", null, to],
    [clientLeaf, "client", "EXPIRED", to + 1000],
    [{ ...clientLeaf, purposes: null }, "server", null],
    [{ ...clientLeaf, purposes: [] }, "client", "WRONG_PURPOSE"],
    // anyExtendedKeyUsage is not enough for a leaf.
    [{ ...clientLeaf, purposes: ["2.5.29.37.0"] }, "client", "WRONG_PURPOSE"],
    [{ ...clientLeaf, maySign: false }, "client", "WRONG_PURPOSE"],
    [{ ...clientLeaf, version: 1 }, "client", "UNTRUSTED"],
    [{ ...clientLeaf, version: 2 }, "client", "UNTRUSTED"],
    [{ ...clientLeaf, version: 4 }, "client", "UNTRUSTED"],
    [weakLeaf, "client", "WEAK"],
  ];
  for (const [index, [certificate, role, code, time]] of rows.entries()) {
    using _time = time === undefined ? null : new FakeTime(time);
    const check = () => checkCertificate(role, certificate);
    if (code === null) {
      check();
      continue;
    }
    const error = assertThrows(check, TlsError, `the ${role}'s certificate`);
    assertEquals(error.code, code, `row ${index}`);
    if (time === undefined) continue;
    assertStringIncludes(
      error.message,
      "it is valid from 1970-01-01T00:00:00.000Z to 9999-12-31T23:59:59.000Z, and the clock of " +
        `this device says ${new Date(time).toISOString()}`,
    );
  }
});

Deno.test("a server whose session was resumed is refused", () => {
  const resumed = { isSessionReused: () => true, authorized: true } as tls.TLSSocket;
  const { code } = assertThrows(() => identifyServer(resumed, null, null), TlsError);
  assertEquals(code, "POLICY");
});

Deno.test("a socket returns the certificates that the peer sent, in order, without descriptions", async () => {
  const pki = await openSharedPki();
  const serverPem = await Deno.readTextFile(pki.serverSslconfig.certFile!);
  const strangerPem = createAuthority({ commonName: "a stranger" }).certificate;
  await using server = await serveRaw(pki, () => {}, { cert: serverPem + strangerPem });
  const [host, port] = server.address as [string, number];
  const identity = await readIdentity(pki);
  const connect = async (prepare: (socket: tls.TLSSocket) => void) => {
    let checkedCertificate: unknown;
    const checkServerIdentity = (_host: string, certificate: unknown) =>
      void (checkedCertificate = certificate);
    const socket = tls.connect({ host, port, ...identity, checkServerIdentity });
    prepare(socket);
    await withTimeout(once(socket, "secureConnect"), "the handshake");
    return { socket, checked: checkedCertificate, [Symbol.dispose]: () => void socket.destroy() };
  };
  using connection = await connect(disablePeerCertificateObjects);
  const chain = readCertificateChain(connection.socket).slice(0, 2)
    .map((der) => Uint8Array.from(der));
  assertEquals(chain, [serverPem, strangerPem].map(derOf));
  assert(connection.socket.authorized);
  const described: unknown = connection.socket.getPeerCertificate(true);
  assertEquals([described, connection.checked], [{}, {}]);
});
