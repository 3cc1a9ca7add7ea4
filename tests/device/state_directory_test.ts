/** A directory that several processes change. */
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { record } from "@degu/testing/device_pairs.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { namesOf, setUpPeers } from "@degu/testing/device_pairs.ts";

Deno.test("a change waits for that of another process", async () => {
  await using setup = await setUpPeers("one");
  const { camera, others: [one] } = setup;
  const peer = await record(camera, one!);
  using lock = await Deno.open(join(camera.dir, "lock"), { write: true });
  await lock.lock(true);
  let done = false;
  const renaming = camera.rename(peer, "two").then(() => done = true);
  assertEquals(namesOf(await camera.peers()), ["one"]);
  assertEquals(done, false);
  await lock.unlock();
  await within(renaming, "the name is changed");
});
