/** Accepting connections: what a peer does before it is accepted affects nobody else. */
import { assertEquals } from "@std/assert";
import { connect } from "node:net";
import type { Address } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import { type App, Server, SSLServer } from "@degu/degu/server";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

const RESETS = 200;
const app: App = () => [204, "No Content", {}, null];

/** Connects and resets, before anybody has accepted it. */
async function connectAndReset(host: string, port: number): Promise<void> {
  const socket = connect(port, host);
  await new Promise((resolve) => socket.once("connect", resolve));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.resetAndDestroy();
  await closed;
}

Deno.test("peers that reset before they are accepted cause no pause and no warning", async (t) => {
  await using pki = await TempPKI.create();
  await t.step("a plain server", async () => {
    const logger = new RecordingLogger();
    await using server = new Server(["127.0.0.1", 0], app, { logger });
    const [host, port] = server.address as [string, number];
    for (let i = 0; i < RESETS; i++) await connectAndReset(host, port);
    const serving = server.serveForever();
    const asking = new Client(server.address, { timeout: 10 }).request("GET", "/");
    // With a pause of 50 ms for each of them it would take 10 s.
    assertEquals((await within(asking, "somebody else is served")).status, 204);
    assertEquals(logger.at("warn"), []);
    assertEquals(logger.at("debug").filter((line) => line.includes("gone before")).length, RESETS);
    server.close();
    await within(serving, "serveForever() settles");
  });
  const addresses: Address[] = [["127.0.0.1", 0]];
  if (hasIPv6) addresses.push(["::1", 0, 0, 1]);
  for (const address of addresses) {
    await t.step(`over TLS at ${Deno.inspect(address)}`, async () => {
      const logger = new RecordingLogger();
      await using server = new SSLServer(pki.serverSslconfig, address, app, { logger });
      await server.ready;
      const [host, port] = server.address as [string, number];
      for (let i = 0; i < RESETS; i++) await connectAndReset(host, port);
      const serving = server.serveForever();
      const client = new SSLClient(pki.clientSslconfig, [host, port], { timeout: 10 });
      const asking = client.request("GET", "/");
      assertEquals((await within(asking, "somebody else is served")).status, 204);
      assertEquals(logger.at("warn"), []);
      server.close();
      await within(serving, "serveForever() settles");
    });
  }
});
