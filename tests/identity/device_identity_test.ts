/** The identity of an open device: its contexts of TLS. */
import { DeviceIdentity } from "@degu/internal/kit/identity/device_identity.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";

Deno.test("an identity makes a client's context once for each peer", async () => {
  await using dir = await tempDir();
  const identity = await DeviceIdentity.open(dir.path, "camera");
  const peer = { certificate: identity.authority.certificate };
  assertStrictEquals(identity.clientContext(peer), identity.clientContext(peer));
  assert(identity.clientContext({ ...peer }) !== identity.clientContext(peer));
});

Deno.test("a server's context of an identity verifies clients by the given authorities, or none", async () => {
  await using dir = await tempDir();
  const identity = await DeviceIdentity.open(dir.path, "camera");
  const { certificate } = identity.authority;
  assertEquals(identity.serverContext([{ certificate }]).verify, true);
  assertEquals(identity.serverContext([]).verify, true);
  assertEquals(identity.serverContext(null).verify, false);
});
