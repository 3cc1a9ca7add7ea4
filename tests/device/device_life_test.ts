/** Two devices from pairing to forgetting, as their users see it. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type Address,
  ConnectionClosedError,
  DeguError,
  EmptyPreambleError,
} from "@degu/degu/base";
import { peerOf } from "@degu/degu/device";
import type { App } from "@degu/degu/server";
import { TestDevices } from "@degu/testing/device_pairs.ts";
import { inAnotherProcess } from "@degu/testing/device_programs.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { HandshakeRelay } from "@degu/testing/tls_relay.ts";

const LOOPBACK: Address = ["127.0.0.1", 0];

const greet: App = (_request, session) => [200, "OK", { hello: peerOf(session).name }, null];

Deno.test("two devices pair, serve each other, and one is forgotten in another process", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  const servers = [camera, viewer].map((device) => device.listen(LOOPBACK, greet));
  const serving = servers.map((server) => server.serveForever());
  await Promise.all(servers.map((server) => server.ready));

  await using invitation = await camera.invite({ listen: [LOOPBACK] });
  const peer = await viewer.join(invitation.line);
  assertEquals((await invitation.paired).id, viewer.id);
  assertEquals([peer.id, peer.addresses], [camera.id, [servers[0]!.address]]);

  const toCamera = await viewer.client("camera");
  const toViewer = await camera.client("viewer");
  assertEquals((await toCamera.request("GET", "/")).headers["hello"], "viewer");
  assertEquals((await toViewer.request("GET", "/")).headers["hello"], "camera");

  using conn = await toCamera.connect();
  await conn.get("/");
  using back = await toViewer.connect();
  await back.get("/");
  await using relay = new HandshakeRelay(servers[0]!.address);
  const dawdling = await viewer.client("camera", { addresses: [relay.address] });
  const dawdled = assertRejects(() => dawdling.request("GET", "/"), Error);
  await relay.waitForHeld(1);
  const [session] = servers[0]!.sessions;
  const ended = Promise.withResolvers<void>();
  session!.signal.addEventListener("abort", () => ended.resolve());

  await inAnotherProcess(camera.dir, `await device.forget("viewer");`);
  await within(ended.promise, "the session ends", 20);
  relay.release();
  await dawdled;
  assertEquals(servers[0]!.sessions.size, 0);
  await assertRejects(() => toCamera.request("GET", "/"), EmptyPreambleError);
  await assertRejects(() => back.get("/"), Error, "closed");
  await assertRejects(() => camera.client("viewer"), RangeError);
  // The other one knows nothing of it until it asks, and still has its entry.
  assert(await viewer.peer("camera"));

  for (const server of servers) server.close();
  await Promise.all(serving);
});

Deno.test("a pairing takes effect in running servers, even those of other processes", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  const agent = await devices.open("camera"); // as a second process
  const server = camera.listen(LOOPBACK, greet);
  const serving = server.serveForever();
  await server.ready;
  await using invitation = await agent.invite({ listen: [LOOPBACK] });
  await viewer.join(invitation.line);
  await invitation.paired;
  const client = await viewer.client("camera");
  const end = Date.now() + 20_000;
  let name = "";
  while (name === "" && Date.now() < end) {
    name = await client.request("GET", "/").then(
      ({ headers }) => String(headers["hello"]),
      () => "",
    );
  }
  assertEquals(name, "viewer");
  server.close();
  await serving;
});

Deno.test("disposing closes open invitations, and ends joining", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  const invitation = await camera.invite({ listen: [LOOPBACK] });
  await camera[Symbol.asyncDispose]();
  await assertRejects(() => invitation.paired, ConnectionClosedError);
  await assertRejects(() => viewer.join(invitation.line), DeguError);
  await assertRejects(() => camera.invite({ listen: [LOOPBACK] }), DeguError, "closed");
  const joining = assertRejects(() => viewer.join(invitation.line), Error);
  await viewer[Symbol.asyncDispose]();
  await joining;
});
