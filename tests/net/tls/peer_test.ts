/** What both ends check of a peer's certificate, whatever the TLS library has verified. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { TlsError } from "@degu/degu/base";
import { type Certificate, parseCertificate } from "@degu/internal/net/tls/certificate.ts";
import { checkCertificate } from "@degu/internal/net/tls/peer.ts";
import { createAuthority, createLeaf } from "@degu/internal/pki/certificates.ts";
import { derOf } from "@degu/testing/certificates.ts";

const authority = await createAuthority({ commonName: "authority" }, 10);

/** A certificate with these usages, valid for a day. */
async function issue(...usages: ("serverAuth" | "clientAuth")[]): Promise<Certificate> {
  const subject = { commonName: "peer" };
  const profile = { subject, usages, alternativeNames: [], days: 1 };
  return parseCertificate(derOf((await createLeaf(authority, profile)).certificate));
}

function codeOf(whose: "client" | "server", certificate: Certificate): string {
  const error = assertThrows(() => checkCertificate(whose, certificate), TlsError);
  assertStringIncludes(error.message, `the ${whose}'s certificate`);
  return error.code;
}

Deno.test("a certificate is valid only for the roles that it names as its purpose", async () => {
  const [server, client] = [await issue("serverAuth"), await issue("clientAuth")];
  const both = await issue("serverAuth", "clientAuth");
  for (const certificate of [server, both]) checkCertificate("server", certificate);
  for (const certificate of [client, both]) checkCertificate("client", certificate);
  assertEquals(codeOf("server", client), "WRONG_PURPOSE");
  assertEquals(codeOf("client", server), "WRONG_PURPOSE");
});

Deno.test("the certificate of an authority is not valid as a leaf", () => {
  const certificate = parseCertificate(derOf(authority.certificate));
  for (const whose of ["client", "server"] as const) {
    assertEquals(codeOf(whose, certificate), "WRONG_PURPOSE");
  }
});

Deno.test("a certificate is valid from its first moment to its last", async () => {
  const certificate = await issue("serverAuth");
  const { validFrom, validTo } = certificate;
  const at = (time: number) => {
    using _time = new FakeTime(time);
    return codeOf("server", certificate);
  };
  assertEquals(at(validFrom.getTime() - 1), "NOT_YET_VALID");
  assertEquals(at(validTo.getTime() + 1000), "EXPIRED");
  for (const time of [validFrom.getTime(), validTo.getTime()]) {
    using _time = new FakeTime(time);
    checkCertificate("server", certificate);
  }
});

Deno.test("a certificate of another version, or with an unusable key, is refused", async () => {
  const certificate = await issue("clientAuth");
  for (const version of [1, 2, 4]) {
    assertEquals(codeOf("client", { ...certificate, version }), "UNTRUSTED");
  }
  const broken = certificate.publicKey.slice(0, -1);
  assertEquals(codeOf("client", { ...certificate, publicKey: broken }), "WEAK");
});
