/** createFetch: requests, connections, and failures. */
import { createFetch } from "@degu/degu";
import {
  type Address,
  ConnectionClosedError,
  ConnectionError,
  ProtocolError,
} from "@degu/degu/base";
import { Client, type Connection } from "@degu/degu/client";
import type { App, AppFunction } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/stated.ts";
import { makeSlowStream, MAX_HEADERS } from "@degu/testing/web_serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

// createFetch over a connection: its requests share it, and its owner closes it.

const encoder = new TextEncoder();

/** An app that responds with the number of the request on its connection, and with its parts. */
const countingApp: AppFunction = async (request, session) => {
  const text = await request.body?.text() ?? "";
  return [200, "OK", {}, encoder.encode(`${session.requests} ${request.uri} ${text}`)];
};

interface Connected extends AsyncDisposable {
  readonly serving: Serving;
  readonly conn: Connection;
  readonly fetch: typeof fetch;
}

/** Serves an application, connects to it, and makes a fetch over the connection. */
async function connect(app: App): Promise<Connected> {
  const serving = serve(app);
  const conn = await serving.makeClient().connect();
  return {
    serving,
    conn,
    fetch: createFetch(conn),
    [Symbol.asyncDispose]: async () => {
      conn.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

/** Asserts that a fetch rejects with a TypeError whose cause is of the class. */
async function assertCause(
  fetching: Promise<Response>,
  causeClass: new (message: string) => Error,
): Promise<void> {
  const error = await assertRejects(() => fetching, TypeError);
  assertInstanceOf(error.cause, causeClass);
}

Deno.test("consecutive requests use the connection", async () => {
  await using connected = await connect(countingApp);
  const { fetch, conn } = connected;
  const texts = [];
  for (const body of ["text", makeSlowStream("slow"), new Blob(["blob"])]) {
    texts.push(await (await fetch("/a", { method: "POST", body })).text());
  }
  texts.push(await (await fetch("/b")).text());
  assertEquals(texts, ["0 /a text", "1 /a slow", "2 /a blob", "3 /b "]);
  assert(!conn.closed);
});

Deno.test("a URL without an origin gets that of the connection", async () => {
  await using connected = await connect(countingApp);
  const { fetch, conn } = connected;
  const response = await fetch("/a");
  assertEquals(response.url, `http://${conn.baseHeaders?.["host"]}/a`);
  await response.body?.cancel();
  await using dir = await createTempDir();
  await using serving = serve(countingApp, {}, `${dir.path}/socket`);
  using unix = await serving.makeClient().connect();
  const unixResponse = await createFetch(unix)("/a");
  assertEquals([unixResponse.url, await unixResponse.text()], ["http://localhost/a", "0 /a "]);
});

Deno.test("a caller's mistake leaves the connection usable", async () => {
  await using connected = await connect(countingApp);
  const { fetch } = connected;
  await assertCause(fetch("/", { headers: { a: "\x7f" } }), RangeError);
  await assertCause(fetch("/", { method: "BREW" }), RangeError);
  assertEquals(await (await fetch("/a")).text(), "0 /a ");
});

Deno.test("redirects with any body use the connection", async (t) => {
  const app =
    (redirectBody: Uint8Array | null, location: string): AppFunction => (request, session) => {
      if (request.path[0] !== "old") return countingApp(request, session, undefined as never);
      return [302, "Found", { location }, redirectBody];
    };
  for (const body of [null, new Uint8Array(60_000)]) {
    await t.step(`followed, ${body?.length ?? "no"} bytes`, async () => {
      await using connected = await connect(app(body, "/new"));
      assertEquals(await (await connected.fetch("/old")).text(), "1 /new ");
    });
    await t.step(`refused, ${body?.length ?? "no"} bytes`, async () => {
      await using connected = await connect(app(body, "http://other.local/"));
      const error = await catchRejection(connected.fetch("/old"), "another origin");
      assertStringIncludes(String(error), "other.local");
      assertEquals(await (await connected.fetch("/new")).text(), "1 /new ");
    });
  }
  await t.step("a body that is too long to be read closes the connection", async () => {
    const longBody = new Uint8Array(100_000);
    await using connected = await connect(() => [302, "Found", { location: "/new" }, longBody]);
    await assertCause(connected.fetch("/old"), ConnectionClosedError);
  });
});

// createFetch: the URL, host and body of each request.

Deno.test("over a named socket the URL determines the host", async (t) => {
  await using dir = await createTempDir();
  const app: AppFunction = ({ headers }) => [200, "OK", {}, encoder.encode(`${headers["host"]}`)];
  const addresses: [name: string, address: Address][] = [
    ["a Unix socket", `${dir.path}/socket`],
    ["an abstract name", new Uint8Array(0)],
  ];
  const headers = { host: "init.local" };
  type Row = [input: string, init: RequestInit, host: string | undefined, expected: string];
  const rows: Row[] = [
    ["http://device.local/a", {}, undefined, "device.local"],
    ["http://device.local:80/a", {}, undefined, "device.local"],
    ["http://[::1]:81/a", {}, undefined, "[::1]:81"],
    ["/a", {}, undefined, "localhost"],
    ["http://device.local/a", { headers }, undefined, "init.local"],
    ["http://client.local/a", {}, "client.local", "client.local"],
  ];
  for (const [name, address] of addresses) {
    await using serving = serve(app, {}, address);
    for (const [input, init, host, expected] of rows) {
      await t.step(`${name}: ${input} ${expected}`, async () => {
        const client = serving.makeClient(host === undefined ? {} : { host });
        using conn = await client.connect();
        for (const fetch of [createFetch(client), createFetch(conn)]) {
          assertEquals(await (await fetch(input, init)).text(), expected);
        }
      });
    }
  }
  await t.step("a client over TCP with host: null sends no host", async () => {
    await using serving = serve(app);
    const client = serving.makeClient({ host: null });
    using conn = await client.connect();
    for (const fetch of [createFetch(client), createFetch(conn)]) {
      assertEquals(await (await fetch("http://device.local/a")).text(), "undefined");
    }
  });
});

// createFetch: its errors.

Deno.test("a failure is a TypeError that quotes the invalid part but no secret, and its cause has the reason", async (t) => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(serving.makeClient(), { anyHost: true });
  const usedRequest = new Request("http://a/", { method: "POST", body: "a" });
  await usedRequest.text();
  const put = (length: string) => ({
    ...{ method: "PUT", body: "abc", headers: { "content-length": length } },
  });
  const manyHeaders = Array.from({ length: 129 }, (_, i): [string, string] => [`x-${i}`, "1"]);
  const location = "http://user:secret@device.local/a";
  const user = "must be a URL without a user name and a password";
  const hidden = "must be a URL; got text that is not shown";
  const rows: [
    name: string,
    input: string | URL | Request,
    init: RequestInit,
    message: string,
    cause?: ErrorConstructor,
  ][] = [
    ["an unknown method", "/", { method: "BREW" }, '"BREW"', RangeError],
    // Like fetch, which changes the case of other methods.
    ["patch in lower case", "/", { method: "patch" }, '"patch"', RangeError],
    ["a path with an escaped slash", "/a%2Fb", {}, '"a/b": "/" is not allowed', RangeError],
    ["a path with ..;", "/..;/a", {}, '"..;" is not allowed', RangeError],
    ["a header's character", "/", { headers: { a: "\x7f" } }, '"\\x7f"', RangeError],
    ["a header's name", "/", { headers: { ["a".repeat(257)]: "c" } }, "1 to 256", RangeError],
    ["no range", "/", { headers: { range: "bytes=-" } }, '"bytes=-"', RangeError],
    ["too many headers", "/", { headers: manyHeaders }, "at most 128; got 129", TypeError],
    ["in a Request", new Request("http://a/", { headers: manyHeaders }), {}, "got 129", TypeError],
    [
      "a content-length without a body",
      "/",
      { ...put("1"), body: null },
      "content-length",
      RangeError,
    ],
    [
      "a content-length of GET",
      "/",
      { headers: { "content-length": "1" } },
      "content-length",
      RangeError,
    ],
    ["a wrong content-length", "/", put("2"), "2", RangeError],
    ["a body of DELETE", "/", { method: "DELETE", body: "a" }, "DELETE", RangeError],
    ["another scheme", "ftp://a/", {}, "ftp:", TypeError],
    ["an invalid URL", "http://", {}, '"http://"'],
    // Arguments that the platform refuses.
    ["a body of GET", "/", { body: "a" }, ""],
    ["a header value with a line end", "/", { headers: { a: "b\r\nc: d" } }, ""],
    ["a used Request", usedRequest, {}, ""],
    ["Deno's own clients", "/", { client: {} } as RequestInit, ""],
    // Credentials must not be in a log.
    ["a user and a password", location, {}, user],
    ["a URL with a user and a password", new URL(location), {}, user],
    ["a Request with a user and a password", new Request(location), {}, user],
    ["with a body", new Request(location, { method: "POST", body: "a" }), {}, user],
    ["a user", "http://secret@device.local/", {}, user],
    ["a password", "http://:secret@device.local/", {}, user],
    ["without slashes", "https:user:secret@device.local", {}, user],
    ["no path", "http://name:secret@", {}, hidden],
    ["backslashes", "http:\\\\user:secret@device.local", {}, user],
    ["relative to the scheme", "//user:secret@device.local/", {}, user],
    ["an invalid URL with a user and a password", "http://user:secret@device.local:x/", {}, hidden],
    [
      "an invalid URL without slashes, with a user and a password",
      "https:user:secret@device.local:x",
      {},
      hidden,
    ],
    ["another scheme and a user", "ftp://user:secret@device.local/", {}, user],
  ];
  await testEachRow(t, rows, async (name, input, init, message, cause?: ErrorConstructor) => {
    const error = await assertRejects(() => fetch(input, init), TypeError, "", name);
    if (cause !== undefined) assertInstanceOf(error.cause, cause);
    assertStringIncludes(error.message, message);
    assert(!Deno.inspect(error).includes("secret"), Deno.inspect(error));
  });
  await t.step("no server", async () => {
    const fetchUnreachable = createFetch(new Client(["127.0.0.1", await findUnusedPort()]));
    const error = await assertRejects(() => fetchUnreachable("/gone"), TypeError);
    assertInstanceOf(error.cause, ConnectionError);
    assertEquals(error.cause.fault, "refused");
    assertStringIncludes(error.message, "/gone");
  });
});

Deno.test("a peer's protocol error is the cause", async () => {
  using server = new RawServer();
  const responding = createFetch(new Client(server.address))("/");
  const peer = await server.accept();
  await peer.readPreamble();
  const rejection = catchRejection(responding, "a bad status line");
  await peer.send("HTTP/1.1 999 OK\r\n\r\n");
  const error = await rejection;
  assertInstanceOf(error, TypeError);
  assertInstanceOf(error.cause, ProtocolError);
  assertEquals(error.cause.code, "BAD_STATUS");
  await peer.assertClosedSilently();
});

Deno.test("a response with more headers than a Headers may have is a TypeError, and leaves the connection usable", async () => {
  const maxHeaders = await readStatedNumber("docs/web.md", MAX_HEADERS);
  await using serving = serve(({ path: [count] }) => {
    const names = Array.from({ length: Number(count) - 1 }, (_, i) => `x-${i}`);
    // The server adds `content-length`.
    return [200, "OK", Object.fromEntries(names.map((name) => [name, "1"])), "hello"];
  });
  using conn = await serving.makeClient().connect();
  const fetch = createFetch(conn);
  const error = await assertRejects(() => fetch(`/${maxHeaders + 1}`), TypeError);
  assertStringIncludes(error.message, `a response with more than ${maxHeaders} headers`);
  assertInstanceOf(error.cause, TypeError);
  for (const count of [maxHeaders - 1, maxHeaders]) {
    const response = await fetch(`/${count}`);
    assertEquals([[...response.headers].length, await response.text()], [count, "hello"]);
  }
});

Deno.test("a URL of another host or port than the client's is a TypeError, and no request is sent, unless any host is allowed", async () => {
  let requests = 0;
  await using serving = serve(() => {
    requests++;
    return [200, "OK", {}, null];
  }, { hosts: "any" });
  const { port } = serving.server;
  const namedClient = serving.makeClient({ host: "lamp:81" });
  using conn = await serving.makeClient().connect();
  const rows: [client: Client | Connection, url: string, isSent: boolean][] = [
    [serving.makeClient(), `http://127.0.0.1:${port}/`, true],
    [serving.makeClient(), `https://127.0.0.1:${port}/`, true],
    [serving.makeClient(), "http://127.0.0.1/", false],
    [serving.makeClient(), `http://localhost:${port}/`, false],
    [serving.makeClient(), "//api.example/", false],
    [conn, `http://127.0.0.1:${port}/`, true],
    [conn, "http://api.example/", false],
    [namedClient, "http://LAMP:81/", true],
    [namedClient, "http://lamp/", false],
    [serving.makeClient({ host: "lamp" }), "http://lamp:80/", true],
    [serving.makeClient({ host: null }), "http://any.example/", true],
    // No URL has this host.
    [serving.makeClient({ host: "1.2.3.999" }), "/", true],
    [serving.makeClient({ host: "1.2.3.999" }), "http://1.2.3.4/", false],
  ];
  for (const [client, url, isSent] of rows) {
    requests = 0;
    const fetching = createFetch(client)(url);
    if (isSent) assertEquals((await fetching).status, 200, url);
    else await assertRejects(() => fetching, TypeError, "input: must be a URL of ");
    assertEquals(requests, isSent ? 1 : 0, url);
    assertEquals((await createFetch(client, { anyHost: true })(url)).status, 200, url);
  }
  const redirect: AppFunction = () => [302, "Found", { location: "http://api.example/" }, null];
  await using redirecting = serve(redirect);
  await catchRejection(createFetch(redirecting.makeClient())("/"), "a redirect to another host");
  const create = (options: object) => () => createFetch(namedClient, options);
  assertThrows(create({ anyHost: "yes" }), TypeError, "anyHost: must be a boolean");
  assertThrows(create({ host: "a" }), TypeError, 'unknown option "host"');
});

Deno.test("createFetch requires a client or a connection", () => {
  for (const client of [undefined, "http://a/", { request: 1 }, { close() {} }, Client]) {
    assertThrows(() => Reflect.apply(createFetch, undefined, [client]), TypeError, "Client");
  }
});
