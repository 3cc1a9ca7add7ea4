/** Which keys are strong enough. */
import { assert, assertEquals } from "@std/assert";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { parseCertificate } from "@degu/internal/net/tls/certificate.ts";
import { isUsableKey, publicKeyOf, verifySignature } from "@degu/internal/net/tls/keys.ts";
import { createAuthority, createLeaf } from "@degu/internal/identity/certificates.ts";
import { derOf } from "@degu/testing/certificates.ts";

const ec = (namedCurve: string) => () => generateKeyPairSync("ec", { namedCurve });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });

type Make = () => { publicKey: KeyObject; privateKey: KeyObject };
const kinds: Record<string, [Make, boolean]> = {
  "ECDSA with P-256": [ec("P-256"), true],
  "ECDSA with P-384": [ec("P-384"), true],
  "ECDSA with P-521": [ec("P-521"), true],
  "ECDSA with secp256k1": [ec("secp256k1"), false],
  "Ed25519": [() => generateKeyPairSync("ed25519"), true],
  "X25519, which signs nothing": [() => generateKeyPairSync("x25519"), false],
  "RSA with 2048 bits": [() => rsa, true],
};

for (const [what, [make, isUsable]] of Object.entries(kinds)) {
  Deno.test(`a key of ${what} is ${isUsable ? "accepted" : "refused"}`, () => {
    const { publicKey, privateKey } = make();
    assertEquals([isUsableKey(publicKey), isUsableKey(privateKey)], [isUsable, isUsable]);
  });
}

// Making such keys takes up to many seconds.
const limits: readonly [number, bigint, boolean][] = [
  [1024, 65537n, false],
  [2047, 65537n, false],
  [2048, 3n, true],
  [8192, 65537n, true],
  [8193, 65537n, false],
  [16384, 65537n, false],
  [2048, 2n ** 32n, true],
  [2048, 2n ** 32n + 1n, false],
];
for (const [modulusLength, publicExponent, isUsable] of limits) {
  const verdict = isUsable ? "accepted" : "refused";
  Deno.test(`RSA with ${modulusLength} bits and the exponent ${publicExponent} is ${verdict}`, () => {
    const asymmetricKeyDetails = { modulusLength, publicExponent };
    assertEquals(isUsableKey({ asymmetricKeyType: "rsa", asymmetricKeyDetails }), isUsable);
  });
}

Deno.test("the exponent of a key that is read from a certificate is seen", () => {
  const n = new Uint8Array(256).fill(0xff).toBase64({ alphabet: "base64url", omitPadding: true });
  const read = (e: string) => createPublicKey({ format: "jwk", key: { kty: "RSA", n, e } });
  assertEquals([read("AQAB"), read("AQAAAAE")].map(isUsableKey), [true, false]);
});

const authority = await createAuthority({ commonName: "authority" }, 10);
/** Of the same name, with another key. */
const namesake = await createAuthority({ commonName: "authority" }, 10);
const leaf = await createLeaf(authority, {
  subject: { commonName: "leaf" },
  usages: ["clientAuth"],
  alternativeNames: [],
  days: 1,
});

function read({ certificate }: { certificate: string }) {
  return parseCertificate(derOf(certificate));
}

function keyOf(pair: { certificate: string }) {
  const key = publicKeyOf(read(pair));
  assert(key !== null);
  return key;
}

Deno.test("a signature is valid only for the key that made it", () => {
  assertEquals(verifySignature(read(leaf), keyOf(authority)), true);
  assertEquals(verifySignature(read(authority), keyOf(authority)), true);
  for (const other of [namesake, leaf]) {
    assertEquals(verifySignature(read(leaf), keyOf(other)), false);
  }
  for (const { publicKey } of [rsa, generateKeyPairSync("ed25519")]) {
    assertEquals(verifySignature(read(leaf), publicKey), false);
  }
});

Deno.test("a signature is invalid if any byte of the certificate was changed", () => {
  const certificate = read(leaf);
  const key = keyOf(authority);
  for (const part of ["signed", "signature"] as const) {
    const bytes = certificate[part];
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = bytes.slice();
      changed[at]! ^= 1;
      const isValid = verifySignature({ ...certificate, [part]: changed }, key);
      assertEquals(isValid, false, `${part} ${at}`);
    }
    assertEquals(verifySignature({ ...certificate, [part]: bytes.slice(1) }, key), false);
  }
});

Deno.test("a signature with an unknown or obsolete algorithm is invalid", () => {
  const certificate = read(leaf);
  const sha1 = "1.2.840.10045.4.1";
  for (const algorithm of [sha1, "1.2.840.113549.1.1.5", "1.2.840.113549.1.1.11", "1.3.101.112"]) {
    const isValid = verifySignature({ ...certificate, algorithm }, keyOf(authority));
    assertEquals(isValid, false, algorithm);
  }
});

Deno.test("a signature by a broken or weak key is invalid", () => {
  const certificate = read(leaf);
  const { publicKey: weak } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const keys = [
    certificate.publicKey.slice(1),
    certificate.publicKey.slice(0, -1),
    new Uint8Array(0),
    Uint8Array.from(weak.export({ format: "der", type: "spki" })),
  ];
  for (const publicKey of keys) assertEquals(publicKeyOf({ ...certificate, publicKey }), null);
});
