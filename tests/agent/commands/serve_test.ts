import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Device } from "@degu/degu/device";
import { AgentHomes } from "@degu/testing/agents.ts";

Deno.test("serve prints where and what it serves, and that nobody is paired yet", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  const { agent } = await homes.serve("camera");
  await agent.message('run "degu invite" in another terminal');
  agent.kill("SIGTERM");
  const { code, stdout, stderr } = await agent.ended();
  assertEquals(code, 0);
  const { addresses, ...served } = JSON.parse(stdout);
  assertMatch(addresses[0], /^127\.0\.0\.1:[1-9]\d*$/);
  assertEquals(served, { name: "camera", share: null, inbox: null });
  assertStringIncludes(stderr, "no file is served: add --share DIR");
});

Deno.test("an address that is in use is reported, with another one to try", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  const { address } = await homes.serve("camera");
  const args = ["serve", "--listen", address];
  const { code, stdout, stderr } = await homes.run("camera", args, [`--allow-net=${address}`]);
  assertEquals([code, stdout], [1, ""]);
  assertStringIncludes(stderr, `${address} is in use`);
  assertStringIncludes(stderr, "--listen 127.0.0.1:7444");
});

Deno.test("a second directory to share is refused, not taken in place of the first", async () => {
  await using homes = await AgentHomes.create();
  for (const option of ["--share", "--inbox"]) {
    const { code, stderr } = await homes.run("camera", ["serve", option, "a", option, "b"]);
    assertEquals(code, 2);
    assertStringIncludes(stderr, `option '${option} <dir>' argument 'b' is invalid`);
    assertStringIncludes(stderr, '"a" is given already');
  }
});

Deno.test("a directory that contains the device's keys is not served", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  for (const option of ["--share", "--inbox"]) {
    const { code, stderr } = await homes.run("camera", ["serve", option, homes.path], [
      `--allow-read=${homes.path}`,
    ]);
    assertEquals(code, 2);
    assertStringIncludes(stderr, `${option}: `);
    assertStringIncludes(stderr, "peers could read its keys");
  }
});

Deno.test("actions of peers are logged with printable names, and pending transfers are finished", async () => {
  await using homes = await AgentHomes.create();
  const [, viewerId] = await homes.init("camera", "viewer");
  const share = homes.at("share");
  await Deno.mkdir(share);
  const size = 64 * 1024 * 1024;
  const name = "a\u202eb c";
  await Deno.writeFile(`${share}/${name}`, new Uint8Array(size));
  const { agent, address } = await homes.serve("camera", ["--share", share], [
    `--allow-read=${share}`,
  ]);
  await homes.pair("camera", "viewer", address);
  await using viewer = await Device.open(homes.at("viewer"));
  const client = await viewer.client("camera");
  {
    using connection = await client.connect();
    const { body } = await connection.get("/share/a~E2~80~AEb~20c");
    const reader = body![Symbol.asyncIterator]();
    let received = ((await reader.next()).value as Uint8Array).length;
    agent.kill("SIGINT");
    await agent.message("finishing what is under way");
    for (let next = await reader.next(); !next.done; next = await reader.next()) {
      received += (next.value as Uint8Array).length;
    }
    assertEquals(received, size);
  }
  const { code, stdout } = await agent.ended();
  assertEquals(code, 0);
  const events = stdout.trim().split("\n").slice(1);
  assertStringIncludes(events[0]!, "\\u202e");
  assertEquals(JSON.parse(events[0]!), {
    event: "get",
    peer: "viewer",
    id: viewerId,
    path: `share/${name}`,
    status: 200,
    bytes: size,
    complete: true,
  });
});

Deno.test("a second signal ends it while a peer does not read on", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const share = homes.at("share");
  await Deno.mkdir(share);
  await Deno.writeFile(`${share}/large`, new Uint8Array(64 * 1024 * 1024));
  const { agent, address } = await homes.serve("camera", ["--share", share], [
    `--allow-read=${share}`,
  ]);
  await homes.pair("camera", "viewer", address);
  await using viewer = await Device.open(homes.at("viewer"));
  using connection = await (await viewer.client("camera")).connect();
  const { body } = await connection.get("/share/large");
  await body![Symbol.asyncIterator]().next();
  agent.kill("SIGINT");
  await agent.message("finishing what is under way");
  agent.kill("SIGINT");
  assertEquals((await agent.ended()).code, 130);
});
