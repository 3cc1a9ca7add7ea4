/** publicKey256 agrees with sessions and sockets. */
import { assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { publicKey256, SSLClient, SSLServer } from "@degu/degu";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { publicKey256 as publicKey256OfNode } from "@degu/testing/certificates.ts";

Deno.test("publicKey256 of a file equals what a session reports for the client and its authority", async () => {
  await using pki = await TempPKI.create();
  const read = (path: string | undefined) => Deno.readTextFile(path!);
  const clientPem = await read(pki.clientSslconfig.certFile);
  const authorityPem = await read(pki.serverSslconfig.caFile);
  await using server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], (_request, session) => {
    const { publicKey256: own = "", authority } = session.peerCertificate ?? {};
    return [200, "OK", { own, authority: authority?.publicKey256 ?? "" }, null];
  });
  server.serveForever();
  await server.ready;
  const client = new SSLClient(pki.clientSslconfig, server.address);
  const { headers } = await client.request("GET", "/");
  assertEquals({ ...headers }, {
    own: publicKey256(clientPem),
    authority: publicKey256(authorityPem),
  });
  assertNotEquals(headers["own"], headers["authority"]);
  assertMatch(String(headers["own"]), /^[0-9A-F]{2}(:[0-9A-F]{2}){31}$/);
  assertEquals(publicKey256(clientPem), publicKey256OfNode(clientPem));
  assertEquals(publicKey256(clientPem + authorityPem), publicKey256(clientPem));
});

Deno.test("publicKey256 refuses an invalid certificate, and shows nothing of it", async () => {
  await using pki = await TempPKI.create();
  const key = await Deno.readTextFile(pki.serverSslconfig.keyFile!);
  for (const value of [undefined, null, 1, {}, new Uint8Array(1), [key]]) {
    assertThrows(() => publicKey256(value as unknown as string), TypeError, "pem: must");
  }
  for (
    const text of ["", "text", key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
  ) {
    const { message } = assertThrows(
      () => publicKey256(text),
      RangeError,
      "pem: must be a certificate",
    );
    assertEquals(message.split("\n").length, 1);
  }
});
