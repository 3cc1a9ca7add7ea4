/** The guard of docs/cookbook.md against web pages that reach a plain server on loopback. */
import { type AppFunction, reply } from "@degu/degu";
import { formatAddress } from "@degu/degu/base";
import { Server } from "@degu/degu/server";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { readProjectFile } from "@degu/testing/project_files.ts";
import { assert, assertEquals } from "@std/assert";

// ───────────────────────── the guard of docs/cookbook.md

type Guard = (app: AppFunction) => AppFunction;

/** Loads the function from the page. */
async function loadGuard(): Promise<Guard> {
  const page = await readProjectFile("docs/cookbook.md");
  const section = page.slice(page.indexOf("\n## Keep web pages out\n"));
  const [code] = /^function onlyFromOwnPages\([^]*?^}$/m.exec(section) ?? [];
  assert(code !== undefined, "docs/cookbook.md has no function onlyFromOwnPages");
  const source = `export const makeGuard = (reply) => { ${code}; return onlyFromOwnPages; }`;
  const module = `data:application/typescript,${encodeURIComponent(source)}`;
  return (await import(module)).makeGuard(reply);
}

Deno.test("DNS rebinding: a page reaches no app, not even if its host name resolves to this server", async () => {
  let calls = 0;
  const guarded = (await loadGuard())(() => {
    calls++;
    return reply(200);
  });
  await using server = await Server.start(["127.0.0.1", 0], guarded, { hosts: [] });
  const ownHost = formatAddress(server.address);
  const port = ownHost.split(":")[1];

  const rows: [host: string | null, origin: string | null, status: number][] = [
    [ownHost, null, 200],
    [ownHost, `http://${ownHost}`, 200],
    [`localhost:${port}`, `http://localhost:${port}`, 200],
    [`[::1]:${port}`, `http://[::1]:${port}`, 200],
    // Ports aren't compared, because a page can't choose the port of its own host.
    ["127.0.0.1", null, 200],
    // The page's host name was rebound: for the browser the request has the same origin.
    [`evil.example:${port}`, `http://evil.example:${port}`, 421],
    [`evil.example:${port}`, null, 421],
    ["evil.example", null, 421],
    [`127.0.0.1.evil.example:${port}`, null, 421],
    [`localhost.evil.example:${port}`, null, 421],
    [`evil.localhost:${port}`, null, 421],
    // Systems resolve these names to 127.0.0.1.
    ...["127.1", "0x7f.1", "2130706433", "127.0.0.1."].map((
      host,
    ): [string, null, number] => [`${host}:${port}`, null, 421]),
    ["", null, 421],
    [null, null, 421],
    // These values are no host and port.
    [`${ownHost}.evil.example`, null, 400],
    [`${ownHost}, evil.example`, null, 400],
    [`evil.example@${ownHost}`, null, 400],
    // A page without rebinding sends the right host.
    [ownHost, "http://evil.example", 403],
    [ownHost, `https://${ownHost}`, 403],
    [ownHost, `http://localhost:${port}`, 403],
    [ownHost, "null", 403],
    [ownHost, "", 403],
    [null, `http://${ownHost}`, 421],
    [null, "http://undefined", 421],
  ];
  for (const [host, origin, expected] of rows) {
    for (const method of ["GET", "POST"] as const) {
      calls = 0;
      using peer = await RawPeer.connect(server.address);
      const lines = [["host", host], ["origin", origin]].filter(([, value]) => value !== null)
        .map((line) => `${line.join(": ")}\r\n`).join("");
      await peer.send(`${method} / HTTP/1.1\r\n${lines}connection: close\r\n\r\n`);
      const { received } = await peer.readToEnd();
      const status = Number(received.slice("HTTP/1.1 ".length, "HTTP/1.1 200".length));
      assertEquals([status, calls], [expected, expected === 200 ? 1 : 0], `${host} ${origin}`);
    }
  }
  // The absolute form has its own host.
  using peer = await RawPeer.connect(server.address);
  await peer.send(`GET http://evil.example/ HTTP/1.1\r\nhost: ${ownHost}\r\n\r\n`);
  assert((await peer.readToEnd()).received.startsWith("HTTP/1.1 421 "));
});
