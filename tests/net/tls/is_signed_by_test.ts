/** isSignedBy(). */
import { assertEquals, assertThrows } from "@std/assert";
import { isSignedBy } from "@degu/degu/client";
import { isSignedBy as ofServer } from "@degu/degu/server";
import type { PeerCertificate } from "@degu/degu";
import { makeAuthority, makeLeaf } from "@degu/testing/authorities.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";

Deno.test("isSignedBy is true for the authority that has signed a certificate directly, and for no other", () => {
  const root = makeAuthority();
  const intermediate = makeAuthority({ issuer: root });
  const sameName = makeAuthority({ name: root.name });
  const renewed = makeAuthority({ name: root.name, keys: root.keys });
  const [leaf, leafBelow] = [makeLeaf(root), makeLeaf(intermediate)];
  const rows: [label: string, certificate: Uint8Array, authority: Uint8Array, boolean][] = [
    ["its authority", leaf.der, root.der, true],
    ["another certificate of the same key", leaf.der, renewed.der, true],
    ["the root above an intermediate", leafBelow.der, root.der, false],
    ["the intermediate", leafBelow.der, intermediate.der, true],
    ["the authority of an authority", intermediate.der, root.der, true],
    ["another authority of the same name", leaf.der, sameName.der, false],
    ["an authority itself", root.der, root.der, true],
    ["the arguments swapped", root.der, leaf.der, false],
  ];
  for (const [label, certificate, authority, expected] of rows) {
    assertEquals(isSignedBy(certificate, authority), expected, label);
  }
  assertEquals(ofServer, isSignedBy);
});

Deno.test("isSignedBy accepts the certificate of a peer and of its authority", async () => {
  const peers: PeerCertificate[] = [];
  const app = {
    onConnect: ({ peerCertificate }: { peerCertificate: PeerCertificate | null }) =>
      peers.push(peerCertificate!) > 0,
    handle: () => [204, "No Content", {}, null] as const,
  };
  await using endpoint = await startTls(await openSharedPki(), app);
  using conn = await endpoint.client.connect();
  await conn.get("/");
  const [clientCertificate, serverCertificate] = [peers[0]!, conn.sock.peerCertificate!];
  assertEquals(isSignedBy(clientCertificate.raw, clientCertificate.authority!.raw), true);
  assertEquals(isSignedBy(serverCertificate.raw, serverCertificate.authority!.raw), true);
  assertEquals(isSignedBy(clientCertificate.raw, serverCertificate.raw), false);
});

Deno.test("isSignedBy throws for bytes that are not a certificate in DER, and names the argument", () => {
  const { der, pem } = makeAuthority();
  const call = (...args: unknown[]) => Reflect.apply(isSignedBy, null, args);
  assertThrows(() => call(pem, der), TypeError, "certificate: must be a Uint8Array; got string");
  assertThrows(() => call(der, null), TypeError, "authority: must be a Uint8Array; got null");
  for (const bytes of [new Uint8Array(), der.subarray(1), Uint8Array.of(...der, 0)]) {
    assertThrows(() => call(bytes, der), RangeError, "certificate: must be a certificate in DER");
    assertThrows(() => call(der, bytes), RangeError, "authority: must be a certificate in DER");
  }
});
