/** The context of a pool: replaced in all workers, or in none. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { SSLClient } from "@degu/degu/client";
import { DeguError } from "@degu/degu/base";
import { TempPKI } from "@degu/degu/misc";
import { ServerPool } from "@degu/degu/pool";
import { appOf, askThread, meetNewWorker, meetWorkers, servePool } from "@degu/testing/pools.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { assertNoSecret, readTexts } from "@degu/testing/tls_configs.ts";

/** The number of connections with which each worker is met, but for once in a thousand million times. */
const MANY = 30;

/** Asserts that no worker accepts a client. */
async function assertRefused(client: SSLClient): Promise<void> {
  for (let i = 0; i < MANY; i++) await assertRejects(() => client.request("GET", "/"));
}

Deno.test("setSslctx() reaches all workers, also those that are started later", async () => {
  await using pooling = await servePool();
  await using other = await TempPKI.create();
  const { pool, pki, client } = pooling;
  const stranger = new SSLClient(
    { ...other.clientSslconfig, caFile: pki.clientSslconfig.caFile },
    pool.address,
  );
  await assertRefused(stranger);
  const [live, second] = await meetWorkers(client);
  await pool.setSslctx({ ...pki.serverSslconfig, caFile: other.serverSslconfig.caFile });
  await assertRefused(client);
  const threads = await Promise.all((await meetWorkers(stranger)).map(async (conn) => {
    using closed = conn;
    return await askThread(closed);
  }));
  assertEquals((await live!.get("/")).status, 200); // live sessions go on
  await stranger.request("GET", "/exit").catch(() => {});
  await meetNewWorker(stranger, threads);
  await assertRefused(client);
  for (const conn of [live!, second!]) conn.close();
});

Deno.test("what a worker starts with was read when it was given: the files may have changed since", async () => {
  await using pooling = await servePool();
  const { client, pki } = pooling;
  const threads = await Promise.all((await meetWorkers(client)).map(async (conn) => {
    using closed = conn;
    return await askThread(closed);
  }));
  await Deno.writeTextFile(pki.serverSslconfig.keyFile, "half of a k");
  await client.request("GET", "/exit").catch(() => {});
  await meetNewWorker(client, threads);
});

Deno.test("a config that is wrong rejects and changes nothing, and no message has a secret", async () => {
  await using pooling = await servePool();
  const { pool, pki, client } = pooling;
  const { certFile, keyFile, caFile } = pki.serverSslconfig;
  const { cert, key, ca } = await readTexts(pki.serverSslconfig) as Record<string, string>;
  await using other = await TempPKI.create();
  const foreign = await readTexts(other.serverSslconfig) as Record<string, string>;
  const rows: readonly unknown[] = [
    undefined,
    null,
    {},
    { certFile, keyFile },
    { certFile, keyFile, caFile, unknown: 5 },
    { certFile, keyFile: `${keyFile}.missing`, caFile },
    { cert, key: foreign["key"], ca },
    { cert, key: key!.slice(0, -60), ca },
    { cert: key, key, ca },
    { cert, key, ca: key },
    { certFile: key, keyFile: key, caFile },
  ];
  for (const config of rows) {
    const error = await assertRejects(() =>
      Reflect.apply(pool.setSslctx, pool, [config]) as Promise<void>
    );
    assertNoSecret(Deno.inspect(error));
    const options = { workers: 2, sslconfig: config ?? {} };
    const again = await assertRejects(() =>
      Reflect.apply(ServerPool.start, ServerPool, [["127.0.0.1", 0], appOf("app"), options])
    );
    assertNoSecret(Deno.inspect(again));
  }
  assertNoSecret(Deno.inspect(pool, { depth: 9, showHidden: true }));
  for (const conn of await meetWorkers(client)) conn.close();
  assertEquals(pooling.logger.at("error"), []);
});

Deno.test("setSslctx() as workers end and start resolves, and is in force in each of them", async () => {
  await using pooling = await servePool();
  await using other = await TempPKI.create();
  const { pool, pki, client } = pooling;
  const caFile = other.serverSslconfig.caFile;
  const stranger = new SSLClient(
    { ...other.clientSslconfig, caFile: pki.clientSslconfig.caFile },
    pool.address,
  );
  for (let i = 0; i < 3; i++) {
    await Promise.all((await meetWorkers(client)).map((conn) => conn.get("/exit").catch(() => {})));
    const changes = [
      pool.setSslctx(pki.serverSslconfig),
      pool.setSslctx({ ...pki.serverSslconfig, caFile }),
    ];
    await within(Promise.all(changes), "it resolves");
    await meetNewWorker(stranger, ["none"]);
    await assertRefused(client);
    for (const conn of await meetWorkers(stranger)) conn.close();
    await pool.setSslctx(pki.serverSslconfig);
  }
});

Deno.test("setSslctx() of a pool that is closed, or has no TLS, rejects", async () => {
  await using pooling = await servePool();
  await using plain = await ServerPool.start(["127.0.0.1", 0], appOf("app"), { workers: 1 });
  await assertRejects(() => plain.setSslctx(pooling.pki.serverSslconfig), TypeError, "TLS");
  const changed = pooling.pool.setSslctx(pooling.pki.serverSslconfig);
  await pooling.pool.close();
  await within(changed, "a change that the end overtakes resolves");
  const again = () => pooling.pool.setSslctx(pooling.pki.serverSslconfig);
  await assertRejects(again, DeguError, "closed");
});

Deno.test("that every client is accepted is a warning of the pool, once, and again after a change", async () => {
  await using pki = await TempPKI.create();
  const { certFile, keyFile } = pki.serverSslconfig;
  const open = { certFile, keyFile, allowUnauthenticatedClients: true } as const;
  await using pooling = await servePool(appOf("app"), { sslconfig: open });
  const { pool, logger } = pooling;
  const client = new SSLClient({ caFile: pki.clientSslconfig.caFile }, pool.address);
  const threads = [];
  for (const conn of await meetWorkers(client)) {
    using closed = conn;
    threads.push(await askThread(closed));
  }
  await client.request("GET", "/exit").catch(() => {});
  await meetNewWorker(client, threads);
  await pool.setSslctx(open);
  assertEquals(logger.at("warn").length, 1);
  await pool.setSslctx(pki.serverSslconfig);
  await pool.setSslctx(open);
  for (const conn of await meetWorkers(client)) conn.close(); // their lines have arrived
  assertEquals(logger.at("warn").length, 2);
  for (const line of logger.at("warn")) assert(line.includes("allowUnauthenticatedClients"), line);
});
