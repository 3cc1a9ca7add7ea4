/** Certificates that are renewed by a timer while both ends run, and others that are not. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { DeguError, TlsError } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { renewByTimer } from "@degu/internal/examples/renewal.ts";
import { type CertificateLife, openDevicePki } from "@degu/internal/identity/device_pki.ts";
import type { DevicePki } from "@degu/degu/device";
import type { App } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";

const SECOND = 1000;
const DAY = 24 * 60 * 60 * SECOND;

/** Certificates have whole seconds: with four they live for three to four, and are renewed after two. */
const lifeOf = (seconds: number): CertificateLife => ({
  days: seconds * SECOND / DAY,
  renewalDays: seconds / 2 * SECOND / DAY,
});

/** Milliseconds between two looks at the identity. */
const OFTEN = 200;

/** Milliseconds between two requests, so that the machine has time for other tests. */
const PACE = 100;

Deno.test("two ends that renew their certificates work past the first expiry, and others don't", async () => {
  // A machine that is busy may not get to renew within the two seconds that four leave. What is wrong at any machine is wrong
  // with the longest life, too.
  const lives = [4, 8, 16, 32];
  for (const seconds of lives) {
    try {
      return await outliveCertificates(lifeOf(seconds));
    } catch (error) {
      if (seconds === lives.at(-1)) throw error;
    }
  }
});

async function outliveCertificates(life: CertificateLife): Promise<void> {
  await using dir = await tempDir();
  const load = (name: string) => () => openDevicePki(dir.path, name, {}, life);
  const [camera, viewer] = await Promise.all([load("camera")(), load("viewer")()]);
  const trust = {
    serverSslconfig: { certFile: camera.certFile, keyFile: camera.keyFile, caFile: viewer.caFile },
    clientSslconfig: {
      certFile: viewer.certFile,
      keyFile: viewer.keyFile,
      caFile: camera.caFile,
      checkHostname: false,
    },
  };
  const shown: Date[] = [];
  const app: App = (_request, session) => {
    shown.push(session.peerCertificate!.validTo);
    return [204, "No Content", {}, null];
  };
  await using renewed = await startTls(trust, app);
  await using stale = await startTls(trust, app);
  const makeClient = ({ certFile, keyFile }: DevicePki, address = renewed.server.address) =>
    new SSLClient({ ...trust.clientSslconfig, certFile, keyFile }, address, { timeout: 60 });
  let [client, toStale] = [makeClient(viewer), makeClient(viewer, stale.server.address)];
  const staleClient = makeClient(viewer); // it has read the file that is renewed below
  using kept = await client.connect();

  // As long as nothing has expired all of them work.
  for (const each of [client, staleClient, toStale]) {
    assertEquals((await each.request("GET", "/")).status, 204);
  }

  await using _server = renewByTimer(load("camera"), ({ certFile, keyFile }) => {
    renewed.server.setSslctx({ ...trust.serverSslconfig, certFile, keyFile });
  }, OFTEN);
  await using _client = renewByTimer(load("viewer"), (pki) => {
    client = makeClient(pki);
    toStale = makeClient(pki, stale.server.address);
  }, OFTEN);

  const expired = Math.max(camera.validTo.getTime(), viewer.validTo.getTime());
  while (Date.now() <= expired + PACE) {
    using connection = await client.connect();
    assert(connection.sock.peerCertificate!.validTo.getTime() > Date.now());
    for (const each of [connection, kept]) {
      assertEquals((await each.request("GET", "/", {}, null)).status, 204);
    }
    await new Promise((resolve) => setTimeout(resolve, PACE));
  }

  // What has been renewed is what both ends show, and the connection from before is still there.
  using connection = await client.connect();
  const [first, latest] = [kept.sock.peerCertificate!, connection.sock.peerCertificate!];
  assert(latest.validTo > camera.validTo);
  assertEquals(latest.publicKey256, first.publicKey256);
  assertEquals((await connection.request("GET", "/", {}, null)).status, 204);
  assert(shown.at(-1)! > viewer.validTo);
  assertEquals((await kept.request("GET", "/", {}, null)).status, 204);

  // Certificates of this moment, so that it is the server's alone that has expired.
  toStale = makeClient(await load("viewer")(), stale.server.address);
  const refusal = await assertRejects(() => toStale.request("GET", "/"), TlsError);
  // EXPIRED from our own check; from the second after that from the TLS library, which only names it among the reasons.
  assertMatch(refusal.message, /has expired/);
  const answered = shown.length;
  await assertRejects(() => staleClient.request("GET", "/"), DeguError);
  assertEquals(shown.length, answered);
  assertMatch((await renewed.logger.waitFor("info")).join(), /certificate/);
  assertEquals((await client.request("GET", "/")).status, 204);
}

Deno.test("renewByTimer continues after an error, and ends when it is disposed of", async () => {
  await using dir = await tempDir();
  const pki = await openDevicePki(dir.path, "camera", {}, lifeOf(4));
  const { promise: usedTwice, resolve } = Promise.withResolvers<void>();
  const error = console.error;
  const reported: string[] = [];
  let [loaded, used, disposed] = [0, 0, false];
  console.error = (...values) => reported.push(values.join(" "));
  try {
    await using _renewal = renewByTimer(
      async () => {
        if (++loaded === 1) throw new Error("the disk is full");
        return await Promise.resolve(pki);
      },
      (each) => {
        assertEquals([each, disposed], [pki, false]);
        if (++used === 1) throw new RangeError("no such authority");
        if (used === 2) resolve();
      },
      1,
    );
    await within(usedTwice, "it is used twice");
  } finally {
    disposed = true;
    console.error = error;
  }
  assertEquals(reported.length, 2);
  assertMatch(reported[0] ?? "", /not renewed: Error: the disk is full/);
  assertMatch(reported[1] ?? "", /not renewed: RangeError: no such authority/);
});

Deno.test("renewByTimer does not keep the process alive", async () => {
  const script = `
    import { renewByTimer } from ${
    JSON.stringify(import.meta.resolve("../../examples/renewal.ts"))
  };
    renewByTimer(() => Promise.reject(new Error("too early")), () => {});
    console.log("over");`;
  assertEquals(await within(runScript(script, [], {}), "the program ends"), "over\n");
});
