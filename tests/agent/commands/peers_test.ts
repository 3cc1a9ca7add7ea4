/** degu id, peers, rename and forget. */
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

Deno.test("id prints name and id, for users and for programs", async () => {
  await using homes = await AgentHomes.create();
  const [id] = await homes.init("one");
  assertEquals(await homes.must("one", ["id"]), `one ${id}\n`);
  assertEquals(JSON.parse(await homes.must("one", ["id", "--json"])), { name: "one", id });
});

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

Deno.test("a forgotten peer is refused at once, and its user is told what to do", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer");
  const { address } = await homes.serve("camera");
  const ping = ["ping", "camera", "--address", address];
  await homes.must("viewer", ping);
  assertEquals(await homes.must("camera", ["forget", "viewer"]), `forgotten: viewer ${viewer}\n`);
  const { code, stderr } = await homes.run("viewer", ping);
  assertEquals(code, 3);
  assertStringIncludes(stderr, "pair the two again");
  assertEquals((await homes.run("camera", ["forget", "viewer"])).code, 3);
  await homes.pair("camera", "viewer");
  await homes.must("viewer", ping);
});
