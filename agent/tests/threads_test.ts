/** degu serve --threads: directories in threads of their own. */
import { Device } from "@degu/device";
import { AgentHomes } from "@degu/testing/agents.ts";
import { fill } from "@degu/testing/directories.ts";
import { randomBytes } from "@degu/testing/transferring.ts";
import { assertEquals } from "@std/assert";

for (
  const [name, inboxOption] of [["an inbox", "--inbox"], ["an inbox for all", "--inbox-for-all"]]
) {
  Deno.test(`with --threads, peers get and put files as without it, and events are printed (${name})`, async () => {
    await using homes = await AgentHomes.create("camera", "viewer");
    const [share, inbox] = [homes.joinPath("share"), homes.joinPath("camera-inbox")];
    await fill(homes.path, {
      "share/a": "1",
      "share/sub/b": "22",
      "put/c": "333",
      "camera-inbox": null,
    });
    const big = randomBytes(3_000_000);
    await Deno.writeFile(homes.joinPath("put/big"), big);
    await homes.pair("camera", "viewer");
    const args = ["--threads", "--share", share, inboxOption!, inbox];
    const { agent } = await homes.serve("camera", args, "viewer");
    const path = homes.path;
    await homes.runToSuccess("viewer", ["get", "--no-find", "-r", "camera:", `${path}/got`]);
    assertEquals(await Deno.readTextFile(`${path}/got/sub/b`), "22");
    await homes.runToSuccess("viewer", ["put", "--no-find", "-r", `${path}/put`, "camera:"]);
    const directory = inboxOption === "--inbox" ? `${inbox}/viewer` : inbox;
    assertEquals(await Deno.readFile(`${directory}/put/big`), big);
    await homes.runToSuccess("viewer", ["rm", "--no-find", "camera:put/c"]);
    // The reasons of a refused request are in the log of the server.
    await using viewer = await Device.open(homes.joinPath("viewer"));
    using connection = await (await viewer.client("camera")).connect();
    assertEquals((await connection.request("PUT", "/share/new", {}, "x")).status, 405);
    connection.close();
    agent.kill("SIGINT");
    const { code, stdout, stderr } = await agent.waitForEnd();
    assertEquals(code, 0, stderr);
    const events = stdout.trim().split("\n").slice(1).map((line) => JSON.parse(line));
    assertEquals(
      events.map(({ event, peer, path }) => `${event} ${peer} ${path}`).toSorted(),
      [
        `delete viewer inbox/${inboxOption === "--inbox" ? "viewer/" : ""}put/c`,
        "get viewer share/a",
        "get viewer share/sub/b",
        `put viewer inbox/${inboxOption === "--inbox" ? "viewer/" : ""}put/big`,
        `put viewer inbox/${inboxOption === "--inbox" ? "viewer/" : ""}put/c`,
      ],
    );
  });
}

Deno.test("with --threads, a refused request is logged with the peer, the path and the reason", async () => {
  await using homes = await AgentHomes.create("camera", "viewer");
  await fill(homes.path, { "share/a": "1" });
  await homes.pair("camera", "viewer");
  const share = homes.joinPath("share");
  const { agent } = await homes.serve("camera", ["--threads", "--share", share], "viewer");
  await Deno.remove(share, { recursive: true });
  await using viewer = await Device.open(homes.joinPath("viewer"));
  using connection = await (await viewer.client("camera")).connect();
  assertEquals((await connection.get("/share/a")).status, 503);
  await agent.waitForMessage("viewer wanted to get share/a: the served directory");
  agent.kill("SIGINT");
  assertEquals((await agent.waitForEnd()).code, 0);
});
