/** The permissions of pools in docs/permissions.md: as in `permissions_test.ts`. */
import { fromFileUrl } from "@std/path";
import { TempPKI } from "@degu/degu/misc";
import { runCases } from "@degu/testing/permission_cases.ts";
import { unusedPort } from "@degu/testing/ports.ts";

/** A worker reads its modules as files. */
const TREE = `read=${fromFileUrl(new URL("../../", import.meta.url))}`;

Deno.test("pools need the permissions in the table", async () => {
  await using pki = await TempPKI.create();
  const sslconfig = JSON.stringify(pki.serverSslconfig);
  const { certFile, keyFile, caFile } = pki.serverSslconfig;
  const files = [certFile, keyFile, caFile].map((path) => `read=${path}`);
  const port = await unusedPort();
  const app = new URL("../support/pool_apps.ts", import.meta.url).href;
  const start = (address: string, options: string) =>
    `import { ServerPool } from "./pool.ts";
const app = { module: ${JSON.stringify(app)}, name: "app" };
await using pool = await ServerPool.start(${address}, app, ${options});
console.log(JSON.stringify(pool.address));`;
  await runCases([
    {
      name: "ServerPool with TLS",
      permissions: [`net=127.0.0.1:${port}`, TREE, ...files],
      script: start(`["127.0.0.1", ${port}]`, `{ workers: 2, sslconfig: ${sslconfig} }`),
    },
    {
      name: "ServerPool with TLS on any port",
      permissions: ["net=127.0.0.1", TREE, ...files],
      script: start('["127.0.0.1", 0]', `{ workers: 2, sslconfig: ${sslconfig} }`),
    },
    {
      name: "ServerPool of one worker",
      permissions: ["net=127.0.0.1:0", TREE],
      script: start('["127.0.0.1", 0]', "{ workers: 1 }"),
    },
  ]);
});
