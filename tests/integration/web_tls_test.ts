/** The bridge over mutual TLS: the peer's certificate, and the scheme. */
import { assertEquals, assertInstanceOf } from "@std/assert";
import { SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { type Address, type AppFunction, SSLServer } from "@degu/degu/server";
import { createFetch, fromFetchHandler } from "@degu/degu";
import { tempDir } from "@degu/testing/directories.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

/** Runs an application for clients of the PKI, or for any, while the test uses it. */
async function withServer(
  pki: TempPKI,
  anonymous: boolean,
  address: Address,
  app: AppFunction,
  use: (address: Address) => Promise<void>,
): Promise<void> {
  const sslconfig = anonymous ? pki.anonymousServerSslconfig : pki.serverSslconfig;
  const server = new SSLServer(sslconfig, address, app, { logger: new RecordingLogger() });
  const serving = server.serveForever();
  try {
    await within(server.ready, "the server is bound");
    await use(server.address);
  } finally {
    server.close();
    await within(serving, "serveForever() settles after close()");
  }
}

Deno.test("a handler serves the clients of a private authority, and fetch can be one", async (t) => {
  await using pki = await TempPKI.create();
  await using dir = await tempDir();
  const app = fromFetchHandler(async (request, { session }) =>
    Response.json([request.url, session.peerCertificate?.subject ?? null, await request.text()])
  );
  const init = { method: "POST", body: "hello" };
  const addresses: [name: string, address: Address, host: string | null][] = [
    ["TCP", ["127.0.0.1", 0], null],
    ["Unix", `${dir.path}/socket`, "device.local"],
    ["Unix, without a host", `${dir.path}/socket`, null],
  ];
  for (const [name, address, host] of addresses) {
    await t.step(`over ${name}`, () =>
      withServer(pki, false, address, app, async (address) => {
        const client = new SSLClient(pki.clientSslconfig, address, host === null ? {} : { host });
        using conn = await client.connect();
        for (const fetch of [createFetch(client), createFetch(conn)]) {
          const response = await fetch("/a?b", init);
          const url = `https://${client.host ?? "localhost"}/a?b`;
          assertEquals(response.url, url);
          assertEquals(await response.json(), [url, "CN=TempPKI client", "hello"]);
        }
      }));
  }
  await t.step(
    "a client without a certificate is refused",
    () =>
      withServer(pki, false, ["127.0.0.1", 0], app, async (address) => {
        const fetch = createFetch(new SSLClient(pki.anonymousClientSslconfig, address));
        const error = await rejectionOf(fetch("/", init), "a stranger");
        assertInstanceOf(error, TypeError);
        assertInstanceOf(error.cause, Error);
      }),
  );
  const secure = fromFetchHandler(({ url }) => new Response(url), {
    origin: "https://device.local",
  });
  await t.step(
    "an anonymous client is reported as https by the option",
    () =>
      withServer(pki, true, ["127.0.0.1", 0], secure, async (address) => {
        const fetch = createFetch(new SSLClient(pki.anonymousClientSslconfig, address));
        assertEquals(await (await fetch("/a")).text(), "https://device.local/a");
      }),
  );
});

Deno.test("a redirect to the server's own https URL is followed", async () => {
  await using pki = await TempPKI.create();
  const app = fromFetchHandler(({ url }) =>
    url.endsWith("/old") ? Response.redirect(url.replace("old", "new")) : new Response("here")
  );
  await withServer(pki, false, ["127.0.0.1", 0], app, async (address) => {
    const client = new SSLClient(pki.clientSslconfig, address);
    const response = await createFetch(client)("/old");
    assertEquals([response.url, response.redirected], [`https://${client.host}/new`, true]);
    assertEquals(await response.text(), "here");
  });
});
