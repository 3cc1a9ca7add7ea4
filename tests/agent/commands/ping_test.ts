import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AgentHomes } from "@degu/testing/agents.ts";

Deno.test("ping reports who answers, where, how fast, and what it serves", async () => {
  await using homes = await AgentHomes.create();
  const [camera] = await homes.init("camera", "viewer");
  await Deno.mkdir(homes.at("share"));
  const share = ["--share", homes.at("share")];
  const { address } = await homes.serve("camera", share);
  await homes.pair("camera", "viewer", address);
  assertMatch(
    await homes.must("viewer", ["ping", "camera"]),
    new RegExp(
      `^camera ${camera} at ${address}: connected in [0-9.]+ ms, answered in [0-9.]+ ms, has a share\n$`,
    ),
  );
  const { connectMs, answerMs, ...others } = JSON.parse(
    await homes.must("viewer", ["ping", camera!, "--json"]),
  );
  assertEquals(others, { name: "camera", id: camera, address, share: true, inbox: false });
  assertEquals([typeof connectMs, typeof answerMs], ["number", "number"]);
});

Deno.test("if nobody serves, ping says what to check", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer", "127.0.0.1:1");
  const { code, stdout, stderr } = await homes.run("viewer", ["ping", "camera"]);
  assertEquals([code, stdout], [1, ""]);
  assertStringIncludes(stderr, "no address answers: ");
  assertStringIncludes(stderr, 'check that "degu serve" runs there');
});

Deno.test("another device at a peer's address is not mistaken for the peer", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer", "other");
  await homes.pair("camera", "viewer");
  const { address } = await homes.serve("other");
  const { code, stdout, stderr } = await homes.run("viewer", [
    "ping",
    "camera",
    "--address",
    address,
  ]);
  assertEquals([code, stdout], [3, ""]);
  assertStringIncludes(stderr, "another device answers there");
});

Deno.test("another program at a peer's address is recognized", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  await homes.pair("camera", "viewer");
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const answering = (async () => {
    for await (const conn of listener) {
      await conn.write(new TextEncoder().encode("SSH-2.0-OpenSSH_9.9\r\n")).catch(() => {});
      conn.close();
    }
  })();
  const address = `127.0.0.1:${listener.addr.port}`;
  const { code, stderr } = await homes.run("viewer", ["ping", "camera", "--address", address]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "another program answers there");
  listener.close();
  await answering.catch(() => {});
});
