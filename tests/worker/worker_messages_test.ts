/** `WorkerApp` sends the messages of a `ProxyApp` in front of a server of the same app. */
import { Client } from "@degu/degu/client";
import { ProxyApp, routes, WorkerApp } from "@degu/degu";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { app } from "./worker_apps.ts";
import { oddAnswers } from "./odd_answers.ts";

const module = import.meta.resolve("./worker_apps.ts");

/** A server whose paths `/proxy/` and `/worker/` lead to the same app. */
async function serveBoth() {
  await using stack = new AsyncDisposableStack();
  const logger = new RecordingLogger();
  const upstream = stack.use(serve(app, { logger }));
  const proxy = stack.use(new ProxyApp(new Client(upstream.address)));
  const worker = stack.use(await WorkerApp.start({ module, name: "app" }, { logger }));
  const serving = stack.use(serve(routes({ "/proxy/": proxy, "/worker/": worker }), { logger }));
  const disposables = stack.move();
  return {
    address: serving.address,
    logger,
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  };
}

/** Sends a request to one of the apps, and returns what the client receives until the end. */
async function receive(
  address: Parameters<typeof RawPeer.connect>[0],
  to: string,
  [head, ...parts]: readonly string[],
  isCut = false,
): Promise<string> {
  using peer = await RawPeer.connect(address, head!.replace(" /", ` /${to}/`), ...parts);
  if (isCut) await peer.closeWrite();
  const { received } = await peer.readToEnd();
  return received;
}

const END = "host: a\r\nconnection: close\r\n\r\n";
const POST = "host: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";

const requests: readonly (readonly [name: string, ...parts: string[]])[] = [
  ["bytes", `GET /bytes HTTP/1.1\r\n${END}`],
  ["HEAD", `HEAD /bytes HTTP/1.1\r\n${END}`],
  ["HEAD of chunks", `HEAD /chunks HTTP/1.1\r\n${END}`],
  ["chunks", `GET /chunks HTTP/1.1\r\n${END}`],
  ["extensions", `GET /extensions HTTP/1.1\r\n${END}`],
  ["chunks to HTTP/1.0", "GET /chunks HTTP/1.0\r\n\r\n"],
  ["bytes to HTTP/1.0", "GET /bytes HTTP/1.0\r\n\r\n"],
  ["long chunks to HTTP/1.0", "GET /longChunks HTTP/1.0\r\n\r\n"],
  ["no host", "GET /bytes HTTP/1.1\r\nconnection: close\r\n\r\n"],
  ["a range", `GET /range HTTP/1.1\r\nrange: bytes=2-3\r\n${END}`],
  ["a body of HTTP/1.0", "POST /echo HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc"],
  ["a chunked body", `POST /stream HTTP/1.1\r\n${POST}`, "2;a=b\r\nab\r\n", "1\r\nc\r\n0\r\n\r\n"],
  ["a trailer", `POST /stream HTTP/1.1\r\n${POST}`, "1\r\nc\r\n0\r\nx-a: b\r\n\r\n"],
  ["a body that is cut", `POST /echo HTTP/1.1\r\n${POST}`, "5\r\nhel"],
  ["a body that is cut behind a two-way response", `POST /stream HTTP/1.1\r\n${POST}`, "5\r\nhel"],
  ["a body that breaks the grammar", `POST /echo HTTP/1.1\r\n${POST}`, "5\r\nhelloXX"],
  [
    "two requests",
    "GET /bytes HTTP/1.1\r\nhost: a\r\n\r\n",
    `GET /worker/bytes HTTP/1.1\r\n${END}`,
  ],
  [
    "100 Continue",
    `POST /echo HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n${END}`,
    "ab",
  ],
  ["an error", `GET /throw HTTP/1.1\r\n${END}`],
  ["a location", `GET /location HTTP/1.1\r\n${END}`],
  ["a thrown response", `GET /throwResponse HTTP/1.1\r\n${END}`],
  ["a body that fails", `GET /brokenBody HTTP/1.1\r\n${END}`],
];

Deno.test("a client receives the same bytes through a WorkerApp and through a ProxyApp", async (t) => {
  await using both = await serveBoth();
  await testEachRow(t, requests, async (name, ...parts) => {
    const isCut = name.includes("is cut");
    const expected = await receive(both.address, "proxy", parts, isCut);
    const received = await receive(both.address, "worker", parts, isCut);
    assertEquals(received, expected.replaceAll("/proxy/", "/worker/"));
  });
});

Deno.test("an odd answer of an app in a worker ends only its exchange", async (t) => {
  await using both = await serveBoth();
  await testEachRow(t, Object.keys(oddAnswers).map((name) => [name]), async (name) => {
    for (const method of ["GET", "HEAD"]) {
      const request = [`${method} /odd/${name} HTTP/1.1\r\n${END}`];
      const expected = await receive(both.address, "proxy", request);
      assertEquals(await receive(both.address, "worker", request), expected, method);
    }
    const next = await receive(both.address, "worker", [`GET /bytes HTTP/1.1\r\n${END}`]);
    assertStringIncludes(next, " 200 OK\r\n");
  });
});
