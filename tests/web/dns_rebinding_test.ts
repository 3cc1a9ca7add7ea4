/**
 * The guard of docs/cookbook.md against web pages that reach a plain server on loopback, by DNS
 * rebinding and otherwise.
 */
import { type AppFunction, Client, Server } from "@degu/degu";
import { formatAddress } from "@degu/degu/base";
import { readProjectFile } from "@degu/testing/tree.ts";
import { assert, assertEquals } from "@std/assert";

type Guard = (hosts: ReadonlySet<unknown>, app: AppFunction) => AppFunction;

/** Loads the function from the page. */
async function loadGuard(): Promise<Guard> {
  const page = await readProjectFile("docs/cookbook.md");
  const section = page.slice(page.indexOf("\n## Keep web pages out\n"));
  const [code] = /^function onlyAt\([^]*?^}$/m.exec(section) ?? [];
  assert(code !== undefined, "docs/cookbook.md has no function onlyAt");
  const module = `data:application/typescript,${encodeURIComponent(`export ${code}`)}`;
  return (await import(module)).onlyAt;
}

Deno.test("DNS rebinding: a page reaches no app, not even if its host name resolves to this server", async () => {
  const hosts = new Set<string>();
  let calls = 0;
  const guarded = (await loadGuard())(hosts, () => {
    calls++;
    return [200, "OK", {}, new Uint8Array(0)];
  });
  await using server = new Server(["127.0.0.1", 0], guarded);
  server.serveForever();
  const ownHost = formatAddress(server.address);
  hosts.add(ownHost);
  const port = ownHost.split(":")[1];

  const rows: [host: string | null, origin: string | null, status: number][] = [
    [ownHost, null, 200],
    [ownHost, `http://${ownHost}`, 200],
    // The page's host name was rebound: for the browser the request has the same origin.
    [`evil.example:${port}`, `http://evil.example:${port}`, 421],
    [`evil.example:${port}`, null, 421],
    ["evil.example", null, 421],
    [`127.0.0.1.evil.example:${port}`, null, 421],
    [`${ownHost}.evil.example`, null, 421],
    [`${ownHost}, evil.example`, null, 421],
    [`localhost:${port}`, `http://localhost:${port}`, 421],
    ["127.0.0.1", null, 421],
    [null, null, 421],
    // A page without rebinding sends the right host.
    [ownHost, "http://evil.example", 421],
    [ownHost, `https://${ownHost}`, 421],
    [ownHost, "null", 421],
    [null, `http://${ownHost}`, 421],
    [null, "http://undefined", 421],
  ];
  for (const [host, origin, expected] of rows) {
    for (const method of ["GET", "POST"] as const) {
      calls = 0;
      const client = new Client(server.address, { host });
      const headers = origin === null ? {} : { origin };
      const body = method === "POST" ? new Uint8Array(0) : null;
      const { status } = await client.request(method, "/", headers, body);
      assertEquals([status, calls], [expected, expected === 200 ? 1 : 0], `${host} ${origin}`);
    }
  }
});
