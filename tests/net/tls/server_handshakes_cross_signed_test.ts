/** Authorities that have signed each other. */
import { assertEquals } from "@std/assert";
import { TempPKI } from "@degu/degu/misc";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { OpensslPki, unlessMissing } from "@degu/testing/tls_openssl.ts";

Deno.test({
  name: "both ends accept a chain of authorities that have signed each other, and are trusted",
  ...await unlessMissing("openssl"),
  async fn() {
    await using openssl = await OpensslPki.create();
    await using pki = await TempPKI.create();
    const [a, b] = [await openssl.authority("a"), await openssl.authority("b")];
    const aByB = await openssl.authority("a_by_b", { keyOf: a, commonName: "a", issuer: b });
    const bByA = await openssl.authority("b_by_a", { keyOf: b, commonName: "b", issuer: a });
    const both = await openssl.join("both.pem", aByB.certFile, bByA.certFile);
    const client = await openssl.client("client", { issuer: a });
    const server = await openssl.server("server", { issuer: b });
    const sent = await openssl.join("client_sent.pem", client.certFile, aByB.certFile);
    const shown = await openssl.join("server_sent.pem", server.certFile, bByA.certFile);
    const trust = {
      serverSslconfig: { certFile: shown, keyFile: server.keyFile, caFile: both },
      clientSslconfig: {
        ...pki.clientSslconfig,
        caFile: both,
        certFile: sent,
        keyFile: client.keyFile,
      },
    };
    await using endpoint = await startTls(trust, () => [204, "No Content", {}, null]);
    assertEquals((await endpoint.client.request("GET", "/")).status, 204);
  },
});
