/** Which peer a session belongs to. */
import { assertEquals, assertThrows } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { Client } from "@degu/degu/client";
import { peerOf } from "@degu/degu/device";
import { type App, Server, type Session, SSLServer } from "@degu/degu/server";
import { makeAuthority, makeLeaf } from "@degu/testing/authorities.ts";
import { authorityOf, TestDevices } from "@degu/testing/device_pairs.ts";
import {
  answerOf,
  clientWith,
  LOOPBACK,
  ownCertificate,
  recordAuthority,
  setUp,
} from "@degu/testing/device_serving.ts";

Deno.test("peerOf throws a TypeError for a session of another server", async () => {
  await using devices = await TestDevices.create();
  const camera = await devices.open("camera");
  const sessions: Session[] = [];
  const app: App = (_request, session) => {
    sessions.push(session);
    return [204, "No Content", {}, null];
  };
  const { cert, key } = await ownCertificate(camera);
  const ca = (await authorityOf(camera.dir)).certificate;
  await using plain = new Server(LOOPBACK, app);
  await using tls = new SSLServer({ ca, cert, key }, LOOPBACK, app);
  plain.serveForever();
  tls.serveForever();
  await tls.ready;
  using conn = await new Client(plain.address).connect();
  await conn.get("/");
  await (await clientWith(camera, tls.address, cert, key)).request("GET", "/");
  assertEquals(sessions.length, 2);
  for (const session of sessions) assertThrows(() => peerOf(session), TypeError, "another server");
  assertThrows(() => peerOf({} as Session), TypeError, "must be a session");
});

Deno.test("malicious paired peer: a certificate with another peer's name is still its own", async () => {
  await using setup = await setUp();
  const { camera, viewer, server } = setup;
  // Its authority, and what it has signed, carry the names of the viewer's.
  const theirs = await authorityOf(viewer.dir);
  const { cert } = await ownCertificate(viewer);
  const dnOf = (pem: string) => new X509Certificate(pem).subject.replace(/^.*CN=/s, "");
  const forged = await makeAuthority({ name: dnOf(theirs.certificate) });
  await recordAuthority(camera, forged, "mallory");
  const leaf = await makeLeaf(forged, dnOf(cert));
  const client = await clientWith(camera, server.address, leaf.pem, leaf.keyPem);
  assertEquals(await answerOf(client), "mallory");
  assertEquals(await setup.ask(), "viewer");
});
