/** The module of a worker: where it is loaded from, and that it has no effect elsewhere. */
import { assertEquals } from "@std/assert";
import { TempPKI } from "@degu/degu/misc";
import { runFromCache } from "@degu/testing/cached_programs.ts";
import { appOf, askThread, servePool } from "@degu/testing/pools.ts";

Deno.test("importing the worker's module has no effect in another thread", async () => {
  const before = Object.getOwnPropertyNames(globalThis);
  await import("@degu/internal/pool/pool_worker.ts");
  assertEquals(Object.getOwnPropertyNames(globalThis), before);
});

Deno.test("an app that uses the port of its worker gets none of the pool's messages, and does not disturb them", async () => {
  await using pooling = await servePool(appOf("buildTalking", []));
  await pooling.pool.setSslctx(pooling.pki.serverSslconfig);
  for (let i = 0; i < 10; i++) {
    assertEquals(await askThread(pooling.client), '{"heard":[],"workerData":{}}');
  }
  assertEquals(pooling.logger.at("error"), []);
});

Deno.test("a cached program finds the worker without its server", async () => {
  await using pki = await TempPKI.create();
  const { serverSslconfig, clientSslconfig } = pki;
  const program = `
    import { SSLClient } from "./client.ts";
    import { ServerPool } from "./pool.ts";
    import "./app.ts";
    const { serverSslconfig: sslconfig, clientSslconfig } = JSON.parse(Deno.args[0]);
    const app = { module: import.meta.resolve("./app.ts"), name: "app" };
    await using pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 2, sslconfig });
    console.log((await new SSLClient(clientSslconfig, pool.address).request("GET", "/")).status);`;
  const app = `export const app = () => [204, "No Content", {}, null];`;
  const files = [serverSslconfig, clientSslconfig].flatMap((
    config,
  ) => [config.certFile, config.keyFile, config.caFile]);
  const printed = await runFromCache({
    texts: { "/main.ts": program, "/app.ts": app },
    permissions: ["--allow-net=127.0.0.1", `--allow-read=${files}`],
    args: [JSON.stringify({ serverSslconfig, clientSslconfig })],
  });
  assertEquals(printed, "204\n");
});
