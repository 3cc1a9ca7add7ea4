/**
 * The option `hosts`: a server serves its names, IP addresses and localhost (RFC 9110 §7.4); and the
 * guard of docs/cookbook.md against web pages that reach a plain server on loopback.
 */
import { assert, assertEquals } from "@std/assert";
import { Server } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { assertRangeError, assertTypeError } from "@degu/testing/expectations.ts";
import { exchange, RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { type AppFunction, reply } from "@degu/degu";
import { formatAddress } from "@degu/degu/base";
import { readProjectFile } from "@degu/testing/tree.ts";

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const MISDIRECTED = formatErrorResponse(421);

/** Starts a server with names, and counts the calls of its app. */
function serveNames(hosts: readonly string[] | undefined) {
  const calls: string[] = [];
  const serving = serve(({ uri }) => {
    calls.push(uri);
    return [200, "OK", {}, null];
  }, { hosts });
  return Object.assign(serving, { calls });
}

const HOSTS: readonly (readonly [host: string | null, isServed: boolean])[] = [
  ["camera.local", true],
  ["camera.local:80", true],
  ["camera.local:8080", true],
  ["camera.local:", true],
  ["CAMERA.Local", true],
  ["camera.local.", true],
  ["127.0.0.1", true],
  ["127.0.0.1:1234", true],
  ["[::1]:80", true],
  ["[2001:db8::1]", true],
  ["[fe80::1%eth0]:80", true],
  ["[fe80::1%25eth0]", true],
  ["fe80::1%eth0", true],
  ["localhost", true],
  ["evil.example", false],
  ["evil.example:80", false],
  ["camera.local.evil.example", false],
  ["x.camera.local", false],
  ["xcamera.local", false],
  ["a.localhost", false],
  ["localhost.evil.example", false],
  ["127.0.0.1.evil.example", false],
  ["127.0.0.1.", false],
  ["0x7f000001", false],
  ["2130706433", false],
  ["127.1", false],
  ["camer%61.local", false],
  ["", false],
  [null, false],
];

Deno.test("a server with names serves these, IP addresses and localhost, on any port; another host, or none, gets 421", async (t) => {
  const rows = HOSTS.map(([host, isServed]) => [`${host}`, host, isServed] as const);
  await testEachRow(t, rows, async (_label, host, isServed) => {
    await using serving = serveNames(["camera.local", "Other.example."]);
    const line = host === null ? "" : `host: ${host}\r\n`;
    const { received } = await exchange(serving.address, `GET / HTTP/1.1\r\n${line}\r\n`);
    assertEquals(received, isServed ? OK : MISDIRECTED);
    assertEquals(serving.calls.length, isServed ? 1 : 0);
    const { received: other } = await exchange(
      serving.address,
      "GET / HTTP/1.1\r\nhost: other.example\r\n\r\n",
    );
    assertEquals(other, OK);
  });
});

Deno.test("the host of a target in absolute form is checked, not the header host", async () => {
  const rows = [
    ["http://camera.local/", "evil.example", OK],
    ["http://evil.example/", "camera.local", MISDIRECTED],
    ["http://evil.example/", "127.0.0.1", MISDIRECTED],
  ];
  for (const [target, host, expected] of rows) {
    await using serving = serveNames(["camera.local"]);
    const bytes = `GET ${target} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
    assertEquals((await exchange(serving.address, bytes)).received, expected);
  }
});

Deno.test("the header host beside a target in absolute form must be valid, and single", async () => {
  await using serving = serveNames(undefined);
  for (const lines of ["host: a b\r\n", "host: u@a\r\n", "host: a\r\nhost: a\r\n"]) {
    const { received } = await exchange(serving.address, `GET http://a/ HTTP/1.1\r\n${lines}\r\n`);
    assertEquals(received, formatErrorResponse(400), lines);
  }
});

Deno.test("an empty list of names leaves IP addresses and localhost; without the option any host is served", async () => {
  for (const [host, isServed] of HOSTS) {
    const line = host === null ? "" : `host: ${host}\r\n`;
    const bytes = `GET / HTTP/1.1\r\n${line}\r\n`;
    await using closed = serveNames([]);
    const isCamera = /^camera\.local\.?(:\d*)?$/i.test(host ?? "");
    const expected = isServed && !isCamera ? OK : MISDIRECTED;
    assertEquals((await exchange(closed.address, bytes)).received, expected, bytes);
    await using open = serveNames(undefined);
    assertEquals((await exchange(open.address, bytes)).received, OK, bytes);
  }
});

Deno.test("a misdirected request ends the session: its body and the requests behind it aren't read", async () => {
  await using serving = serveNames(["camera.local"]);
  const good = "GET /good HTTP/1.1\r\nhost: camera.local\r\n\r\n";
  const rows = [
    `PUT /bad HTTP/1.1\r\nhost: evil.example\r\ncontent-length: ${good.length}\r\n\r\n`,
    "PUT /bad HTTP/1.1\r\nhost: evil.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    "GET /bad HTTP/1.0\r\n\r\n",
    "GET /bad HTTP/1.0\r\nhost: evil.example\r\nconnection: keep-alive\r\n\r\n",
    "HEAD /bad HTTP/1.1\r\n\r\n",
  ];
  for (const bytes of rows) {
    const { received } = await exchange(serving.address, good + bytes + good);
    assertEquals(received, OK + MISDIRECTED, bytes);
  }
  assertEquals(serving.calls, rows.map(() => "/good"));
});

Deno.test("another method or version keeps its status before the host is checked", async () => {
  await using serving = serveNames(["camera.local"]);
  const rows = [
    ["PATCH / HTTP/1.1\r\nhost: evil.example\r\n\r\n", 501],
    ["GET / HTTP/2.0\r\nhost: evil.example\r\n\r\n", 505],
    ["GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400],
  ] as const;
  for (const [bytes, status] of rows) {
    assertEquals((await exchange(serving.address, bytes)).received, formatErrorResponse(status));
  }
});

Deno.test("a misdirected request has a line in the log with the escaped host", async () => {
  await using serving = serveNames(["camera.local"]);
  await exchange(serving.address, "GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n");
  await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
  const lines = await serving.logger.waitFor("info", "", 2);
  assert(lines[0]!.includes('"evil.example"'), lines[0]);
  assert(lines[1]!.includes("no host"), lines[1]);
});

Deno.test("over a Unix socket a client names a host of the server, or localhost", async () => {
  await using dir = await createTempDir();
  const path = `${dir.path}/socket`;
  await using serving = serve(() => [200, "OK", {}, null], { hosts: ["camera.local"] }, path);
  const rows = [["camera.local", 200], ["localhost", 200], [null, 421], ["evil", 421]] as const;
  for (const [host, status] of rows) {
    assertEquals((await serving.makeClient({ host }).get("/")).status, status, `${host}`);
  }
});

Deno.test("hosts is a list of names without ports", () => {
  const start = (hosts: unknown) =>
    new Server(["127.0.0.1", 0], () => [200, "OK", {}, null], { hosts: hosts as string[] });
  for (const hosts of ["camera.local", [1], [null], {}, 1]) {
    assertTypeError(() => start(hosts), Deno.inspect(hosts));
  }
  for (const host of ["", "a:80", "a/b", "http://a", "*", "*.a", "a b", "[::1]", "u@a"]) {
    assertRangeError(() => start(["a", host]), host);
  }
});

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
