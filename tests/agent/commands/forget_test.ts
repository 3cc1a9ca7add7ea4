import { assertEquals, assertStringIncludes } from "@std/assert";
import { AgentHomes } from "@degu/testing/agents.ts";

Deno.test("a forgotten peer is refused at once, and its user is told what to do", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer");
  const { address } = await homes.serve("camera");
  const ping = ["ping", "camera", "--address", address];
  const net = [`--allow-net=${address}`];
  await homes.must("viewer", ping, net);
  assertEquals(await homes.must("camera", ["forget", "viewer"]), `forgotten: viewer ${viewer}\n`);
  const { code, stderr } = await homes.run("viewer", ping, net);
  assertEquals(code, 3);
  assertStringIncludes(stderr, "pair the two again");
  assertEquals((await homes.run("camera", ["forget", "viewer"])).code, 3);
  await homes.pair("camera", "viewer");
  await homes.must("viewer", ping, net);
});
