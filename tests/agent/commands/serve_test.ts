/** degu serve: what it serves, what it refuses to serve, and how it ends. */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import type { BodyOut, Method } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { Device } from "@degu/degu/device";
import { listDirectory } from "@degu/degu/files";
import { Server } from "@degu/degu/server";
import { checkServed, ServeApp } from "@degu/internal/agent/commands/serve.ts";
import { Failure } from "@degu/internal/agent/failure.ts";
import { AgentHomes } from "@degu/testing/agents.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

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
  const { code, stdout, stderr } = await homes.run("camera", args);
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
    const { code, stderr } = await homes.run("camera", ["serve", option, homes.path]);
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
  const { agent, address } = await homes.serve("camera", ["--share", share]);
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
  const args = ["serve", "--listen", "127.0.0.1:0", "--json", "--share", share];
  const agent = homes.spawn("camera", args, ["--allow-net=127.0.0.1:0", `--allow-read=${share}`]);
  const [address] = JSON.parse(await agent.line()).addresses;
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

async function setUp(served: { share: boolean; inbox: boolean }) {
  const dir = await tempDir();
  const share = join(dir.path, "share");
  const inbox = join(dir.path, "inbox");
  for (const path of [share, inbox]) await Deno.mkdir(path);
  await Deno.writeTextFile(join(share, "a b"), "hello");
  const paths = {
    name: "one",
    share: served.share ? share : null,
    inbox: served.inbox ? inbox : null,
  };
  const server = new Server(["127.0.0.1", 0], new ServeApp(paths, new RecordingLogger()));
  server.serveForever();
  return {
    client: new Client(server.address),
    inbox,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

Deno.test("the share is read-only, the inbox accepts files, and nothing else exists", async () => {
  await using ends = await setUp({ share: true, inbox: true });
  const { client } = ends;
  const bytes = new TextEncoder().encode("x");
  const rows = [
    ["GET", "/share/a~20b", 200],
    ["PUT", "/share/new", 405],
    ["DELETE", "/share/a~20b", 405],
    ["PUT", "/inbox/new", 201],
    ["GET", "/inbox/new", 200],
    ["DELETE", "/inbox/new", 204],
    ["GET", "/other", 404],
    ["GET", "/share/../inbox/", null],
    ["PUT", "/", 405],
  ] as const;
  for (const [method, uri, status] of rows) {
    const body = method === "PUT" ? bytes : null;
    const answered = await statusOf(client, method, uri, body).catch(() => null);
    assertEquals(answered, status, `${method} ${uri}`);
  }
  const names = await Array.fromAsync(listDirectory(client, "/share/"), ({ name }) => name);
  assertEquals(names, ["a b"]);
});

for (const served of [{ share: true, inbox: false }, { share: false, inbox: true }]) {
  Deno.test(`the root lists what is served, and nothing else exists: ${JSON.stringify(served)}`, async () => {
    await using ends = await setUp(served);
    const about = await (await ends.client.request("GET", "/")).body?.json();
    assertEquals(about, { name: "one", ...served });
    const statuses = await Promise.all(
      ["/share/", "/inbox/"].map((uri) => statusOf(ends.client, "GET", uri)),
    );
    assertEquals(statuses, [served.share ? 200 : 404, served.inbox ? 200 : 404]);
  });
}

/** The status of a response, of which the body is read. */
async function statusOf(client: Client, method: Method, uri: string, body: BodyOut = null) {
  const response = await client.request(method, uri, {}, body);
  await response.body?.bytes();
  return response.status;
}

Deno.test("a directory is served unless it contains the device's keys, under any name", async () => {
  await using dir = await tempDir();
  const at = (...names: string[]) => join(dir.path, ...names);
  for (const path of ["state/home", "state/home-2", "share"]) {
    await Deno.mkdir(at(path), { recursive: true });
  }
  await makeLinks({ [at("link")]: at("state"), [at("other")]: at("share") });
  const home = at("state", "home");
  const served = { path: await Deno.realPath(at("share")), isMade: false };
  assertEquals(await checkServed("--share", at("share"), home), served);
  assertEquals(await checkServed("--share", at("other"), home), served);
  await checkServed("--share", at("state", "home-2"), home);
  await Deno.mkdir(at("state", "home", "inside"));
  for (const path of ["state", "state/home", "state/home/inside", "link", ".", "link/home"]) {
    const error = await assertRejects(
      () => checkServed("--share", at(path), home),
      Failure,
      "keys",
      path,
    );
    assertEquals(error.exitCode, 2);
  }
});

Deno.test("a path that is not a directory is refused with what to do", async () => {
  await using dir = await tempDir();
  const home = join(dir.path, "home");
  const file = join(dir.path, "file");
  await Deno.mkdir(home);
  await Deno.writeTextFile(file, "");
  const absent = join(dir.path, "absent");
  await assertRejects(() => checkServed("--share", absent, home), Failure, `mkdir -p ${absent}`);
  const deep = join(absent, "inbox");
  await assertRejects(() => checkServed("--inbox", deep, home), Failure, `mkdir -p ${deep}`);
  await assertRejects(() => checkServed("--inbox", join(home, "inbox"), home), Failure, "keys");
  await assertRejects(() => checkServed("--inbox", join(file, "inbox"), home), Failure);
  await makeLinks({ [join(dir.path, "dangling")]: absent });
  await assertRejects(
    () => checkServed("--inbox", join(dir.path, "dangling"), home),
    Failure,
    "is no directory",
  );
  assertEquals(await entries(dir.path), ["dangling", "file", "home"]);
  assertEquals(await entries(home), []);
  await assertRejects(() => checkServed("--inbox", file, home), Failure, "is no directory");
});

Deno.test("an inbox that is not there is made, for its owner alone", async () => {
  await using dir = await tempDir();
  const [home, inbox] = [join(dir.path, "home"), join(dir.path, "inbox")];
  await Deno.mkdir(home);
  const path = join(await Deno.realPath(dir.path), "inbox");
  assertEquals(await checkServed("--inbox", inbox, home), { path, isMade: true });
  assertEquals((await Deno.stat(inbox)).mode! & 0o777, 0o700);
  assertEquals(await checkServed("--inbox", inbox, home), { path, isMade: false });
});
