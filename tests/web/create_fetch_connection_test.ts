/** createFetch: requests, connections, and failures. */
import { createFetch } from "@degu/degu";
import {
  type Address,
  ConnectionClosedError,
  ConnectionError,
  type Method,
  ProtocolError,
} from "@degu/degu/base";
import { Client, type Connection, ConnectionPool, type Requester } from "@degu/degu/client";
import type { App, AppFunction } from "@degu/degu/server";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { makeSlowStream } from "./web_serving.ts";
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

Deno.test("a returned redirect and a refused redirect leave the connection usable, unless a refused body is too long to be read", async (t) => {
  const app = (redirectBody: Uint8Array | null): AppFunction => (request, session) => {
    if (request.path[0] !== "old") return countingApp(request, session, undefined as never);
    return [302, "Found", { location: "http://other.local/" }, redirectBody];
  };
  for (const body of [null, new Uint8Array(60_000)]) {
    await t.step(`${body?.length ?? "no"} bytes`, async () => {
      await using connected = await connect(app(body));
      const { fetch } = connected;
      assertEquals((await (await fetch("/old")).bytes()).length, body?.length ?? 0);
      await assertRejects(() => fetch("/old", { redirect: "error" }), TypeError, "a redirect");
      assertEquals(await (await fetch("/new")).text(), "2 /new ");
    });
  }
  await t.step("a body that is too long to be read closes the connection", async () => {
    await using connected = await connect(app(new Uint8Array(100_000)));
    const { fetch } = connected;
    await assertRejects(() => fetch("/old", { redirect: "error" }), TypeError, "a redirect");
    await assertCause(fetch("/new"), ConnectionClosedError);
  });
});

// createFetch: the URL, host and body of each request.

Deno.test("a client without a host accepts URLs of http://localhost, and sends the host header only if the caller does", async (t) => {
  await using dir = await createTempDir();
  const app: AppFunction = ({ headers }) => [200, "OK", {}, `${headers["host"]}`];
  const addresses: [name: string, address: Address][] = [
    ["a Unix socket", `${dir.path}/socket`],
    ["an abstract name", new Uint8Array(0)],
    ["TCP", ["127.0.0.1", 0]],
  ];
  const headers = { host: "localhost" };
  type Row = [input: string, init: RequestInit, expected: string | null];
  const rows: Row[] = [
    ["/a", {}, "undefined"],
    ["http://localhost/a", {}, "undefined"],
    ["http://localhost:80/a", { headers }, "localhost"],
    ["http://localhost/a", { headers: { host: "other.local" } }, null],
    ["https://localhost/a", {}, null],
    ["http://localhost:81/a", {}, null],
    ["http://other.local/a", {}, null],
  ];
  for (const [name, address] of addresses) {
    await using serving = serve(app, {}, address);
    const client = serving.makeClient({ host: null });
    using conn = await client.connect();
    const wrapper: Requester = {
      request: (...args) => client.request(...args as [Method, string]),
    };
    await testEachRow(
      t,
      rows.map((row) => [`${name}: ${row[0]} ${row[2]}`, ...row] as const),
      async (
        _label,
        input,
        init,
        expected,
      ) => {
        for (const requester of [client, conn, wrapper]) {
          const fetching = createFetch(requester)(input, init);
          if (expected === null) await assertRejects(() => fetching, TypeError, "localhost");
          else assertEquals(await (await fetching).text(), expected);
        }
      },
    );
  }
});

// createFetch: its errors.

Deno.test("a failure is a TypeError that quotes the invalid part but no secret, and its cause has the reason", async (t) => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const client = serving.makeClient({ host: "a" });
  const fetch = createFetch(client);
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
    ["too many headers", "/", { headers: manyHeaders }, "at most 128 lines; got 129", RangeError],
    ["in a Request", new Request("http://a/", { headers: manyHeaders }), {}, "got 129", RangeError],
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
    ["another scheme", "ftp://a/", {}, "ftp:"],
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

Deno.test("a URL of another scheme, host or port than the client's is a TypeError, and no request is sent", async (t) => {
  let requests = 0;
  await using serving = serve(() => {
    requests++;
    return [200, "OK", {}, null];
  }, { hosts: "any" });
  const { port } = serving.server;
  const client = serving.makeClient();
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  const named = serving.makeClient({ host: "lamp:81" });
  const secure = new Client(client.address, {
    host: "lamp",
    scheme: "https",
    dial: () => Deno.connect({ hostname: "127.0.0.1", port: port! }),
  });
  const ownUrl = `http://127.0.0.1:${port}/`;
  const wrapper = { host: "lamp", scheme: "https", request: client.request.bind(client) };
  const rows: [name: string, requester: Requester, sent: string[], refused: string[]][] = [
    ...([["client", client], ["connection", conn], ["pool", pool]] as const).map((
      [name, requester],
    ): [string, Requester, string[], string[]] => [
      name,
      requester,
      ["/", ownUrl, `//127.0.0.1:${port}/`],
      [
        ownUrl.replace("http", "https"),
        "http://127.0.0.1/",
        `http://localhost:${port}/`,
        "//api.example/",
        "\\\\api.example/",
        "http://api.example/",
        `blob:${ownUrl}a`,
        `ws://127.0.0.1:${port}/`,
        "data:,a",
      ],
    ]),
    ["a host", named, ["http://LAMP:81/", "http:/a"], ["http://lamp/", "http://lamp.example:81/"]],
    ["a default port", serving.makeClient({ host: "lamp:80" }), ["http://lamp/"], [
      "http://lamp:81/",
    ]],
    ["https", secure, ["https://lamp:443/"], ["http://lamp/", "https://lamp:80/"]],
    ["a wrapper with host and scheme", wrapper, ["https://lamp/"], ["http://lamp/"]],
    ["a number as a host", serving.makeClient({ host: "0x7f.1" }), ["http://127.0.0.1/"], []],
  ];
  await testEachRow(t, rows, async (_name, requester, sent, refused) => {
    const fetch = createFetch(requester);
    for (const url of sent) assertEquals((await fetch(url)).status, 200, url);
    requests = 0;
    for (const url of refused) {
      for (const input of [url, ...(URL.canParse(url) ? [new URL(url)] : [])]) {
        await assertRejects(() => fetch(input), TypeError, "input: must be a path, or a URL of ");
      }
    }
    assertEquals(requests, 0);
  });
  assertThrows(
    () => createFetch(serving.makeClient({ host: "1.2.3.999" })),
    TypeError,
    "client: must have a host that a URL can have",
  );
});

Deno.test("createFetch requires an object with the method request", () => {
  for (const client of [undefined, "http://a/", { request: 1 }, { connect() {} }, Client]) {
    assertThrows(() => Reflect.apply(createFetch, undefined, [client]), TypeError, "request");
  }
});
