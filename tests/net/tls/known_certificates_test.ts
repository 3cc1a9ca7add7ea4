/** What is remembered about certificates: what follows from their bytes, and nothing that may change. */
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { describeCertificate, fingerprint256 } from "@degu/internal/net/tls/certificate.ts";
import { readCertificate } from "@degu/internal/net/tls/known_certificates.ts";
import { createAuthority, createLeaf } from "@degu/internal/pki/certificates.ts";
import { derOf } from "@degu/testing/certificates.ts";

const authority = await createAuthority({ commonName: "authority" }, 10);

/** A new certificate in DER, of at least this many bytes. */
async function issue(bytes = 0): Promise<Uint8Array> {
  const alternativeNames = Array.from(
    { length: Math.ceil(bytes / 40) },
    (_, index) => ({ type: "dns" as const, value: `${"a".repeat(50)}${index}.example` }),
  );
  const subject = { commonName: "peer" };
  const profile = { subject, usages: ["serverAuth" as const], alternativeNames, days: 1 };
  return derOf((await createLeaf(authority, profile)).certificate);
}

Deno.test("a known certificate is not parsed again, and different bytes are a different certificate", async () => {
  const der = await issue();
  const known = readCertificate(der);
  assertStrictEquals(readCertificate(Uint8Array.from(der)), known);
  assertEquals(known.certificate256, fingerprint256(der));
  assertEquals(known.publicKey256, fingerprint256(known.certificate.publicKey));
  assert(readCertificate(await issue()) !== known);
  // The last byte belongs to the signature, so it can still be parsed.
  const other = Uint8Array.from(der);
  other[der.length - 1]! ^= 1;
  assert(readCertificate(other) !== known);
});

Deno.test("the parsed array may change afterwards, and so may a description", async () => {
  const der = await issue();
  const original = Uint8Array.from(der);
  const known = readCertificate(der);
  der.fill(0);
  const described = describeCertificate(known.certificate, known, null);
  described.raw.fill(0);
  described.validFrom.setTime(0);
  described.subjectAltNames.push("DNS:other");
  const again = readCertificate(original);
  assertStrictEquals(again, known);
  const { raw, validFrom, subjectAltNames } = describeCertificate(again.certificate, again, null);
  assertEquals([raw, subjectAltNames.includes("DNS:other")], [original, false]);
  assertEquals(validFrom.getTime() > 0, true);
});

Deno.test("large certificates and invalid ones are not cached", async () => {
  const large = await issue(4000);
  assert(readCertificate(large) !== readCertificate(large));
  for (let count = 0; count < 2; count++) {
    assertThrows(() => readCertificate(Uint8Array.of(1, 2)), RangeError);
  }
});

Deno.test("a thousand certificates are cached, and the oldest is dropped first", async () => {
  const first = await issue();
  const known = readCertificate(first);
  const other = await issue();
  const last = other.length - 1;
  // With another signature each; the parser doesn't look at it.
  for (let count = 0; count < 999; count++) {
    new DataView(other.buffer, other.byteOffset).setUint16(last - 1, count);
    readCertificate(other);
  }
  assertStrictEquals(readCertificate(first), known);
  new DataView(other.buffer, other.byteOffset).setUint16(last - 1, 999);
  readCertificate(other);
  assert(readCertificate(first) !== known);
});
