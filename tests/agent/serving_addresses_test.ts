/** What a new peer is told, seen from `degu peers` there. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AgentHomes } from "@degu/testing/agents.ts";

const INVITE = ["invite", "--listen", "127.0.0.1:0"];
const NET = ["--allow-net=127.0.0.1"];
const INTERFACES = "--allow-sys=networkInterfaces";

/** Pairs the camera, that invites with these flags, with the viewer; returns what the viewer then knows. */
async function pair(homes: AgentHomes, flags: string[]) {
  const invite = homes.spawn("camera", INVITE, flags);
  const line = await invite.line("degu:");
  await homes.must("viewer", ["join", "-", "--serving", "127.0.0.1:2"], NET, line);
  const { stderr } = await invite.ended();
  const { addresses } = JSON.parse(await homes.must("viewer", ["peers", "--json"]));
  return { addresses, stderr };
}

Deno.test("a new peer gets the address of a running degu serve", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const { address } = await homes.serve("camera");
  assertEquals((await pair(homes, NET)).addresses, [address]);
});

Deno.test("if degu serve is not running, a new peer gets the machine's addresses with the default port", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const { addresses } = await pair(homes, [...NET, INTERFACES]);
  assertEquals(addresses.length > 0, true);
  for (const address of addresses) assertMatch(address, /:7443$/);
});

Deno.test("without the permission to list them no address is sent, and a message says so", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const { addresses, stderr } = await pair(homes, NET);
  assertEquals(addresses, []);
  assertStringIncludes(
    stderr,
    "--allow-sys=networkInterfaces is missing: give them with --serving",
  );
  const { code, stderr: advice } = await homes.run("viewer", ["ping", "camera"]);
  assertEquals(code, 1);
  assertStringIncludes(advice, "no address of camera is known");
});
