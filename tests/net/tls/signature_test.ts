/** Whether one certificate was signed with the key of another. */
import { assert, assertEquals } from "@std/assert";
import { generateKeyPairSync } from "node:crypto";
import { parseCertificate } from "@degu/internal/net/tls/certificate.ts";
import { publicKeyOf, verifySignature } from "@degu/internal/net/tls/signature.ts";
import { createAuthority, createLeaf } from "@degu/internal/pki/certificates.ts";
import { derOf } from "@degu/testing/certificates.ts";

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
  assertEquals(verifySignature(read(leaf), keyOf(authority)), "yes");
  assertEquals(verifySignature(read(authority), keyOf(authority)), "yes");
  for (const other of [namesake, leaf]) {
    assertEquals(verifySignature(read(leaf), keyOf(other)), "no");
  }
  for (const type of ["ed25519", "rsa"] as const) {
    const { publicKey } = type === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ed25519");
    assertEquals(verifySignature(read(leaf), publicKey), "no");
  }
});

Deno.test("a signature is invalid if any byte of the certificate was changed", () => {
  const certificate = read(leaf);
  const key = keyOf(authority);
  for (const part of ["signed", "signature"] as const) {
    const bytes = certificate.links[part];
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = bytes.slice();
      changed[at]! ^= 1;
      const links = { ...certificate.links, [part]: changed };
      assertEquals(verifySignature({ ...certificate, links }, key), "no", `${part} ${at}`);
    }
    const links = { ...certificate.links, [part]: bytes.slice(1) };
    assertEquals(verifySignature({ ...certificate, links }, key), "no");
  }
});

Deno.test("a signature with an unknown or obsolete algorithm is invalid", () => {
  const certificate = read(leaf);
  const sha1 = "1.2.840.10045.4.1";
  for (const algorithm of [sha1, "1.2.840.113549.1.1.5", "1.2.840.113549.1.1.11", "1.3.101.112"]) {
    const links = { ...certificate.links, algorithm };
    assertEquals(verifySignature({ ...certificate, links }, keyOf(authority)), "no", algorithm);
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
