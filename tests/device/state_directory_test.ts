/** A directory that several processes change. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { namesOf, record, setUpPeers } from "@degu/testing/device_pairs.ts";
import { StateDirectory } from "@degu/internal/device/device_directory.ts";
import { entries, mode, tempDir } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";

Deno.test("a change waits for a change by another process", async () => {
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

/** A directory of state, and the path of its lock. */
async function makeState() {
  const dir = await tempDir();
  const path = join(dir.path, "state");
  await Deno.mkdir(path);
  const files = new StateDirectory(path, join(dir.path, "lock"));
  return { files, path, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() };
}

Deno.test("write replaces a private file, and remove returns whether there was one", async () => {
  await using state = await makeState();
  const { files, path } = state;
  await files.exclusively(async () => {
    await files.write("a", "one");
    await files.write("a", "two");
    await files.write("b", "three");
  });
  assertEquals(await Deno.readTextFile(join(path, "a")), "two");
  if (Deno.build.os !== "windows") assertEquals(await mode(join(path, "a")), 0o600);
  assertEquals(await files.names(), ["a", "b"]);
  const removed = await files.exclusively(async () => [
    await files.remove("a"),
    await files.remove("a"),
  ]);
  assertEquals([removed, await files.names()], [[true, false], ["b"]]);
});

Deno.test("what an interrupted writer leaves has no valid name, and the next writer removes it", async () => {
  await using state = await makeState();
  const { files, path } = state;
  await Deno.writeTextFile(join(path, ".0123456789abcdef"), "half");
  await Deno.writeTextFile(join(path, ".notes"), "mine");
  assertEquals(await files.names(), [".notes"]);
  await files.exclusively(() => files.write("a", "one"));
  assertEquals(await entries(path), [".notes", "a"]);
});

Deno.test("a write that fails leaves nothing behind", async () => {
  await using state = await makeState();
  const { files, path } = state;
  await Deno.mkdir(join(path, "a"));
  await assertRejects(() => files.exclusively(() => files.write("a", "one")));
  assertEquals(await entries(path), ["a"]);
});

Deno.test("changes run one after the other, even after one that fails", async () => {
  await using state = await makeState();
  const { files } = state;
  const events: string[] = [];
  const change = (name: string) =>
    files.exclusively(async () => {
      events.push(`${name} begins`);
      await files.write(name, name);
      events.push(`${name} ends`);
    });
  const failing = files.exclusively(() => Promise.reject(new Error("enough")));
  const changes = [change("a"), change("b")];
  await assertRejects(() => failing, Error, "enough");
  await Promise.all(changes);
  assertEquals(events, ["a begins", "a ends", "b begins", "b ends"]);
});

Deno.test("a directory that is gone has no names", async () => {
  await using state = await makeState();
  await Deno.remove(state.path);
  assertEquals(await state.files.names(), []);
});
