import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConnectionClosedError } from "@degu/degu/base";
import { addressOf, makeDevices, pair, Stranger } from "../support/pairing.ts";

Deno.test("two devices are paired by a line, and each has the other among its peers", async () => {
  await using devices = await makeDevices("Camera", "viewer");
  const { Camera: camera, viewer } = devices;
  const { atInviter, atJoiner } = await pair(
    camera,
    viewer,
    { serving: [["127.0.0.1", 7443], ["camera.local", 80]] },
    { serving: [["::1", 7444]] },
  );
  assertEquals([atInviter.id, atInviter.name], [viewer.id, "viewer"]);
  assertEquals([atJoiner.id, atJoiner.name], [camera.id, "Camera"]);
  assertEquals(atInviter.certificate, viewer.authority.certificate);
  assertEquals(atJoiner.certificate, camera.authority.certificate);
  assertEquals(atInviter.addresses, [["::1", 7444]]);
  assertEquals(atJoiner.addresses, [["127.0.0.1", 7443], ["camera.local", 80]]);
  assertEquals(await camera.peers(), [atInviter]);
  assertEquals(await viewer.peers(), [atJoiner]);
});

Deno.test("both ends log the name and the id of the other, and no secret", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await pair(camera, viewer);
  assert(camera.logger.at("info").some((line) => line.includes(`viewer (${viewer.id})`)));
  assert(viewer.logger.at("info").some((line) => line.includes(`camera (${camera.id})`)));
  assertEquals([...camera.logger.at("warn"), ...camera.logger.at("error")], []);
  assertEquals([...viewer.logger.at("warn"), ...viewer.logger.at("error")], []);
});

Deno.test("the port is free when the pairing has resolved, and after close", async () => {
  await using devices = await makeDevices("camera", "viewer");
  const { camera, viewer } = devices;
  await using invitation = await camera.invite();
  const [hostname, port] = addressOf(invitation);
  await Promise.all([viewer.join(invitation.line), invitation.paired]);
  Deno.listen({ hostname, port }).close();
  await using other = await camera.invite();
  const [, otherPort] = addressOf(other);
  await other.close();
  Deno.listen({ hostname, port: otherPort }).close();
  await assertRejects(() => other.paired, ConnectionClosedError);
});

Deno.test("a stranger connects", async () => {
  await using devices = await makeDevices("camera");
  const { camera } = devices;
  await using invitation = await camera.invite();
  using stranger = await Stranger.connect(addressOf(invitation));
  stranger.post("/secret", { hello: 1 });
  assertEquals(await stranger.end(), "");
});
