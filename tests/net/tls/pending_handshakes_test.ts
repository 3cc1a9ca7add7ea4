/** Pending handshakes: they occupy no slot, the oldest is closed first, and none delays another. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type Address, EmptyPreambleError } from "@degu/degu/base";
import { type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { PendingHandshakes } from "@degu/internal/net/tls/pending_handshakes.ts";
import { TempPKI } from "@degu/internal/misc/pki.ts";
import type { App } from "@degu/degu/server";
import { hasIPv6 } from "@degu/testing/endpoints.ts";
import { RawPeer, turnOfEventLoop, untilRefused, within } from "@degu/testing/raw_peer.ts";
import { startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";

const MAX_PENDING = 64;
const noContent: App = () => [204, "No Content", {}, null];

/** The reasons of handshakes that failed, without who it was. */
function reasonsOf({ logger }: TlsEndpoint): string[] {
  const failed = /^.*:\d+: the handshake failed: /;
  return [...logger.at("debug"), ...logger.at("info")]
    .filter((line) => failed.test(line))
    .map((line) => line.replace(failed, ""));
}

async function connectSilently({ server }: TlsEndpoint, count: number): Promise<RawPeer[]> {
  const peers = [];
  for (let i = 0; i < count; i++) peers.push(await RawPeer.connect(server.address));
  return peers;
}

Deno.test("a handshake occupies no slot, and lasts up to the timeout if nobody waits", async () => {
  await using pki = await TempPKI.create();
  const options = { server: { maxConnections: 1, timeout: 0.5 } };
  await using endpoint = await startTls(pki, noContent, options);
  const begun = performance.now();
  using silent = await RawPeer.connect(endpoint.server.address);
  for (let i = 0; i < 5; i++) {
    assertEquals((await endpoint.client.request("GET", "/")).status, 204);
  }
  assertEquals(reasonsOf(endpoint), []);
  await silent.assertClosedSilently();
  assert(performance.now() - begun >= 490, "the silent peer was closed before its time");
  assertEquals(reasonsOf(endpoint), ["the TLS handshake took over 0.5 s"]);
});

Deno.test("a client is accepted within 2 s despite 120 silent peers that reconnect at once", async (t) => {
  await using pki = await TempPKI.create();
  for (const timeout of [30, null]) {
    await t.step(`timeout ${timeout}`, async () => {
      const options = { server: { maxConnections: 1, timeout }, client: { timeout: 5 } };
      await using endpoint = await startTls(pki, noContent, options);
      let over = false;
      let cuts = 0;
      const current = new Set<RawPeer>();
      const strangers = Array.from({ length: 120 }, async () => {
        while (!over) {
          using peer = await RawPeer.connect(endpoint.server.address);
          if (over) break;
          current.add(peer);
          await peer.conn.read(new Uint8Array(1)).catch(() => {});
          current.delete(peer);
          cuts++;
        }
      });
      while (reasonsOf(endpoint).length < 10) await turnOfEventLoop();
      const getIn = async () => {
        for (;;) {
          const response = await endpoint.client.request("GET", "/").catch(() => null);
          if (response !== null) return response.status;
        }
      };
      for (let i = 0; i < 5; i++) {
        assertEquals(await within(getIn(), "the client gets in", 2), 204);
      }
      over = true;
      for (const peer of current) peer.close();
      await Promise.all(strangers);
      assert(cuts > 120, "nobody had to give way");
    });
  }
});

Deno.test("the oldest of 64 handshakes is closed for the next, without a byte, but not within 250 ms", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent, { server: { timeout: null } });
  const begun = performance.now();
  const peers = await connectSilently(endpoint, MAX_PENDING);
  await turnOfEventLoop();
  assertEquals(reasonsOf(endpoint), []);
  for (const oldest of peers.slice(0, 3)) {
    peers.push(await RawPeer.connect(endpoint.server.address));
    await oldest.assertClosedSilently("the oldest");
    assert(performance.now() - begun >= 250, "it had no time for its handshake");
  }
  assertEquals(
    reasonsOf(endpoint),
    new Array(3).fill("it was closed for a newer one, with 64 in progress"),
  );
  assertEquals(endpoint.logger.at("info"), [], "strangers can't fill the log");
  for (const peer of peers) peer.close();
});

Deno.test("a handshake that has begun is not closed for silent strangers", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent, { server: { timeout: null } });
  // It has sent the beginning of a ClientHello, and is slow with the rest.
  using slow = await RawPeer.connect(endpoint.server.address);
  await slow.send("\x16\x03\x01\x02\x00");
  await turnOfEventLoop();
  const peers = await connectSilently(endpoint, MAX_PENDING - 1);
  for (const oldest of peers.slice(0, 3)) {
    peers.push(await RawPeer.connect(endpoint.server.address));
    await oldest.assertClosedSilently("the oldest that is silent");
  }
  assertEquals(reasonsOf(endpoint).length, 3);
  // It is still there, and fails by itself.
  await slow.send("x".repeat(0x200));
  await slow.readToEnd();
  assertEquals(
    reasonsOf(endpoint).filter((reason) => !reason.includes("for a newer one")).length,
    1,
  );
  for (const peer of peers) peer.close();
});

