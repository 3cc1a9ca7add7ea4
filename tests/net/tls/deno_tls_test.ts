/** Connections, clients, pools and `createFetch` over `Deno.connectTls`. */
import { Client, Connection, ConnectionPool, createFetch, reply } from "@degu/degu";
import { openSharedPki, readTexts, startTls } from "@degu/testing/tls_endpoints.ts";
import { assertEquals, assertRejects } from "@std/assert";

Deno.test("a fetch over Deno.connectTls has URLs of the scheme https: of a connection, a client and a pool", async () => {
  const pki = await openSharedPki();
  await using endpoint = await startTls(pki, (request) => reply(200, request.uri));
  const { ca, cert, key } = await readTexts(pki.clientSslconfig);
  const [, port] = endpoint.server.address as readonly [string, number];
  const dial = () =>
    Deno.connectTls({ hostname: "localhost", port, caCerts: [ca!], cert: cert!, key: key! });
  const host = `localhost:${port}`;
  const client = new Client(["localhost", port], { dial, scheme: "https" });
  using conn = new Connection(await dial(), { host });
  await using pool = new ConnectionPool(client);
  for (const requester of [conn, client, pool]) {
    const fetch = createFetch(requester);
    const response = await fetch(`https://${host}/a`);
    assertEquals([response.url, await response.text()], [`https://${host}/a`, "/a"]);
    await assertRejects(() => fetch(`http://${host}/a`), TypeError, `https://${host}`);
  }
});
