/** Servers and clients with a custom ALPN protocol (RFC 7301). */
import { TlsError } from "@degu/degu/base";
import { SSLClient, type SSLClientOptions } from "@degu/degu/client";
import { SSLServer, type SSLServerOptions } from "@degu/degu/server";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { assertEquals, assertThrows } from "@std/assert";

const app = () => [204, "No Content", {}, null] as const;

const pki = await openSharedPki();

/** Serves over TLS, and returns a function that reports the result of a request. */
async function serve(options: SSLServerOptions) {
  const endpoint = await startTls(pki, app, { server: options });
  return {
    ...endpoint,
    async requestStatus(options: SSLClientOptions): Promise<number | string> {
      const client = new SSLClient(pki.clientSslconfig, endpoint.server.address, options);
      try {
        return (await client.get("/")).status;
      } catch (error) {
        return error instanceof TlsError ? error.code : (error as Error).name;
      }
    },
  };
}

Deno.test("a server with a protocol accepts only clients that offer it", async () => {
  await using served = await serve({ protocol: "lamp/1" });
  assertEquals(served.server.options.protocol, "lamp/1");
  assertEquals(await served.requestStatus({ protocol: "lamp/1" }), 204);
  const otherOptions: SSLClientOptions[] = [{}, { protocol: "lamp/2" }, { protocol: "LAMP/1" }];
  for (const options of otherOptions) {
    const fate = await served.requestStatus(options);
    assertEquals(typeof fate, "string", `${options.protocol}: ${fate}`);
  }
  assertEquals(served.logger.messagesOf("info").length, 3);
});

Deno.test("a client with a protocol accepts only servers that select it", async () => {
  await using served = await serve({});
  assertEquals(await served.requestStatus({ protocol: "lamp/1" }), "POLICY");
  assertEquals(await served.requestStatus({}), 204);
});

Deno.test("a protocol is a text of 1 to 255 visible ASCII characters", async () => {
  const makers = [
    (...options: unknown[]) =>
      Reflect.construct(SSLClient, [pki.clientSslconfig, ["127.0.0.1", 81], ...options]),
    (...options: unknown[]) =>
      Reflect.construct(SSLServer, [pki.serverSslconfig, ["127.0.0.1", 0], app, ...options]),
  ];
  const longest = "a".repeat(255);
  for (const make of makers) {
    for (const protocol of ["", `${longest}a`, "a b", "é", "a\n"]) {
      assertThrows(() => make({ protocol }), RangeError, "protocol: must be 1 to 255", protocol);
    }
    for (const protocol of [5, null, ["a"]]) {
      assertThrows(() => make({ protocol }), TypeError, "protocol: must be a string");
    }
  }
  await using served = await serve({ protocol: longest });
  assertEquals(await served.requestStatus({ protocol: longest }), 204);
});
