import { assertEquals } from "@std/assert";
import { AgentHomes } from "@degu/testing/agents.ts";

Deno.test("id prints name and id, for users and for programs", async () => {
  await using homes = await AgentHomes.create();
  const [id] = await homes.init("one");
  assertEquals(await homes.must("one", ["id"]), `one ${id}\n`);
  assertEquals(JSON.parse(await homes.must("one", ["id", "--json"])), { name: "one", id });
});
