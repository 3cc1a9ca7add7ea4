/** The addresses of a device's servers, for its other processes. */
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { setUpPeers } from "@degu/testing/device_pairs.ts";
import { entries } from "@degu/testing/directories.ts";

Deno.test("servingAddresses returns the servers of processes that are alive", async () => {
  await using setup = await setUpPeers();
  const { camera } = setup;
  assertEquals(await camera.serving(), []);
  await using server = camera.listen(["127.0.0.1", 0], () => [204, "No Content", {}, null]);
  assertEquals(setup.logger.lines, []);
  const serving = server.serveForever();
  await server.ready;
  assertEquals(await camera.serving(), [server.address]);
  // What a process that was killed has left: nobody holds its lock.
  const left = join(camera.dir, "serving", "0123456789abcdef");
  await Deno.writeTextFile(left, "127.0.0.1:9");
  assertEquals(await camera.serving(), [server.address]);
  assertEquals(await entries(join(camera.dir, "serving")).then(({ length }) => length), 1);
  server.close();
  await serving;
  assertEquals(await camera.serving(), []);
  assertEquals(await entries(join(camera.dir, "serving")), []);
});
