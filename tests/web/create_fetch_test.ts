/** createFetch: sent requests, returned responses, and redirects, which are returned. */
import { type BodyOut, ChunkedBodyIter } from "@degu/degu/base";
import { createFetch, reply } from "@degu/degu";
import { Client, type ClientOptions, ConnectionPool } from "@degu/degu/client";
import { RawPeer, RawServer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { makeSlowStream } from "./web_serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";

// createFetch: the sent bytes of a Request, and the conversion of the response.

type Fetch = typeof fetch;
const encoder = new TextEncoder();

/**
 * Makes a fetch to a peer that responds with these bytes; resolves to the sent bytes and the
 * response.
 */
async function fetchAndRespond(
  start: (fetch: Fetch) => Promise<Response>,
  responseBytes: string,
  options: ClientOptions = {},
): Promise<{ sent: string; response: Response }> {
  using server = new RawServer();
  const client = new Client(server.address, { host: null, timeout: 10, ...options });
  const fetch = createFetch(client);
  const responding = start(fetch);
  const peer = await server.accept();
  let sent = await peer.readPreamble();
  const length = /content-length: (\d+)/.exec(sent)?.[1];
  if (length !== undefined) sent += await peer.readExactly(Number(length));
  if (sent.includes("transfer-encoding: chunked")) sent += await peer.readUntil("0\r\n\r\n");
  await peer.send(responseBytes);
  const response = await responding;
  // Read the body while the peer is connected; the returned response has the bytes.
  const bytes = response.body === null ? null : await response.clone().bytes();
  await response.body?.cancel();
  const { status, statusText, headers } = response;
  const init = { status, statusText, headers };
  return { sent, response: Object.assign(new Response(bytes, init)) };
}

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/** Decodes a message with its line ends written as `|`. */
const decodeWire = (text: string) => text.replaceAll("|", "\r\n");

Deno.test("a request is sent unchanged, and only the client's headers are added", async (t) => {
  const headers = { "X-Thing": "One", accept: "text/plain" };
  const form = new FormData();
  form.set("name", "value");
  const put = (body: BodyInit, init: RequestInit = {}) =>
    new Request("http://localhost/", { method: "PUT", body, ...init });
  const makeClonedRequest = () => {
    const request = put(encoder.encode("hello"));
    request.clone();
    return request.clone();
  };
  const makeAvailableStream = () => streamOf(encoder.encode("hel"), encoder.encode("lo"));
  const type = "content-type: text/plain;charset=UTF-8";
  const chunked = { "transfer-encoding": "chunked" };
  const posts: [name: string, body: BodyInit, rest: string, headers?: HeadersInit][] = [
    ["text", "h\xe9llo", `content-length: 6|${type}||h\xc3\xa9llo`],
    ["text of another type", "a", "content-length: 1|content-type: b||a", { "content-type": "b" }],
    ["other elements", new Uint16Array([0x4241, 0x4443]).subarray(1), "content-length: 2||CD"],
    ["a blob", new Blob(["abc"], { type: "a/b" }), "content-length: 3|content-type: a/b||abc"],
    ["a stream", makeSlowStream("he", "llo"), "transfer-encoding: chunked||2|he|3|llo|0||"],
    ["a stream of available bytes", makeAvailableStream(), "content-length: 5||hello"],
    [
      "available bytes, chunked",
      makeAvailableStream(),
      "transfer-encoding: chunked||3|hel|2|lo|0||",
      chunked,
    ],
    ["a stream of known length", makeSlowStream("he", "llo"), "content-length: 5||hello", {
      "content-length": "5",
    }],
  ];
  /** The request line, without ` HTTP/1.1`. */
  type Row = [name: string, args: Parameters<Fetch>, sent: string];
  const rows: Row[] = [
    // Only the path and query of a URL are used.
    ["a path", ["/"], "GET /||"],
    ["a host", ["http://localhost/a"], "GET /a||"],
    ["a default port and an empty query", ["http://localhost:80/a?"], "GET /a?||"],
    ["a fragment after a query", ["/a?b#c?d"], "GET /a?b||"],
    ["a fragment with a question mark", ["/a#b?c"], "GET /a||"],
    ["a path that is not normalized", ["/a/../b/./c"], "GET /b/c||"],
    ["a Request", [new Request("http://localhost/a?b#c")], "GET /a?b||"],
    ["GET", ["/", { headers }], "GET /|accept: text/plain|x-thing: One||"],
    ["a method in lower case", ["/", { method: "delete" }], "DELETE /||"],
    ["HEAD", ["/", { method: "HEAD" }], "HEAD /||"],
    ["a range", ["/", { headers: { range: "bytes=2-4" } }], "GET /|range: bytes=2-4||"],
    ["any token as a name", ["/", { headers: { "x_a!#": "b" } }], "GET /|x_a!#: b||"],
    ["bytes above 127", ["/", { headers: { a: "\x80 \t\xff" } }], "GET /|a: \x80 \t\xff||"],
    ["POST without a body", ["/", { method: "POST" }], "POST /|content-length: 0||"],
    [
      "a Request with text",
      [put("hello", { headers })],
      "PUT /|accept: text/plain|" +
      `content-length: 5|${type}|x-thing: One||hello`,
    ],
    ["a Request with bytes, cloned", [makeClonedRequest()], "PUT /|content-length: 5||hello"],
    [
      "a Request under an init",
      [new Request("http://localhost/b", { headers: { c: "d" } }), {
        ...{ method: "POST", body: "e", headers: { f: "g" } },
      }],
      `POST /b|content-length: 1|${type}|f: g||e`,
    ],
    ...posts.map(([name, body, rest, headers = {}]): Row => {
      return [name, ["/", { method: "POST", body, headers }], `POST /|${rest}`];
    }),
  ];
  await testEachRow(t, rows, async (_name, args, expected) => {
    const { sent } = await fetchAndRespond((fetch) => fetch(...args), OK);
    assertEquals(sent, decodeWire(expected.replace("|", " HTTP/1.1|")));
  });
  await t.step("a form", async () => {
    const { sent } = await fetchAndRespond(
      (fetch) => fetch("/", { method: "POST", body: form }),
      OK,
    );
    const [preamble = "", body = ""] = sent.split("\r\n\r\n", 2);
    const boundary = /boundary=(\S+)/.exec(preamble)?.[1] ?? "none";
    assertStringIncludes(preamble, "content-type: multipart/form-data");
    assertStringIncludes(body, `--${boundary}\r\nContent-Disposition: form-data; name="name"`);
    assert(sent.endsWith(`value\r\n--${boundary}--\r\n`) || sent.endsWith(`--${boundary}--`), sent);
  });
  await t.step("the client's headers override the headers of the request", async () => {
    const options = { host: "device.local", authorization: "Bearer a" };
    const start = (fetch: Fetch) => fetch("/", { headers: { authorization: "b" } });
    const { sent } = await fetchAndRespond(start, OK, options);
    assertEquals(sent, decodeWire("GET / HTTP/1.1|authorization: Bearer a|host: device.local||"));
  });
});

Deno.test("a host header is the host of the client, or a TypeError in every form", async () => {
  await using serving = serve(({ headers }) => reply(200, `${headers["host"]}`), { hosts: "any" });
  const host = serving.makeClient().host!;
  const fetch = createFetch(serving.makeClient());
  const calls: ((host: string) => Promise<Response>)[] = [
    (host) => fetch("/", { headers: { host } }),
    (host) => fetch("/", { headers: [["Host", host]] }),
    (host) => fetch("/", { headers: new Headers({ HOST: host }) }),
    (host) => fetch(new Request(`http://${serving.makeClient().host}/`, { headers: { host } })),
  ];
  const problem = `headers["host"]: must be ${host}, the host of the client, or left out; got`;
  for (const call of calls) {
    assertEquals(await (await call(host)).text(), host);
    for (const wrong of ["other", "", "127.0.0.1", `${host}/`, `user@${host}`]) {
      await assertRejects(() => call(wrong), TypeError, problem);
    }
  }
  const namedFetch = createFetch(serving.makeClient({ host: "lamp.local" }));
  const response = await namedFetch("/", { headers: { host: "LAMP.local" } });
  assertEquals(await response.text(), "lamp.local");
});

Deno.test("the path of a URL is sent in one spelling, and the query as the URL has it", async (t) => {
  await using serving = serve(({ uri }) => [200, "OK", {}, uri]);
  const fetch = createFetch(serving.makeClient());
  const rows: [url: string, uri: string][] = [
    ["/a b/ü", "/a%20b/%C3%BC"],
    ["/%61%2Dz%5f%2e%2Etxt", "/a-z_..txt"],
    ["/a(1)/@;=", "/a%281%29/%40%3B%3D"],
    ["/x/%2e%2e/a/%2E", "/a/"],
    ["/a\\b", "/a/b"],
    ["/%5C", "/%5C"],
    ["/a?b[]=c/d?e{}'#f", "/a?b[]=c/d?e{}%27"],
    ["/a#b", "/a"],
  ];
  await testEachRow(t, rows, async (url, uri) => {
    assertEquals(await (await fetch(url)).text(), uri);
  });
});

Deno.test("a response keeps status, reason, headers and body", async (t) => {
  type Row = [answer: string, body: string | null, method?: string];
  const rows: Row[] = [
    // The text of the status may be empty, or have any character up to U+00FF.
    ["200 |content-length: 0||", null],
    ["404 Pas trouv\xe9 (\x80\xff)!|content-length: 0||", null],
    ["200 OK|content-length: 0|ext: |x-a: caf\xe9 \x80\t\xff||", null],
    ["416 Range Not Satisfiable|content-length: 0|content-range: bytes */3||", null],
    ["206 Partial Content|content-length: 1|content-range: bytes 2-2/*||c", "c"],
    [
      "200 OK|content-length: 0|set-cookie: a=b; Expires=Fri, 27 Nov 2026 00:00:00 GMT|" +
      "set-cookie: c=d|set-cookie: ||",
      null,
    ],
    ["500 xx|transfer-encoding: chunked||2;k=v|ab|1|c|0||", "abc"],
    ["204 No Content||", null],
    ["205 Reset Content|content-length: 3||abc", null],
    ["304 Not Modified|content-length: 9||", null],
    ["200 OK|content-encoding: gzip|content-length: 3||zip", "zip"],
  ];
  await testEachRow(t, rows, async (responseText, body, method = "GET") => {
    const start = (fetch: Fetch) => fetch("/", { method });
    const { response } = await fetchAndRespond(start, decodeWire(`HTTP/1.1 ${responseText}`));
    const [line = "", ...lines] = responseText.slice(0, responseText.indexOf("||")).split("|");
    assertEquals(`${response.status} ${response.statusText}`, line);
    const sent = lines.filter((header) => header !== "content-length: 0")
      .map((header) => header.split(": "))
      .map(([name = "", value]) => [name.toLowerCase(), value]);
    assertEquals([...response.headers], sent);
    assertEquals(response.body === null ? null : await response.text(), body);
  });
});

Deno.test("a response is a Response with its URL", async () => {
  await using serving = serve(() => [200, "OK", { "x-a": "b" }, encoder.encode("hello")], {
    hosts: "any",
  });
  const fetch = createFetch(serving.makeClient({ host: "device.local" }));
  const response = await fetch("http://device.local/a?b#c");
  assertInstanceOf(response, Response);
  assertEquals([response.ok, response.status, response.redirected], [true, 200, false]);
  assertEquals(response.url, "http://device.local/a?b");
  assertEquals(response.headers.get("x-a"), "b");
  assertEquals(await response.clone().text(), "hello");
  assertEquals(await response.text(), "hello");
});

Deno.test("a response with status 205 has no body, over a client and over a connection", async (t) => {
  const bodies: [name: string, make: () => BodyOut][] = [
    ["null", () => null],
    ["no bytes", () => new Uint8Array(0)],
    ["unexpected bytes", () => encoder.encode("hello")],
    ["no chunks", () => new ChunkedBodyIter([[null, new Uint8Array(0)]])],
  ];
  await testEachRow(t, bodies, async (_name, make) => {
    await using serving = serve(() => [205, "Reset Content", {}, make()]);
    using conn = await serving.makeClient().connect();
    for (const fetch of [createFetch(serving.makeClient()), createFetch(conn)]) {
      for (let i = 0; i < 2; i++) {
        const { status, statusText, body } = await fetch("/");
        assertEquals([status, statusText, body], [205, "Reset Content", null]);
      }
    }
  });
});

Deno.test("a DELETE whose stream is empty has no body, such as that of a request to Deno.serve", async (t) => {
  await using serving = serve(async ({ method, body }) => [
    200,
    "OK",
    {},
    `${method} ${body === null ? null : await body.text()}`,
  ]);
  const fetchFromServer = createFetch(serving.makeClient());
  const front = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { method, body } = request;
    const headers = [...request.headers].filter(([name]) => /^(content|transfer)-/.test(name));
    return fetchFromServer("/", { method, body, headers })
      .catch(({ message }) => new Response(message, { status: 500 }));
  });
  const headEnd = "host: a\r\nconnection: close\r\n";
  const rows: readonly [string, headersAndBody: string, RegExp][] = [
    ["nothing", "\r\n", /DELETE null$/],
    ["a content-length of 0", "content-length: 0\r\n\r\n", /DELETE null$/],
    ["no chunk", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", /DELETE null$/],
    ["a byte", "content-length: 1\r\n\r\na", /500 .*must be null if the method is DELETE/s],
  ];
  await testEachRow(t, rows, async (_name, headersAndBody, expected) => {
    using peer = await RawPeer.connect(["127.0.0.1", front.addr.port]);
    await peer.send(`DELETE / HTTP/1.1\r\n${headEnd}${headersAndBody}`);
    const { received } = await peer.readToEnd();
    assertMatch(received.replace(/\r\n0\r\n\r\n$/, "").trimEnd(), expected);
  });
  await front.shutdown();
});