Deno.test("waiting for a slot and handshakes don't block one another", async () => {
  await using pki = await TempPKI.create();
  const options = { server: { maxConnections: 1, timeout: null } };
  await using endpoint = await startTls(pki, noContent, options);
  using holder = await endpoint.client.connect();
  await holder.get("/");
  using waiting = await endpoint.client.connect();
  const answer = waiting.get("/");
  const peers = await connectSilently(endpoint, MAX_PENDING + 3);
  for (const oldest of peers.slice(0, 3)) await oldest.assertClosedSilently("the oldest");
  const anonymous: ClientSslconfig = {
    caFile: pki.clientSslconfig.caFile!,
    checkHostname: false,
  };
  const stranger = new SSLClient(anonymous, endpoint.server.address, { timeout: 5 });
  await assertRejects(() => stranger.request("GET", "/"));
  assertMatch(reasonsOf(endpoint).at(-1)!, /no certificate/);
  holder.close();
  assertEquals((await within(answer, "who waited is served", 2)).status, 204);
  for (const peer of peers) peer.close();
});

Deno.test("clients that wait for a slot get one in turn, or are closed after 2 s", async (t) => {
  await using pki = await TempPKI.create();
  await t.step("60 clients share 2 slots", async () => {
    await using endpoint = await startTls(pki, noContent, { server: { maxConnections: 2 } });
    const { client } = endpoint;
    const statuses = await Promise.all(
      Array.from({ length: 60 }, async () => (await client.request("GET", "/")).status),
    );
    assertEquals(statuses, new Array(60).fill(204));
  });
  await t.step(
    "the first is closed after 2 s, and the next one waits and gets a slot",
    async () => {
      await using endpoint = await startTls(pki, noContent, { server: { maxConnections: 1 } });
      using holder = await endpoint.client.connect();
      await holder.get("/");
      using first = await endpoint.client.connect();
      const turnedAway = assertRejects(() => first.get("/"), EmptyPreambleError);
      await turnOfEventLoop();
      using second = await endpoint.client.connect();
      const answer = second.get("/");
      await within(turnedAway, "who waited is closed", 3.5);
      holder.close();
      assertEquals((await within(answer, "the next gets in", 2)).status, 204);
    },
  );
});

Deno.test("one client waits for a slot, and at most 64 with a finished handshake wait behind it", async () => {
  await using pki = await TempPKI.create();
  await using endpoint = await startTls(pki, noContent, { server: { maxConnections: 1 } });
  using holder = await endpoint.client.connect();
  await holder.get("/");
  const conns = [];
  for (let i = 0; i < 65; i++) conns.push(await endpoint.client.connect());
  await turnOfEventLoop();
  assertEquals(endpoint.logger.at("info"), []);
  using last = await endpoint.client.connect();
  await assertRejects(() => last.get("/"), EmptyPreambleError);
  assertMatch((await endpoint.logger.waitFor("info")).join(), /^[^,]*: too many wait for a slot$/);
  for (const conn of conns) conn.close();
});

Deno.test("a closing server closes handshakes, and connections that wait for a slot", async (t) => {
  await using pki = await TempPKI.create();
  const addresses: Address[] = [["127.0.0.1", 0]];
  if (hasIPv6) addresses.push(["::1", 0, 0, 1]);
  for (const address of addresses) {
    for (const end of ["close", "shutdown", "dispose"] as const) {
      await t.step(`${end} at ${address[0]}`, async () => {
        const server = { maxConnections: 1, timeout: null };
        await using endpoint = await startTls(pki, noContent, { server }, address, (bound) => {
          return [String(bound[0]), Number(bound[1])];
        });
        using holder = await endpoint.client.connect();
        await holder.get("/");
        const waiting = [await endpoint.client.connect(), await endpoint.client.connect()];
        const silent = await connectSilently(endpoint, MAX_PENDING + 5);
        await silent[3]!.send(Uint8Array.of(0x16, 3, 1));
        await turnOfEventLoop();
        if (end === "dispose") await endpoint.server[Symbol.asyncDispose]();
        else await within(Promise.resolve(endpoint.server[end]()), `${end}() resolves`);
        await within(endpoint.done, "serveForever() settles");
        const [host, port] = endpoint.server.address as [string, number];
        // Not by listening there: a connection of another test may have got the port for its own end.
        await untilRefused([host, port]);
        for (const conn of waiting) {
          await assertRejects(() => conn.get("/"), EmptyPreambleError);
        }
        for (const peer of silent) {
          await peer.assertClosedSilently();
          peer.close();
        }
      });
    }
  }
});

Deno.test("a finished handshake makes room at once", async () => {
  const pending = new PendingHandshakes(null);
  const handshakes = Array.from({ length: MAX_PENDING }, () => pending.add(() => false));
  let hasRoom = false;
  const waiting = pending.makeRoom().then(() => hasRoom = true);
  pending.delete(handshakes[5]!);
  // Well before the time is over after which one gives way: no timer has run.
  for (let turn = 0; turn < 10; turn++) await null;
  assert(hasRoom);
  await waiting;
  assertEquals(handshakes.filter(({ isCut }) => isCut), []);
});
