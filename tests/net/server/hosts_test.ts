/** The names of a server (RFC 9110 §7.4): `hosts`, and its default against DNS rebinding. */
import { type App, type AppFunction, fromFetchHandler, ProxyApp, reply, routes } from "@degu/degu";
import type { HostAddress } from "@degu/degu/base";
import { Server, type ServerOptions } from "@degu/degu/server";
import { DEFAULT_HOSTS, formatHostRequest, statusOf } from "./default_hosts.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { formatErrorResponse } from "./error_answers.ts";
import { assertRangeError, assertTypeError } from "@degu/testing/expectations.ts";
import { exchange, RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeServerConnection, serve, type Serving } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals } from "@std/assert";

// ───────────────────────── a list of names

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const MISDIRECTED = formatErrorResponse(421);

/** Starts a server with names, and counts the calls of its app. */
function serveNames(hosts: ServerOptions["hosts"]) {
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

Deno.test('an empty list of names leaves IP addresses and localhost; "any" serves each host, and none', async () => {
  for (const [host, isServed] of HOSTS) {
    const line = host === null ? "" : `host: ${host}\r\n`;
    const bytes = `GET / HTTP/1.1\r\n${line}\r\n`;
    await using closed = serveNames([]);
    const isCamera = /^camera\.local\.?(:\d*)?$/i.test(host ?? "");
    const expected = isServed && !isCamera ? OK : MISDIRECTED;
    assertEquals((await exchange(closed.address, bytes)).received, expected, bytes);
    await using open = serveNames("any");
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
    ["TRACE / HTTP/1.1\r\nhost: evil.example\r\n\r\n", 501],
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
  for (const [i, host] of ['the host "evil.example"', "no host"].entries()) {
    const problem = `a request for ${host}, which the server doesn't serve`;
    assert(lines[i]!.endsWith(problem), lines[i]);
  }
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

Deno.test('hosts is a list of names without ports, or "any"', () => {
  const start = (hosts: unknown) =>
    new Server(["127.0.0.1", 0], () => [200, "OK", {}, null], { hosts: hosts as string[] });
  for (const hosts of ["camera.local", "", "ANY", [1], [null], {}, 1]) {
    assertTypeError(() => start(hosts), Deno.inspect(hosts));
  }
  for (const host of ["", "a:80", "a/b", "http://a", "*", "*.a", "a b", "[::1]", "u@a"]) {
    assertRangeError(() => start(["a", host]), host);
  }
});

// ───────────────────────── the default

/** The apps of this package, each with its number of calls. */
const APPS: Record<string, (onCall: () => void) => [app: App, upstream: Serving | null]> = {
  "a function": (onCall) => [() => (onCall(), reply(200)), null],
  routes: (onCall) => [routes({ "/": () => (onCall(), reply(200)) }), null],
  fromFetchHandler: (onCall) => [
    fromFetchHandler(() => (onCall(), new Response()), { origin: "http://camera.local" }),
    null,
  ],
  ProxyApp: (onCall) => {
    const upstream = serve(() => (onCall(), reply(200)));
    return [new ProxyApp(upstream.makeClient()), upstream];
  },
};

for (const [name, makeApp] of Object.entries(APPS)) {
  Deno.test(`without hosts, a page that DNS rebinding leads to ${name} gets 421, and nothing else that a client on this machine sends`, async (t) => {
    let calls = 0;
    const [app, upstream] = makeApp(() => calls++);
    await using _upstream = upstream;
    await using serving = serve(app);
    const rows = DEFAULT_HOSTS.map(([host, status]) => [`${host}`, host, status] as const);
    await testEachRow(t, rows, async (_label, host, status) => {
      calls = 0;
      const { received } = await exchange(serving.address, formatHostRequest("GET", host));
      assertEquals(statusOf(received), status);
      assertEquals(calls, status === 200 ? 1 : 0);
    });
  });
}

Deno.test("without hosts, a client that is not on this machine may also send a name of a local network", async (t) => {
  const peers = ["192.168.1.7", "fe80::1%eth0", "2001:db8::1"];
  const loopbackPeers = ["127.8.9.1", "::1"];
  for (const peerHost of [...peers, ...loopbackPeers]) {
    const rows = DEFAULT_HOSTS.map(([host, loopbackStatus, otherStatus]) => {
      const status = loopbackPeers.includes(peerHost) ? loopbackStatus : otherStatus;
      return [`${host} from ${peerHost}`, host, status] as const;
    });
    await testEachRow(t, rows, async (_label, host, status) => {
      const received = await exchangeAs([peerHost, 1], formatHostRequest("GET", host));
      assertEquals(statusOf(received), status);
    });
  }
});

/** Sends a request over a connection that the server takes for one from this address. */
async function exchangeAs(
  address: HostAddress,
  request: string,
  hosts: "any" | null = null,
): Promise<string> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using peer = await RawPeer.connect(["127.0.0.1", listener.addr.port], request);
  const app: AppFunction = () => [200, "OK", {}, null];
  const { connection } = makeServerConnection(await listener.accept(), app, { address, hosts });
  const serving = connection.serve();
  await peer.closeWrite();
  const { received } = await peer.readToEnd();
  await serving;
  return received;
}

Deno.test("each request of a connection is checked, also after one that was served", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const hosts = ["127.0.0.1", "127.0.0.1", "localhost", null, "", "a.localhost", "localhost:1"];
  const requests = [...hosts, "evil.example", "127.0.0.1"];
  const bytes = requests.map((host) => formatHostRequest("GET", host)).join("");
  const { received } = await exchange(serving.address, bytes);
  assertEquals(received, OK.repeat(hosts.length) + MISDIRECTED);
});

Deno.test("without hosts, the host of a target in absolute form is checked, not the header host", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const rows = [
    ["http://localhost:1/", "evil.example", OK],
    ["HTTP://127.0.0.1", "evil.example", OK],
    ["http://evil.example/", "localhost", MISDIRECTED],
    ["http://evil.example:80", "", MISDIRECTED],
    ["http://localhost@evil.example/", "localhost", formatErrorResponse(400)],
    ["http://evil.example@localhost/", "localhost", formatErrorResponse(400)],
    ["http:///", "localhost", formatErrorResponse(400)],
  ];
  for (const [target, host, expected] of rows) {
    const bytes = `GET ${target} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
    assertEquals((await exchange(serving.address, bytes)).received, expected, target);
  }
});

Deno.test("over TLS and on a Unix socket a server without hosts serves each host", async () => {
  const app: App = ({ headers }) => [200, "OK", {}, `${headers["host"]}`];
  await using dir = await createTempDir();
  await using unix = serve(app, {}, `${dir.path}/socket`);
  const pki = await openSharedPki();
  const anonymous = {
    serverSslconfig: pki.anonymousServerSslconfig,
    clientSslconfig: pki.anonymousClientSslconfig,
  };
  for (const host of ["evil.example", "camera.local:8080", "0x7f.1", null]) {
    await using mutualTls = await startTls(pki, app, { client: { host } });
    await using serverTls = await startTls(anonymous, app, { client: { host } });
    for (const client of [unix.makeClient({ host }), mutualTls.client, serverTls.client]) {
      assertEquals(await (await client.get("/")).text(), `${host ?? undefined}`);
    }
  }
});