Deno.test("a DELETE whose stream has neither a byte nor an end fails after the time-out of the client, and cancels the stream", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const client = serving.makeClient({ timeout: 0.2 });
  using conn = await client.connect();
  await using pool = new ConnectionPool(client);
  for (const requester of [client, conn, pool]) {
    for (const pieces of [[], [new Uint8Array(0)]]) {
      const canceled = Promise.withResolvers<unknown>();
      const stalling = new ReadableStream({
        start: (controller) => pieces.forEach((piece) => controller.enqueue(piece)),
        cancel: canceled.resolve,
      });
      const fetching = createFetch(requester)("/", { method: "DELETE", body: stalling });
      const error = await assertRejects(() => fetching, TypeError, "neither a byte nor an end");
      assertInstanceOf(error.cause, Deno.errors.TimedOut);
      assertEquals(await canceled.promise, error.cause);
    }
  }
});

Deno.test("the arguments of a request are checked before its stream is read", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  const fetch = createFetch(serving.makeClient());
  const rows: [path: string, init: RequestInit, message: string][] = [
    ["/", { method: "BREW" }, "BREW"],
    ["/a//b", { method: "DELETE" }, "a//b"],
    ["/%FF", { method: "PUT" }, "%FF"],
    ["/", { method: "POST", headers: { range: "bytes=x" } }, "bytes=x"],
    ["/", { method: "PUT", headers: { expect: "100-continue" } }, "expect"],
    ["/", { method: "DELETE", headers: { host: "elsewhere" } }, "elsewhere"],
  ];
  for (const [path, init, message] of rows) {
    let hasRead = false;
    const canceled = Promise.withResolvers<unknown>();
    const body = new ReadableStream({
      pull: () => void (hasRead = true),
      cancel: canceled.resolve,
    }, { highWaterMark: 0 });
    await assertRejects(() => fetch(path, { ...init, body }), TypeError, message);
    await canceled.promise;
    assertEquals(hasRead, false, message);
  }
});

