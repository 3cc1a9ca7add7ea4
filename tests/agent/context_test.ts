/** What every command is given, seen from `degu id` and `degu ping` as processes. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { DeviceClientOptions } from "@degu/degu/device";
import { makeContext, nearNames, openClient } from "@degu/internal/agent/context.ts";
import { AgentHomes, runAgent } from "@degu/testing/agents.ts";
import { record, TestDevices } from "@degu/testing/device_pairs.ts";

const ENV = ["--allow-env=XDG_STATE_HOME,HOME"];

Deno.test("without --home the environment determines the directory of the device", async () => {
  await using homes = await AgentHomes.create();
  const home = homes.at("state", "degu");
  const flags = [`--allow-read=${home}`, `--allow-write=${home}`, "--allow-sys=uid", ...ENV];
  const env = { XDG_STATE_HOME: homes.at("state") };
  const made = await runAgent(["init", "--name", "one", "--json"], { flags, env });
  assertEquals(made.code, 0, made.stderr);
  assertEquals(JSON.parse(made.stdout).home, home);
  const found = await runAgent(["id"], { flags, env });
  assertEquals(found.stdout, `one ${JSON.parse(made.stdout).id}\n`);
});

Deno.test("a relative XDG_STATE_HOME is ignored", async () => {
  await using homes = await AgentHomes.create();
  const home = homes.at(".local", "state", "degu");
  const flags = [`--allow-read=${home}`, `--allow-write=${home}`, "--allow-sys=uid", ...ENV];
  const env = { XDG_STATE_HOME: "relative", HOME: homes.path };
  const { code, stderr } = await runAgent(["id"], { flags, env });
  assertEquals(code, 3);
  assertStringIncludes(stderr, `there is no device in ${home} yet`);
});

Deno.test("with --home the environment is ignored, and a relative path is resolved against the current directory", async () => {
  const relative = await runAgent(["--home", "tests", "id"], {
    flags: ["--allow-read", "--allow-sys=uid"],
  });
  assertEquals(relative.code, 3);
  assertStringIncludes(relative.stderr, `${Deno.cwd()}/tests`);
});

Deno.test("an empty --home is refused, as it would be the current directory", async () => {
  const { code, stderr } = await runAgent(["--home", "", "init"]);
  assertEquals([code, stderr], [2, "degu: error: --home: must be a directory; it is empty\n"]);
});

Deno.test("if there is no device, the error says how to create one", async () => {
  await using homes = await AgentHomes.create();
  for (const args of [["id"], ["peers"], ["ping", "x"], ["join", "x"], ["invite"], ["serve"]]) {
    const { code, stdout, stderr } = await homes.run("one", args);
    assertEquals([code, stdout], [3, ""], args.join(" "));
    assertEquals(
      stderr,
      `degu: error: there is no device in ${homes.at("one")} yet: make one with "degu init"\n`,
    );
  }
});

Deno.test("an unknown peer is reported with similar names", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const alone = await homes.run("viewer", ["ping", "camera"]);
  assertEquals(alone.code, 3);
  assertStringIncludes(alone.stderr, 'not paired with any yet: run "degu invite"');
  await homes.pair("camera", "viewer");
  const near = await homes.run("viewer", ["ping", "camrea"]);
  assertEquals(near.code, 3);
  assertStringIncludes(near.stderr, 'there is no peer "camrea": did you mean camera?');
  const far = await homes.run("viewer", ["ping", "toaster"]);
  assertEquals(far.code, 3);
  assertStringIncludes(far.stderr, '"degu peers" lists those that there are');
});

Deno.test("an address at which nobody answers is waited for no longer than 10 s, a peer that is busy for longer", async () => {
  await using devices = await TestDevices.create();
  const [camera, viewer] = [await devices.open("camera"), await devices.open("viewer")];
  await record(viewer, camera, { addresses: [["127.0.0.1", 1]] });
  const { signal } = new AbortController();
  for (const options of [{}, { address: ["127.0.0.1", 2] as const }]) {
    const context = makeContext({ home: viewer.dir, ...options }, signal);
    const client = await openClient(context, viewer, "camera");
    const { connectTimeout }: DeviceClientOptions = client.options;
    assertEquals([connectTimeout, client.timeout], [10, 90]);
  }
});

const NAMES = ["camera", "camera-2", "laptop", "annas-phone", "nas"];

Deno.test("names that differ in few letters, or are longer, are similar; the most similar is first", () => {
  const rows = [
    ["camera", ["camera", "camera-2"]],
    ["camrea", ["camera"]],
    ["Camera", ["camera", "camera-2"]],
    ["cam", ["camera", "camera-2"]],
    ["laptpo", ["laptop"]],
    ["lapto", ["laptop"]],
    ["xlaptop", ["laptop"]],
    ["anas-phone", ["annas-phone"]],
    ["nsa", ["nas"]],
    ["", []],
    ["printer", []],
    ["phone", []],
  ] as const;
  for (const [typed, near] of rows) assertEquals(nearNames(typed, NAMES), [...near], typed);
});

Deno.test("at most three names are shown", () => {
  const many = Array.from({ length: 9 }, (_, i) => `camera-${i}`);
  assertEquals(nearNames("camera", many).length, 3);
});
