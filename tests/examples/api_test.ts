/** The JSON API of the examples, run as a program. The test in examples/ tests its responses. */
import { Client } from "@degu/degu";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertNeeded, startExample } from "@degu/testing/examples.ts";
import { assert, assertEquals } from "@std/assert";

Deno.test("api.ts serves lamps until SIGTERM, and refuses a body that is too long", async () => {
  const path = "examples/api.ts";
  await using dir = await createTempDir();
  const audit = `${dir.path}/audit`;
  await using running = await startExample(path, { args: ["0"], audit });
  const [, port] = /:(\d+)\//.exec(await running.waitForStdout(/^Serving at .*$/m))!;
  const client = new Client(["127.0.0.1", Number(port)]);
  const putResponse = await client.request("PUT", "/lamp/kitchen", {}, '{"on": true}');
  assertEquals([putResponse.status, await putResponse.json()], [201, { on: true }]);
  const lamps = await client.request("GET", "/lamps");
  assertEquals(await lamps.json(), { kitchen: { on: true } });
  const tooLong = await client.request("PUT", "/lamp/kitchen", {}, " ".repeat(1001));
  assertEquals([tooLong.status, await tooLong.text()], [413, ""]);
  running.child.kill("SIGTERM");
  assert((await running.waitForEnd()).success);
  await assertNeeded(path, audit, dir.path);
});
