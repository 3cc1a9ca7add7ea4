/** Which keys are strong enough. */
import { assertEquals } from "@std/assert";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { isUsableKey } from "@degu/internal/net/tls/keys.ts";

const ec = (namedCurve: string) => () => generateKeyPairSync("ec", { namedCurve });
const rsa = (modulusLength: number) => () => generateKeyPairSync("rsa", { modulusLength });

const kinds: Record<
  string,
  [make: () => { publicKey: KeyObject; privateKey: KeyObject }, boolean]
> = {
  "ECDSA with P-256": [ec("P-256"), true],
  "ECDSA with P-384": [ec("P-384"), true],
  "ECDSA with P-521": [ec("P-521"), true],
  "ECDSA with secp256k1": [ec("secp256k1"), false],
  "Ed25519": [() => generateKeyPairSync("ed25519"), true],
  "X25519, which signs nothing": [() => generateKeyPairSync("x25519"), false],
  "RSA with 2048 bits": [rsa(2048), true],
  "RSA with 2047 bits": [rsa(2047), false],
  "RSA with 1024 bits": [rsa(1024), false],
  "RSA for PSS alone": [() => generateKeyPairSync("rsa-pss", { modulusLength: 2048 }), false],
};

for (const [what, [make, isUsable]] of Object.entries(kinds)) {
  Deno.test(`a key of ${what} is ${isUsable ? "accepted" : "refused"}`, () => {
    const { publicKey, privateKey } = make();
    assertEquals([isUsableKey(publicKey), isUsableKey(privateKey)], [isUsable, isUsable]);
  });
}

// Making keys of these sizes takes many seconds.
const limits: readonly [number, bigint, boolean][] = [
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
