/** The module of a worker: where it comes from, and that it does nothing elsewhere. */
import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { TempPKI } from "@degu/degu/misc";
import { tempDir } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { makeLinks } from "@degu/testing/special_files.ts";

const ROOT = new URL("../../", import.meta.url);
/** Seconds: a cache without anything in it compiles all modules. */
const PATIENCE = 30;

Deno.test("importing the module of the worker has no effect in another thread", async () => {
  const before = Object.getOwnPropertyNames(globalThis);
  await import("@degu/internal/pool/pool_worker.ts");
  assertEquals(Object.getOwnPropertyNames(globalThis), before);
});

Deno.test("a program that was cached from a server finds the worker without it", async () => {
  await using dir = await tempDir();
  await using pki = await TempPKI.create();
  const { npmCache } = JSON.parse(await runDeno(["info", "--json"], {}));
  await makeLinks({ [join(dir.path, "npm")]: npmCache });
  const program = `
    import { SSLClient } from "./client.ts";
    import { ServerPool } from "./pool.ts";
    const { serverSslconfig: sslconfig, clientSslconfig } = JSON.parse(Deno.args[0]);
    const app = { module: import.meta.resolve("./app.ts"), name: "app" };
    await using pool = await ServerPool.start(["127.0.0.1", 0], app, { workers: 2, sslconfig });
    console.log((await new SSLClient(clientSslconfig, pool.address).request("GET", "/")).status);
    import("./app.ts");`;
  const app = `export const app = () => [204, "No Content", {}, null];`;
  const texts: Record<string, string> = { "/main.ts": program, "/app.ts": app };
  const site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    const text = texts[pathname] ?? await Deno.readTextFile(new URL(`.${pathname}`, ROOT));
    return new Response(text, { headers: { "content-type": "application/typescript" } });
  });
  const host = `127.0.0.1:${site.addr.port}`;
  const main = `http://${host}/main.ts`;
  const environment = { DENO_DIR: dir.path, HTTPS_PROXY: `http://${host}` }; // nothing else is reached
  try {
    await runDeno(["cache", `--allow-import=${host}`, main], environment);
  } finally {
    await site.shutdown();
  }
  const { serverSslconfig, clientSslconfig } = pki;
  const files = Object.values({ ...serverSslconfig, ...clientSslconfig })
    .concat(serverSslconfig.certFile!, serverSslconfig.keyFile!, serverSslconfig.caFile!)
    .filter((value) => typeof value === "string");
  const flags = ["--cached-only", "--no-prompt", "--allow-net=127.0.0.1", `--allow-import=${host}`];
  const args = [...flags, `--allow-read=${files}`, main];
  const config = JSON.stringify({ serverSslconfig, clientSslconfig });
  assertEquals(await runDeno(["run", ...args, config], environment), "204\n");
});

/** Runs `deno` to its end; returns what it printed. */
async function runDeno(args: string[], env: Record<string, string>): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1", ...env } });
  const output = await within(command.output(), `deno ${args[0]} ends`, PATIENCE);
  assert(output.success, new TextDecoder().decode(output.stderr));
  return new TextDecoder().decode(output.stdout);
}
