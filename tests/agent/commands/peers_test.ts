import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AgentHomes } from "@degu/testing/agents.ts";

Deno.test("peers lists the trusted devices, with addresses, for users and for programs", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  const none = await homes.run("camera", ["peers"]);
  assertEquals([none.code, none.stdout], [0, ""]);
  assertStringIncludes(none.stderr, 'none yet: run "degu invite"');
  await homes.pair("camera", "viewer", "192.0.2.1:7443", "[2001:db8::1]:7444");
  assertEquals(await homes.must("camera", ["peers"]), `viewer  ${viewer}  [2001:db8::1]:7444\n`);
  const { pairedAt, ...peer } = JSON.parse(await homes.must("camera", ["peers", "--json"]));
  assertEquals(peer, { name: "viewer", id: viewer, addresses: ["[2001:db8::1]:7444"] });
  assertMatch(pairedAt, /^\d{4}-\d\d-\d\dT/);
});
