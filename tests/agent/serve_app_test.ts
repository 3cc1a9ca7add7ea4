import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import type { BodyOut, Method } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { Server } from "@degu/degu/server";
import { listDirectory } from "@degu/degu/files";
import { ServeApp } from "@degu/internal/agent/serve_app.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";

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