// createFetch: redirects.

const REDIRECT_STATUSES = [301, 302, 303, 307, 308] as const;

/** Responds to `/<status>` with this status and with a `location`, and counts the requests. */
function serveRedirects(location: string | null) {
  const requests: string[] = [];
  const serving = serve(({ path }) => {
    requests.push(path.join("/"));
    const headers = location === null ? {} : { location };
    return [Number(path[0]), "Redirect", headers, path[0] === "304" ? null : "a redirect"];
  });
  return Object.assign(serving, { requests });
}

Deno.test("a redirect is returned with its location and its body, wherever it leads, and no further request is made", async (t) => {
  const locations = ["/there", "https://other.example/", "//other.example/", "http://[", null];
  const bodies: (() => BodyInit)[] = [() => "hello", () => makeSlowStream("hello")];
  const modes = [{}, { redirect: "follow" }, { redirect: "manual" }] as const;
  for (const location of locations) {
    await t.step(location ?? "no location", async () => {
      await using serving = serveRedirects(location);
      const fetch = createFetch(serving.makeClient());
      for (const status of REDIRECT_STATUSES) {
        for (const init of modes) {
          for (const body of [undefined, ...bodies]) {
            serving.requests.length = 0;
            const sent = body === undefined ? {} : { method: "PUT", body: body() };
            const response = await fetch(`/${status}`, { ...init, ...sent });
            assertEquals([response.status, response.redirected], [status, false]);
            assertEquals(response.headers.get("location"), location);
            assertEquals(new URL(response.url).pathname, `/${status}`);
            assertEquals(await response.text(), "a redirect");
            assertEquals(serving.requests, [`${status}`]);
          }
        }
      }
    });
  }
});

Deno.test('with redirect: "error" a redirect is a TypeError that names its status, also without a location', async () => {
  for (const location of ["/there", null]) {
    await using serving = serveRedirects(location);
    using conn = await serving.makeClient().connect();
    for (const fetch of [createFetch(serving.makeClient()), createFetch(conn)]) {
      for (const status of REDIRECT_STATUSES) {
        const request = new Request(`http://${serving.makeClient().host}/${status}`, {
          redirect: "error",
        });
        await assertRejects(() => fetch(request), TypeError, `a redirect (status ${status})`);
      }
      for (const status of [300, 304, 200]) {
        const response = await fetch(`/${status}`, { redirect: "error" });
        assertEquals(response.status, status);
        await response.text();
      }
    }
  }
});

Deno.test("the connection of a refused redirect is closed, also with an unread body", async () => {
  using server = new RawServer();
  const fetching = createFetch(new Client(server.address))("/", { redirect: "error" });
  const rejection = assertRejects(() => fetching, TypeError, "a redirect");
  const peer = await server.accept();
  await peer.readPreamble();
  await peer.send("HTTP/1.1 302 Found\r\ncontent-length: 9\r\nlocation: /a\r\n\r\n123");
  await rejection;
  await peer.assertClosedSilently();
});
