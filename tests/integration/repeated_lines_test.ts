/** Header lines of one name (RFC 9110 §5.3): joined for a reader, kept if a response is sent on. */
import { assert, assertEquals } from "@std/assert";
import { createFetch, fromFetchHandler, ProxyApp, routes, wrapApp } from "@degu/degu";
import type { HeadersToSend } from "@degu/degu/base";
import { Client, ConnectionPool } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { formatErrorResponse } from "../net/server/error_answers.ts";
import { exchange, RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

/** Lines in the order in which they are sent. The values of some have commas of their own. */
const LINES = [
  "link: </a,b>; rel=next",
  "link: </c>",
  "set-cookie: a=b; expires=Thu, 01 Jan 2026 00:00:00 GMT",
  "set-cookie: c=d",
  'www-authenticate: Digest realm="a, b", nonce="c"',
  "www-authenticate: Basic",
  'www-authenticate: Digest realm="a, b", nonce="c"',
  "x-empty: ",
  "x-empty: e",
  "x-empty: ",
  "x-single: a, b",
];
const JOINED: Record<string, unknown> = {
  "link": "</a,b>; rel=next, </c>",
  "set-cookie": ["a=b; expires=Thu, 01 Jan 2026 00:00:00 GMT", "c=d"],
  "www-authenticate": 'Digest realm="a, b", nonce="c", Basic, Digest realm="a, b", nonce="c"',
  "x-empty": "e",
  "x-single": "a, b",
};

const linesOf = (preamble: string) => preamble.split("\r\n").filter((line) => LINES.includes(line));

/** Makes apps that send on the responses of a client. */
const RELAYS: Record<
  string,
  (client: Client) => App & Partial<AsyncDisposable>
> = {
  "a ProxyApp": (client) => new ProxyApp(client),
  "an app that returns the response": (client) => ({ method, uri }) =>
    client.request(method as "GET", uri),
  "an app that returns a response with a replaced body": (client) => async ({ method, uri }) => {
    const { status, reason, headers, body } = await client.request(method as "GET", uri);
    return [status, reason, headers, body];
  },
  "both bridges": (client) => {
    const fetch = createFetch(client);
    return fromFetchHandler(({ method, url }) => fetch(new URL(url).pathname, { method }));
  },
  "a middleware": (client) => wrapApp(({ uri }) => client.get(uri), (next) => next()),
  "routes": (client) => routes({ "/": ({ uri }) => client.get(uri) }),
};

/** Responses with the lines, by the rest of their preamble and their body. */
const RESPONSES: readonly (readonly [method: string, status: number, rest: string])[] = [
  ["GET", 200, "content-length: 5\r\n\r\nhello"],
  ["GET", 200, "connection: close, x-hop\r\nx-hop: 1\r\ncontent-length: 5\r\n\r\nhello"],
  ["GET", 200, "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
  ["GET", 401, "content-length: 0\r\n\r\n"],
  ["GET", 304, "\r\n"],
  ["HEAD", 200, "content-length: 5\r\n\r\n"],
];

for (const [name, makeApp] of Object.entries(RELAYS)) {
  Deno.test(`a response that ${name} sends on has as many lines as it had, also behind a proxy and for HTTP/1.0`, async () => {
    using upstream = new RawServer();
    await using serving = serve(makeApp(new Client(upstream.address, { timeout: 30 })));
    await using proxy = serve(new ProxyApp(serving.makeClient()));
    for (const { address } of [serving, proxy]) {
      for (const [method, status, rest] of RESPONSES) {
        if (method === "HEAD" && !/Proxy|app|bridges/.test(name)) continue;
        for (const version of ["1.1", "1.0"]) {
          using peer = await RawPeer.connect(address, `${method} / HTTP/${version}\r\n\r\n`);
          const upstreamPeer = await upstream.respond(
            `HTTP/1.1 ${status} x\r\n${LINES.join("\r\n")}\r\n${rest}`,
          );
          const preamble = await peer.readPreamble();
          assertEquals(linesOf(preamble), LINES, `${method} ${status} ${version}`);
          assert(preamble.startsWith(`HTTP/1.1 ${status} `), preamble);
          upstreamPeer.close();
        }
      }
    }
  });
}

Deno.test("a reader gets the lines of a name as one text", async () => {
  using upstream = new RawServer();
  const client = new Client(upstream.address, { timeout: 30 });
  await using pool = new ConnectionPool(client);
  for (const requester of [client, pool]) {
    const asking = requester.get("/");
    await upstream.respond(`HTTP/1.1 204 x\r\n${LINES.join("\r\n")}\r\n\r\n`);
    assertEquals<unknown>({ ...(await asking).headers }, JOINED);
  }
  const fetching = createFetch(client)("/");
  await upstream.respond(`HTTP/1.1 204 x\r\n${LINES.join("\r\n")}\r\n\r\n`);
  assertEquals((await fetching).headers.get("link"), JOINED["link"]);
});

Deno.test("headers that an app copies or changes lose their lines", async () => {
  using upstream = new RawServer();
  const client = new Client(upstream.address, { timeout: 30 });
  const rows: [App, sent: string][] = [
    [async () => {
      const { status, reason, headers } = await client.get("/");
      return [status, reason, { ...headers }, null];
    }, "x-a: b, c\r\nx-d: e, f\r\n"],
    [async () => {
      const response = await client.get("/");
      Object.assign(response.headers, { "x-a": "other" });
      return response;
    }, "x-a: other\r\nx-d: e\r\nx-d: f\r\n"],
    [async () => {
      const response = await client.get("/");
      delete (response.headers as HeadersToSend)["x-a"];
      return response;
    }, "x-d: e\r\nx-d: f\r\n"],
    [
      fromFetchHandler(async () => {
        const response = await createFetch(client)("/");
        response.headers.append("x-a", "g");
        return response;
      }),
      "x-a: b, c, g\r\nx-d: e\r\nx-d: f\r\n",
    ],
    [
      fromFetchHandler(async () => {
        const { status, headers } = await createFetch(client)("/");
        return new Response(null, { status, headers });
      }),
      "x-a: b, c\r\nx-d: e, f\r\n",
    ],
  ];
  for (const [app, sent] of rows) {
    await using serving = serve(app);
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    await upstream.respond("HTTP/1.1 204 No\r\nx-a: b\r\nx-d: e\r\nx-a: c\r\nx-d: f\r\n\r\n");
    const preamble = await peer.readPreamble();
    assertEquals(preamble.replace(/^.*\r\n/, ""), `${sent}\r\n`);
  }
});

const SINGLE_NAMES = ["content-type", "etag", "last-modified", "location", "host", "authorization"];

Deno.test("a name that must come once stays once: a second line is refused, and an app can't send a list", async () => {
  using upstream = new RawServer();
  await using proxy = serve(new ProxyApp(new Client(upstream.address, { timeout: 30 })));
  for (const name of SINGLE_NAMES) {
    using peer = await RawPeer.connect(proxy.address, "GET / HTTP/1.1\r\n\r\n");
    await upstream.respond(`HTTP/1.1 204 No\r\n${name}: a\r\n${name}: a\r\n\r\n`);
    assert((await peer.readPreamble()).startsWith("HTTP/1.1 502 "), name);
    for (const list of [["a"], ["a", "b"], []]) {
      await using serving = serve(() => [200, "OK", { [name]: list }, null]);
      const { received } = await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
      assertEquals(received, formatErrorResponse(500));
      await serving.logger.waitFor("error", `headers["${name}"]: must be a string`);
    }
  }
});

Deno.test("an app sends a header in a line for each string of a list", async () => {
  const rows: [HeadersToSend, sent: string | null][] = [
    [{ "x-a": ["b", "c, d", ""] }, "x-a: b\r\nx-a: c, d\r\nx-a: \r\n"],
    [{ "x-a": [], "x-b": ["c"] }, "x-b: c\r\n"],
    [{ "connection": ["x", "close"] }, "connection: x\r\nconnection: close\r\n"],
    [{ "x-a": ["b", "c\r\nd: e"] }, null],
    [{ "x-a": ["b", 5] as never }, null],
    [{ "x-a": [["b"]] as never }, null],
    [{ "x-a": [" b"] }, null],
  ];
  for (const [headers, sent] of rows) {
    await using serving = serve(() => [204, "No", headers, null]);
    const { received } = await exchange(serving.address, "GET / HTTP/1.1\r\n\r\n");
    const expected = sent === null ? formatErrorResponse(500) : `HTTP/1.1 204 No\r\n${sent}\r\n`;
    assertEquals(received, expected);
  }
});

Deno.test("a list of options of connection is one list: close ends the session, and is added to other options", async () => {
  const rows: [connection: string[], sent: string][] = [
    [["x", "Close"], "connection: x\r\nconnection: Close\r\n"],
    [["x", "y"], "connection: x, y, close\r\n"],
  ];
  for (const [connection, sent] of rows) {
    await using serving = serve(() => [204, "No", { connection }, null], { maxRequests: 1 });
    const request = "GET / HTTP/1.1\r\n\r\n";
    const { received } = await exchange(serving.address, request + request);
    assertEquals(received, `HTTP/1.1 204 No\r\n${sent}\r\n`);
  }
});

Deno.test("the lines of a request are joined, and a request can't have a list", async () => {
  await using serving = serve(({ headers }) => [200, "OK", {}, `${headers["x-a"]}`]);
  await using proxy = serve(new ProxyApp(serving.makeClient()));
  for (const { address, makeClient } of [serving, proxy]) {
    const { received } = await exchange(address, "GET / HTTP/1.1\r\nx-a: b\r\nx-a: c\r\n\r\n");
    assert(received.endsWith("b, c"), received);
    const requesting = makeClient().request("GET", "/", { "x-a": ["b", "c"] });
    const error = await requesting.then(() => null, (error) => error);
    assert(error instanceof TypeError, `${error}`);
  }
});
