/** The certificate of a peer, as apps and callers see it. */
import type { PeerCertificate } from "@degu/degu/base";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";

Deno.test("the connections of a peer share the description of its certificate, and none can change it", async () => {
  const certificates: PeerCertificate[] = [];
  await using endpoint = await startTls(await openSharedPki(), (_request, session) => {
    const certificate = session.peerCertificate!;
    const { subjectAltNames, validFrom, validTo, raw, authority } = certificate;
    certificates.push(certificate);
    const copy = structuredClone(certificate);
    raw.fill(0);
    authority!.raw.fill(0);
    validFrom.setTime(0);
    validTo.setTime(0);
    subjectAltNames.push("DNS:evil");
    assert(Object.isFrozen(certificate) && Object.isFrozen(authority));
    assertEquals(structuredClone(certificate), copy);
    assertEquals(copy.raw[0], 0x30);
    return [204, "No Content", {}, null];
  });
  for (let count = 0; count < 3; count++) {
    using conn = await endpoint.client.connect();
    assertEquals((await conn.get("/")).status, 204);
  }
  for (const certificate of certificates) assertStrictEquals(certificate, certificates[0]);
  assertEquals(certificates.length, 3);
});
