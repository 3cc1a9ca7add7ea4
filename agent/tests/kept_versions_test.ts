/** Earlier versions over the network: a peer reads those of its own inbox, and changes none. */
import { Range } from "@degu/degu/base";
import { Device } from "@degu/degu/device";
import { Inbox } from "@degu/internal/agent/serve/inbox.ts";
import { formatPaths } from "@degu/internal/files/wire/bundle.ts";
import { AgentFiles } from "./agent_files.ts";
import { makeBundle } from "../../files/tests/bundles.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { makeLinks } from "@degu/testing/special_files.ts";
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const PERIOD = "2026-01-31T14_7";

/** Serves an inbox with a version of the viewer, and one of another peer. */
async function serveVersions(...options: string[]): Promise<AgentFiles> {
  const files = await AgentFiles.start();
  const version = { [`.degu-kept/${PERIOD}/sub/a`]: "old" };
  await fill(files.inbox, { ...version, "sub/a": "new", "disk/.degu-kept/b": "of a disk" });
  await new Inbox(files.inboxes).assignDirectory({ id: "0".repeat(64), name: "other" });
  await fill(`${files.inboxes}/other`, { [`.degu-kept/${PERIOD}/secret`]: "secret" });
  await fill(files.share, version);
  await makeLinks({
    [`${files.inbox}/.degu-kept/link`]: "../sub",
    [`${files.inbox}/.degu-kept/other`]: "../../other/.degu-kept",
  });
  const { inboxes, share } = files;
  await files.serve(...options.length > 0 ? options : ["--inbox", inboxes, "--share", share]);
  return files;
}

const KEPT = "/inbox/.degu-kept";

const ROWS: readonly [
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE",
  uri: string,
  status: number,
][] = [
  ["GET", KEPT, 301],
  ["GET", `${KEPT}/`, 200],
  ["GET", `${KEPT}/?tree`, 200],
  ["GET", `${KEPT}/${PERIOD}/sub/a`, 200],
  ["HEAD", `${KEPT}/${PERIOD}/sub/a`, 200],
  ["GET", `${KEPT}/link`, 404],
  ["GET", `${KEPT}/link/a`, 404],
  ["GET", `${KEPT}/other/`, 404],
  ["GET", `${KEPT}/other/${PERIOD}/secret`, 404],
  ["GET", `${KEPT}/.degu-kept/`, 404],
  ["GET", "/inbox/.DEGU-KEPT/", 404],
  ["GET", "/inbox/.degu-kept./", 404],
  ["GET", "/inbox/.degu-kept%20/", 404],
  ["GET", "/inbox/.degu%E2%80%8D-kept/", 404],
  ["GET", "/inbox/DEGU-K~1/", 404],
  ["GET", `/inbox/sub/.degu-kept/${PERIOD}/sub/a`, 404],
  ["GET", "/inbox/disk/.degu-kept/b", 404],
  ["GET", `/share/.degu-kept/${PERIOD}/sub/a`, 404],
  ["GET", `/.degu-kept/${PERIOD}/sub/a`, 404],
  ["GET", `/inbox/other/.degu-kept/${PERIOD}/secret`, 404],
  ["PUT", `${KEPT}/${PERIOD}/new`, 405],
  ["PUT", `${KEPT}/new/`, 405],
  ["DELETE", `${KEPT}/${PERIOD}/sub/a`, 405],
  ["DELETE", KEPT, 405],
  ["POST", `${KEPT}/?bundle=put`, 405],
];

