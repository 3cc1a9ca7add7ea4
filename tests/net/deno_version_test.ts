/** The supported versions of Deno; others are refused before TLS is used. */
import { DeguError } from "@degu/degu/base";
import { buildClientSslctx, SSLClient } from "@degu/degu/client";
import { buildServerSslctx, SSLServer } from "@degu/degu/server";
import { isSupportedDeno, MIN_DENO_VERSION } from "@degu/internal/net/tls/deno_version.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

Deno.test("versions are compared numerically, with pre-releases before releases", () => {
  const supported =
    "2.9.6 2.9.7 2.9.10 2.10.0 2.10.0-rc.1 2.100.0 3.0.0 3.0.0-rc.0+1a2b3c4 10.0.0 " +
    "2.9.6+1a2b3c4 2.9.16-alpha";
  const refused = "2.9.5 2.9.0 2.8.99 1.46.3 0.99.99 2.9.5+1a2b3c4 2.9.6-rc.1 2.9.6-rc.1+1a2b3c4 " +
    "2.9.6-2.9.7 2.9 2.9.6.1 v2.9.6 2.9.x -3.0.0 3e0.0.0 unknown";
  for (const version of supported.split(" ")) assertEquals(isSupportedDeno(version), true, version);
  for (const version of [...refused.split(" "), " 2.9.6", "2.9.6 ", ""]) {
    assertEquals(isSupportedDeno(version), false, version);
  }
  assertEquals(isSupportedDeno(Deno.version.deno), true);
});

Deno.test("on an older Deno TLS clients and servers fail with an error that names the required version", async () => {
  const app = () => [200, "OK", {}, null] as const;
  const serverSslconfig = {
    certFile: "/nowhere/cert.pem",
    keyFile: "/nowhere/key.pem",
    allowUnauthenticatedClients: true,
  } as const;
  const { version } = Deno;
  // The suite doesn't run on an older Deno: this simulates its version.
  Object.defineProperty(Deno, "version", { value: { ...version, deno: "2.9.5" } });
  try {
    const makers = [
      () => new SSLClient({}, ["127.0.0.1", 443]),
      () => new SSLServer(serverSslconfig, ["127.0.0.1", 0], app),
      () => buildClientSslctx({}),
      () => buildServerSslctx(serverSslconfig),
    ];
    for (const make of makers) {
      const { message } = await assertRejects(async () => await make(), DeguError);
      assertStringIncludes(message, 'this is Deno "2.9.5"');
      assertStringIncludes(message, `needs ${MIN_DENO_VERSION} or later`);
      assertStringIncludes(message, "don't verify client certificates reliably");
    }
  } finally {
    Object.defineProperty(Deno, "version", { value: version });
  }
  assertEquals(buildClientSslctx({}).verify, true);
});
