/** Absolute form (RFC 9112 §3.2.2), the host of a request, and codings, over sockets. */
import { assert, assertEquals } from "@std/assert";
import { createFetch, type SSLClient } from "@degu/degu";
import type { App, AppFunction } from "@degu/degu/server";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import { serveProxy } from "@degu/testing/proxies.ts";
import { exchange, RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";

/** Responds with the target and the host of the request. */
const describe: AppFunction = ({ uri, path, query, headers }) => [
  200,
  "OK",
  {},
  JSON.stringify([uri, path, query, headers["host"] ?? null]),
];

/** Returns what a server of the app responds: the parsed text, or the status of an error. */
async function receive(bytes: string, app: App = describe): Promise<unknown> {
  await using serving = serve(app);
  const { received } = await exchange(serving.address, bytes);
  return readAnswer(received);
}

function readAnswer(received: string): unknown {
  const [head = "", text = ""] = received.split("\r\n\r\n");
  const status = Number(head.split(" ")[1]);
  if (status === 200) return JSON.parse(text);
  assertEquals(received, formatErrorResponse(status as Parameters<typeof formatErrorResponse>[0]));
  return status;
}

const TARGETS: readonly (readonly [target: string, expected: unknown])[] = [
  ["http://a", ["/", [], null, "a"]],
  ["http://a/", ["/", [], null, "a"]],
  ["http://a:80/b/c?d", ["/b/c?d", ["b", "c"], "d", "a:80"]],
  ["http://a?b", ["/?b", [], "b", "a"]],
  ["HTTP://A.example/b", ["/b", ["b"], null, "A.example"]],
  ["http://a:/b", ["/b", ["b"], null, "a:"]],
  ["http://[::1]:8080/b", ["/b", ["b"], null, "[::1]:8080"]],
  ["http://a/./b/.", ["/b/", ["b", ""], null, "a"]],
  ["http://a/b?http://c/d", ["/b?http://c/d", ["b"], "http://c/d", "a"]],
  ["https://a/b", 421],
  ["HTTPS://a/b", 421],
  ["http://", 400],
  ["http:///b", 400],
  ["http://?b", 400],
  ["http://:80/b", 400],
  ["http://u@a/b", 400],
  ["http://u:p@a/b", 400],
  ["http://a:b/c", 400],
  ["http://a:80:80/c", 400],
  ["http://[::1/c", 400],
  ["http://a b/c", 400],
  ["http://a#b", 400],
  ["http://a/b#c", 400],
  ["http://a//b", 400],
  ["http://a/../b", 400],
  ["http://a/%2e/b", 400],
  ["http:/a/b", 400],
  ["http:a", 400],
  ["ftp://a/b", 400],
  ["ws://a/b", 400],
  ["file:///b", 400],
  ["a:80", 400],
  ["a/b", 400],
];

Deno.test("a target in absolute form means its path and query, and its host replaces the header host", async (t) => {
  await testEachRow(t, TARGETS, async (target, expected) => {
    for (const version of ["1.1", "1.0"]) {
      for (const hostLine of ["", "host: other\r\n"]) {
        const bytes = `GET ${target} HTTP/${version}\r\n${hostLine}\r\n`;
        assertEquals(await receive(bytes), expected, bytes);
      }
    }
  });
});

Deno.test("the header host beside a target in absolute form must be valid, and single", async () => {
  for (const lines of ["host: a b\r\n", "host: u@a\r\n", "host: a\r\nhost: a\r\n"]) {
    assertEquals(await receive(`GET http://a/ HTTP/1.1\r\n${lines}\r\n`), 400);
  }
});

Deno.test("over TLS a target in absolute form may have the scheme https", async () => {
  const pki = await openSharedPki();
  await using endpoint = await startTls(pki, describe);
  const client = endpoint.client as SSLClient;
  for (const scheme of ["https", "HTTPS", "http"]) {
    using conn = await client.connect();
    using peer = new RawPeer(conn.sock as Deno.Conn);
    await peer.send(`GET ${scheme}://a/b HTTP/1.1\r\nhost: c\r\nconnection: close\r\n\r\n`);
    const { received } = await peer.readToEnd();
    assertEquals(readAnswer(received), ["/b", ["b"], null, "a"]);
  }
});

Deno.test("ProxyApp forwards a target in absolute form in origin form, with its host", async () => {
  await using serving = serve(describe);
  await using proxy = serveProxy(serving.address);
  for (const target of ["http://a/b?c", "/b?c"]) {
    const bytes = `GET ${target} HTTP/1.1\r\nhost: a\r\n\r\n`;
    const { received } = await exchange(proxy.address, bytes);
    assertEquals(readAnswer(received), ["/b?c", ["b"], "c", "a"]);
  }
  const { received } = await exchange(proxy.address, "GET https://a/ HTTP/1.1\r\n\r\n");
  assertEquals(received, formatErrorResponse(421));
});

Deno.test("createFetch sends a URL of its server in origin form", async () => {
  await using serving = serve(describe);
  const [host, port] = serving.address as readonly [string, number];
  const response = await createFetch(serving.makeClient())(`http://${host}:${port}/b?c`);
  assertEquals(await response.json(), ["/b?c", ["b"], "c", `${host}:${port}`]);
});

// ───────────────────────── host

Deno.test("a host is a name or an address, perhaps with a port, or empty, or missing", async (t) => {
  const accepted = [
    ...["a", "a:80", "a:", "A.b-c_d.", "1.2.3.4:5", "[::1]", "[::1]:80", "[2001:DB8::1]"],
    ...["[fe80::1%eth0]:80", "[fe80::1%25eth0]", "[FE80::1%3]", "fe80::1%eth0", "fe80::1%25eth0"],
    ...["", "a,b", "xn--caf-dma.example", "a%41", "localhost:65535"],
  ];
  const refused = [
    ...["a b", "a/b", "a?b", "a#b", "u@a", "u:p@a", "a:b", "a:80:80", ":80", ":", "a:-1"],
    ...["[::1", "::1", "[::1]a", "[]", "[]:80", "[a]", "[1.2.3.4]", "[::1%]", "[::1%eth0]"],
    ...["[fe80::1%]", "[fe80::1%a/b]", "a\xe9", "http://a", "a%4", "a\\b", "a\tb", "[[::1]]"],
  ];
  for (const host of accepted) {
    await t.step(`accepted: ${host}`, async () => {
      const answer = await receive(`GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
      assertEquals(answer, ["/", [], null, host]);
    });
  }
  for (const host of refused) {
    await t.step(`refused: ${host}`, async () => {
      assertEquals(await receive(`GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`), 400);
    });
  }
  assertEquals(await receive("GET / HTTP/1.1\r\n\r\n"), ["/", [], null, null]);
});

Deno.test("a refused host has a line in the log, which names the header and escapes its value", async () => {
  await using serving = serve(describe);
  await exchange(serving.address, "GET / HTTP/1.1\r\nhost: a\x9bb\r\n\r\n");
  const [line = ""] = await serving.logger.waitFor("info");
  assert(line.includes("host"), line);
  assert(!line.includes("\x9b"), line);
});

// ───────────────────────── codings

Deno.test("transfer-encoding is chunked in any case; a known last coding after unknown ones is 501, and all else 400", async (t) => {
  const rows: readonly (readonly [coding: string, expected: unknown])[] = [
    ["chunked", "hello"],
    ["Chunked", "hello"],
    ["CHUNKED", "hello"],
    [" \tchunked\t ", "hello"],
    ["gzip, chunked", 501],
    ["gzip,Chunked", 501],
    ["gzip;q=1 , chunked", 501],
    ["a, b, chunked", 501],
    ["gzip", 400],
    ["identity", 400],
    ["", 400],
    [",", 400],
    ["chunked,", 400],
    [",chunked", 400],
    ["chunked, chunked", 400],
    ["chunked, gzip", 400],
    ["chunked, gzip, chunked", 400],
    ["x chunked", 400],
    ["chunked;a=b", 400],
    ['"chunked"', 400],
    ["\x0bchunked", 400],
    ["\xa0chunked", 400],
    ["gzip\r\ntransfer-encoding: chunked", 400],
  ];
  const app: App = async (request) => [200, "OK", {}, JSON.stringify(await request.text())];
  await testEachRow(t, rows, async (coding, expected) => {
    const bytes = `PUT / HTTP/1.1\r\ntransfer-encoding: ${coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n`;
    assertEquals(await receive(bytes, app), expected);
  });
});
