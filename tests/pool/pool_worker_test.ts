/** The worker of a pool: its module, and the server in it, by its messages in both directions. */
import { assertEquals, assertMatch } from "@std/assert";
import { Client, SSLClient } from "@degu/degu/client";
import {
  type Command,
  PoolServer,
  type Report,
  type Service,
} from "@degu/internal/pool/pool_worker.ts";
import { readSslconfig } from "@degu/internal/pool/server_pool.ts";
import { TempPKI } from "@degu/degu/misc";
import { HeldSocket } from "@degu/internal/net/held_socket.ts";
import { runFromCache } from "@degu/testing/cached_programs.ts";
import { appOf, askThread, servePool } from "@degu/testing/pools.ts";
import { within } from "@degu/testing/raw_peer.ts";

Deno.test("importing the worker's module has no effect in another thread", async () => {
  // In a process of its own: what shares this one loads modules, too.
  const program = `
    const globals = Object.getOwnPropertyNames(globalThis);
    await import("./pool/pool_worker.ts");
    console.log(JSON.stringify(Object.getOwnPropertyNames(globalThis).filter((name) => {
      return !globals.includes(name);
    })));`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", program],
    cwd: new URL("../..", import.meta.url),
    stderr: "inherit",
  }).output();
  // It ends, so nothing of it waits for a message either.
  assertEquals(new TextDecoder().decode(stdout), "[]\n");
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

// ───────────────────────── its server

const LISTEN: Command = {
  type: "listen",
  address: ["127.0.0.1", 0],
  sharing: { reusePort: false, fd: null },
};

function serviceOf(name: string, args: unknown[] | null = null): Service {
  const { module } = appOf(name);
  return {
    app: { module: `${module}`, name, args },
    options: {},
    onExchange: null,
    levels: ["error"],
  };
}

/** An app whose exchanges go to an export. */
function watchedBy(name: string): Service {
  const service = serviceOf("app");
  return { ...service, onExchange: { module: service.app.module, name } };
}

/** A server, and what it reports. */
function makeServer() {
  const reports: Report[] = [];
  const waiting = new Set<() => void>();
  const server = new PoolServer((report) => {
    reports.push(report);
    for (const resolve of waiting) resolve();
  });
  const next = async <Type extends Report["type"]>(type: Type) => {
    for (;;) {
      const index = reports.findIndex((report) => report.type === type);
      if (index >= 0) return reports.splice(index, 1)[0] as Report & { type: Type };
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.add(resolve);
      await within(promise, `a report of type ${type}`);
      waiting.delete(resolve);
    }
  };
  return { server, reports, next };
}

Deno.test("the server in a worker loads an app, serves, answers pings, and closes", async () => {
  for (const end of ["shutdown", "close"] as const) {
    const { server, reports, next } = makeServer();
    await server.receive({ type: "load", service: serviceOf("app"), sslconfig: null });
    assertEquals(reports.splice(0), [{ type: "loaded" }]);
    const served = server.receive(LISTEN);
    const { address, fd } = await next("serving");
    assertEquals(fd, null);
    await server.receive({ type: "ping" });
    assertEquals(reports.splice(0), [{ type: "pong" }]);
    await askThread(new Client(address));
    await server.receive({ type: end });
    await next("closed");
    await served;
    assertEquals(reports, []);
  }
});

Deno.test("the server in a worker logs the requested levels", async () => {
  const { server, next, reports } = makeServer();
  await server.receive({ type: "load", service: serviceOf("app"), sslconfig: null });
  const served = server.receive(LISTEN);
  const { address } = await next("serving");
  await new Client(address).request("GET", "/fail").catch(() => {});
  const { level, message } = await next("log");
  assertEquals(level, "error");
  assertMatch(message, /nobody caught this/);
  await server.receive({ type: "close" });
  await served;
  assertEquals(reports.filter(({ type }) => type === "log"), []); // debug lines aren't sent
});

Deno.test("the server in a worker replaces the context, before and after it listens", async () => {
  await using pki = await TempPKI.create();
  await using other = await TempPKI.create();
  const [first, second] = [pki, other].map((each) => readSslconfig(each.serverSslconfig));
  const { server, next } = makeServer();
  await server.receive({ type: "load", service: serviceOf("app"), sslconfig: first! });
  await server.receive({ type: "setSslctx", id: 1, sslconfig: second! });
  assertEquals((await next("sslctxSet")).id, 1);
  const served = server.receive(LISTEN);
  const { address, fd } = await next("serving");
  HeldSocket.open(fd!)!.close();
  await askThread(new SSLClient(other.clientSslconfig, address));
  await server.receive({ type: "setSslctx", id: 2, sslconfig: first! });
  assertEquals((await next("sslctxSet")).id, 2);
  await askThread(new SSLClient(pki.clientSslconfig, address));
  await server.receive({ type: "close" });
  await served;
});

Deno.test("a failure is reported with its error", async () => {
  const rows: readonly [service: Service, words: RegExp][] = [
    [serviceOf("missing"), /has no export "missing"/],
    [serviceOf("buildFailing", []), /there is no such database/],
    [serviceOf("buildAnswer", []), /returned an array/],
    [serviceOf("constant", []), /a function or a class if there are args; got number/],
    [watchedBy("missing"), /has no export "missing"/],
    [
      watchedBy("constant"),
      /options.onExchange: the export "constant" must be a function; got number/,
    ],
  ];
  for (const [service, words] of rows) {
    const { server, next } = makeServer();
    await server.receive({ type: "load", service, sslconfig: null });
    assertMatch((await next("failed")).error.message, words);
  }
});
