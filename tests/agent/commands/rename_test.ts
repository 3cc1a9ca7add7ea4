import { assertEquals, assertMatch } from "@std/assert";
import { AgentHomes } from "@degu/testing/agents.ts";

Deno.test("rename changes a peer's name on this device only, unless the name is taken or invalid", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer", "other");
  await homes.pair("camera", "viewer");
  await homes.pair("camera", "other");
  assertEquals(await homes.must("camera", ["rename", "viewer", "tv"]), `tv ${viewer}\n`);
  assertEquals(await homes.must("camera", ["rename", viewer!, "TV-2"]), `TV-2 ${viewer}\n`);
  assertMatch(await homes.must("viewer", ["peers"]), /^camera /);
  for (const name of ["other", "a b", "x".repeat(64)]) {
    const { code, stderr } = await homes.run("camera", ["rename", "TV-2", name]);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, /^degu: error: NAME: /);
  }
  assertEquals((await homes.run("camera", ["rename", "viewer", "x"])).code, 3);
});
