import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { defaultName } from "@degu/internal/agent/commands/init.ts";
import { isDeviceName } from "@degu/internal/identity/names.ts";
import { AgentHomes, runAgentHere } from "@degu/testing/agents.ts";
import { entries } from "@degu/testing/directories.ts";

Deno.test("init creates a device, prints its name and id, and shows the next step", async () => {
  await using homes = await AgentHomes.create();
  const { code, stdout, stderr } = await homes.run("one", ["init", "--name", "camera"]);
  assertEquals(code, 0);
  assertMatch(stdout, /^camera [a-z2-7]{52}\n$/);
  assertStringIncludes(stderr, '"degu invite"');
  assertEquals(await homes.must("one", ["id"]), stdout);
});

Deno.test("the default is the machine's name, which needs a permission", async () => {
  await using homes = await AgentHomes.create();
  const { code, stderr } = await homes.run("one", ["init"]);
  assertEquals(code, 1);
  assertMatch(stderr, /hostname/);
  const permitted = homes.spawn("one", ["init"], ["--allow-sys=hostname"]);
  assertMatch((await permitted.ended()).stdout, /^[0-9A-Za-z]\S* [a-z2-7]{52}\n$/);
});

Deno.test("a second init changes nothing, and reports the existing device", async () => {
  await using homes = await AgentHomes.create();
  const [id] = await homes.init("one");
  for (const args of [["init"], ["init", "--name", "one"], ["init", "--name", "two"]]) {
    const { code, stdout, stderr } = await homes.run("one", args);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, `there is a device in ${homes.at("one")} already: one ${id}; `);
  }
  assertEquals(await homes.must("one", ["id"]), `one ${id}\n`);
});

Deno.test("an invalid name is a usage error, and leaves nothing behind", async () => {
  await using homes = await AgentHomes.create();
  for (const name of ["", "a b", "-x", "x".repeat(64), "naïve"]) {
    const { code, stderr } = await homes.run("one", ["init", `--name=${name}`]);
    assertEquals(code, 2, name);
    assertMatch(stderr, /--name: must be 1 to 63 letters/);
  }
  assertEquals(await entries(homes.path), []);
});

Deno.test("with --quiet and --json only one object is printed", async () => {
  await using homes = await AgentHomes.create();
  const { stdout, stderr } = await homes.run("one", ["init", "--name", "one", "--quiet", "--json"]);
  const { name, id, home, ...others } = JSON.parse(stdout);
  assertEquals([name, home, others, stderr], ["one", homes.at("one"), {}, ""]);
  assertEquals(id.length, 52);
});

Deno.test("global options may precede the command", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("one");
  const { code } = await runAgentHere(["--home", homes.at("one"), "--json", "id"]);
  assertEquals(code, 0);
});

Deno.test("the name of a machine is converted to a valid name", () => {
  const rows = [
    ["laptop", "laptop"],
    ["laptop.example.com", "laptop"],
    ["Annas MacBook", "Annas-MacBook"],
    ["Jürgens-Büro", "Jurgens-Buro"],
    ["-x_1-", "x_1"],
    ["_.local", "device"],
    ["", "device"],
    ["東京", "device"],
    ["a".repeat(62) + "-b", "a".repeat(62)],
    ["a".repeat(80), "a".repeat(63)],
    // It would be taken for an id.
    ["a".repeat(52), "device"],
  ] as const;
  for (const [hostname, expected] of rows) {
    const name = defaultName(hostname);
    assertEquals(name, expected, hostname);
    assert(isDeviceName(name), name);
  }
});