Deno.test("a peer reads the earlier versions of its inbox alone, and changes none", async (t) => {
  await using files = await serveVersions();
  const before = await readTree(files.inboxes);
  await using viewer = await Device.open(files.homes.joinPath("viewer"));
  const client = await viewer.client("camera");
  for (const [method, uri, status] of ROWS) {
    await t.step(`${method} ${uri}: ${status}`, async () => {
      const hasBody = method === "PUT" || method === "POST";
      const body = hasBody ? makeBundle([["new", "x"]]) : null;
      const response = await client.request(method, uri, {}, body);
      const text = await response.body?.text();
      assertEquals(response.status, status);
      if (method === "GET" && uri.endsWith("/a") && status === 200) assertEquals(text, "old");
      assertEquals(text?.includes("secret") ?? false, false);
    });
  }
  const headers = { "want-repr-digest": "sha-256=1" };
  const { headers: { "repr-digest": digest } } = await client.head(
    `${KEPT}/${PERIOD}/sub/a`,
    headers,
  );
  assertMatch(`${digest}`, /^sha-256=:/);
  const range = await client.get(`${KEPT}/${PERIOD}/sub/a`, { range: new Range(1, 3) });
  assertEquals([range.status, await range.body!.text()], [206, "ld"]);
  const post = async (uri: string, path: string[]) => {
    const { body } = await client.request("POST", `${uri}?bundle=get`, {}, formatPaths([path]));
    return (await body!.text()).split("\n")[0];
  };
  assertStringIncludes((await post(`${KEPT}/`, [PERIOD, "sub", "a"]))!, '"status":200');
  assertStringIncludes(
    (await post("/inbox/", [".degu-kept", PERIOD, "sub", "a"]))!,
    '"status":404',
  );
  for (const uri of ["/inbox/", "/inbox/?tree", "/share/?tree"]) {
    const list = await (await client.get(uri)).body!.text();
    assertEquals(
      [list.includes("sub"), list.includes("kept")],
      [uri !== "/share/?tree", false],
      uri,
    );
  }
  assertEquals(await readTree(files.inboxes), before);
});

Deno.test("rm prints for how long a peer keeps what it has removed", async () => {
  await using files = await AgentFiles.start();
  await fill(files.inbox, { "a": "1", "b": "2", "c": "3" });
  await files.serve("--inbox", files.inboxes, "--keep", "30");
  const { stderr } = await files.runToSuccess("rm", "camera:a");
  const note =
    "camera keeps removed files for at least 30 days, and no space is freed until then\n";
  assertEquals(stderr, note);
  // Also if one of several paths fails.
  const missing = 'degu: error: "camera:a" does not exist\n';
  const mixed = await files.runToFailure(1, missing, "rm", "camera:a", "camera:c");
  assertEquals(mixed, `${missing}${note}`);
  await files.runToFailure(1, '"camera:a" does not exist\n', "rm", "camera:a");
  await files.serve("--inbox", files.inboxes);
  assertEquals((await files.runToSuccess("rm", "camera:b")).stderr, "");
});

Deno.test("ls, get and sync read earlier versions that are named, and no tree has them", async () => {
  await using files = await serveVersions();
  const { local } = files;
  const { stdout } = await files.runToSuccess("ls", "--inbox", "camera:.degu-kept");
  assertEquals(stdout, `${PERIOD}/\n`);
  await files.runToSuccess("get", "--inbox", `camera:.degu-kept/${PERIOD}/sub/a`, local);
  await files.runToSuccess("get", "-r", "--inbox", `camera:.degu-kept/${PERIOD}`, local);
  await files.runToSuccess("sync", "--inbox", "camera:", `${local}/copy`);
  await files.runToSuccess("sync", "--inbox", "camera:.degu-kept", `${local}/versions`);
  assertEquals(await readTree(local), {
    a: "old",
    [PERIOD]: null,
    [`${PERIOD}/sub`]: null,
    [`${PERIOD}/sub/a`]: "old",
    ...{ copy: null, "copy/disk": null, "copy/sub": null, "copy/sub/a": "new" },
    versions: null,
    [`versions/${PERIOD}`]: null,
    [`versions/${PERIOD}/sub`]: null,
    [`versions/${PERIOD}/sub/a`]: "old",
  });
  for (
    const [problem, ...args] of [
      ['name ".degu-kept" is reserved', "get", "-r", "--inbox", "camera:.degu-kept", local],
      ['name ".degu-kept" is reserved', "put", `${local}/a`, "camera:.degu-kept/a"],
      ["peers can't remove earlier versions", "rm", `camera:.degu-kept/${PERIOD}/sub/a`],
    ]
  ) {
    const { code, stderr } = await files.run(...args);
    assertEquals(code === 0, false);
    assertStringIncludes(stderr, problem!);
  }
});

Deno.test("without versions, and in an inbox for all, there is nothing to read", async () => {
  await using files = await AgentFiles.start();
  await using viewer = await Device.open(files.homes.joinPath("viewer"));
  const client = await viewer.client("camera");
  assertEquals((await client.get(`${KEPT}/`)).status, 404);
  const version = { [`.degu-kept/${PERIOD}/a`]: "1" };
  await fill(files.inbox, version);
  assertEquals((await client.get(`${KEPT}/`)).status, 200);
  const inboxForAll = files.homes.joinPath("for-all");
  await fill(inboxForAll, version);
  await files.serve("--inbox-for-all", inboxForAll);
  assertEquals((await client.get(`${KEPT}/`)).status, 404);
});
