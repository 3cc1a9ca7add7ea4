/** ProxyApp: what it does when one of its connections fails. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ProxyApp } from "@degu/degu";
import { BodyIter, ProtocolError, type ResponseTuple } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { unusedPort } from "@degu/testing/ports.ts";
import { RawPeer, RawServer, turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { connectThrough, echo, serveProxy } from "@degu/testing/proxies.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const BAD_GATEWAY = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

// ───────────────────────── what goes wrong upstream

Deno.test("an early error response of the upstream reaches the client", async () => {
  const refusal = (): ResponseTuple => [
    413,
    "Content Too Large",
    { why: "too large" },
    latin1("no more"),
  ];
  await using upstream = serve(refusal);
  await using proxy = serveProxy(upstream.address);
  const mebibyte = new Uint8Array(1048576);
  let taken = 0;
  function* pieces(): Iterable<Uint8Array> {
    for (; taken < 256; taken++) yield mebibyte;
  }
  const body = new BodyIter(pieces(), 256 * mebibyte.length);
  const response = await proxy.makeClient().request("PUT", "/", {}, body);
  assertEquals([response.status, response.reason], [413, "Content Too Large"]);
  assertEquals({ ...response.headers }, { "content-length": 7, why: "too large" });
  assertEquals(await response.body?.text(), "no more");
  assert(taken < 256, "everything was uploaded");
  for (const { logger } of [upstream, proxy]) assertEquals(logger.at("error"), []);
});

Deno.test("an unreachable upstream, or one that does not speak HTTP, is a bad gateway", async (t) => {
  const answers: Record<string, string> = {
    "nothing": "",
    "nonsense": "nonsense\r\n\r\n",
    "a part of a preamble": "HTTP/1.1 200 OK\r\nfoo: ",
    "an interim response": "HTTP/1.1 100 Continue\r\n\r\n",
    "a 204 with a body": "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
    "both framings": "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    "a cookie twice": "HTTP/1.1 200 OK\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\r\n",
    "a status of 600": "HTTP/1.1 600 OK\r\n\r\n",
    "too many headers": `HTTP/1.1 200 OK\r\na: ${"b".repeat(32768)}\r\n\r\n`,
  };
  for (const [what, answer] of Object.entries(answers)) {
    await t.step(what, async () => {
      await using through = await connectThrough();
      await through.near.send("GET / HTTP/1.1\r\n\r\n");
      const far = await through.upstream.accept();
      await far.readPreamble();
      await far.send(answer);
      far.close();
      const { received } = await through.near.readToEnd();
      assertEquals(received, BAD_GATEWAY);
      assertEquals(through.proxy.logger.at("error"), []);
    });
  }
  await t.step("nobody", async () => {
    await using proxy = serveProxy(["127.0.0.1", await unusedPort()]);
    const response = await proxy.makeClient().request("PUT", "/", {}, latin1("hello"));
    assertEquals([response.status, response.reason], [502, "Bad Gateway"]);
    assertEquals(await response.body?.text(), "");
    const head = await proxy.makeClient().request("HEAD", "/");
    assertEquals([...head], [502, "Bad Gateway", {}, null]);
  });
  await t.step("refused by onConnect of the client", async () => {
    await using upstream = serve(echo);
    await using proxy = serveProxy(upstream.address, { onConnect: () => false });
    assertEquals((await proxy.makeClient().request("GET", "/")).status, 502);
  });
});

Deno.test("an upstream that exceeds the timeout is a gateway timeout", async (t) => {
  for (const answer of ["", "HTTP/1.1 200 OK\r\n"]) {
    await t.step(`after ${JSON.stringify(answer)}`, async () => {
      await using through = await connectThrough({ timeout: 0.1 });
      await through.near.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
      const far = await through.upstream.accept();
      await far.readUntil("hello");
      await far.send(answer);
      const { received } = await through.near.readToEnd();
      assertEquals(received, "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n");
    });
  }
});

Deno.test("the reason for a bad gateway is logged, and not sent to the client", async () => {
  const logger = new RecordingLogger();
  const gone = new Client(["127.0.0.1", await unusedPort()]);
  const app = new ProxyApp(gone, "conn", { logger });
  await using proxy = serve(app);
  using conn = await proxy.makeClient().connect();
  const response = await conn.get("/");
  assertEquals({ ...response.headers }, { "content-length": 0 });
  const [warning = ""] = logger.at("warn");
  assertStringIncludes(warning, "could not be relayed: ConnectionRefused");
});

Deno.test("a proxy whose logger fails still answers", async (t) => {
  const gone = new Client(["127.0.0.1", await unusedPort()]);
  const failure = new Error("the disk is full");
  const ways: Record<string, () => unknown> = {
    throws: () => {
      throw failure;
    },
    rejects: () => Promise.reject(failure),
  };
  for (const [how, warn] of Object.entries(ways)) {
    await t.step(how, async () => {
      using unhandled = unhandledRejections();
      await using proxy = serve(
        new ProxyApp(gone, "conn", { logger: { warn } }),
      );
      assertEquals((await proxy.makeClient().request("GET", "/")).status, 502);
      await turnOfEventLoop();
      assertEquals(unhandled.reasons, []);
    });
  }
});

Deno.test("a response that breaks off is never completed", async () => {
  const beginnings = [
    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense",
  ];
  for (const beginning of beginnings) {
    using upstream = new RawServer();
    await using proxy = serveProxy(upstream.address);
    using conn = await proxy.makeClient().connect();
    const responding = conn.get("/");
    const far = await upstream.accept();
    await far.readPreamble();
    await far.send(beginning);
    const { body } = await responding;
    far.close();
    const error = await assertRejects(() => body!.bytes(), ProtocolError);
    assertEquals(error.code, "BODY_INCOMPLETE");
    await proxy.logger.waitFor("error");
  }
});

// ───────────────────────── what goes wrong on the client's side

Deno.test("an upload that breaks off also breaks off upstream, without a response", async () => {
  const logger = new RecordingLogger();
  using upstream = new RawServer();
  await using proxy = serve(new ProxyApp(new Client(upstream.address), "conn", { logger }));
  const endings = ["", "5\r\nworld", "nonsense\r\n"];
  for (const ending of endings) {
    using near = await RawPeer.connect(proxy.address);
    await near.send("PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    const far = await upstream.accept();
    await far.readUntil("hello\r\n");
    await near.send(ending);
    await near.closeWrite();
    await near.assertClosedSilently();
    const { received } = await far.readToEnd();
    assert(ending.startsWith(received), `what never came arrived: ${received}`);
  }
  assertEquals(proxy.logger.at("error"), []);
  // It goes on.
  using near = await RawPeer.connect(proxy.address);
  await near.send("GET / HTTP/1.1\r\n\r\n");
  const far = await upstream.accept();
  await far.readPreamble();
  await far.send("HTTP/1.1 200 OK\r\n\r\n");
  assertEquals(await near.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
});

Deno.test("an upload that stalls times out on the client's side, and ends upstream", async () => {
  using upstream = new RawServer();
  const app = new ProxyApp(new Client(upstream.address));
  await using proxy = serve(app, { timeout: 0.1 });
  using near = await RawPeer.connect(proxy.address);
  await near.send("PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello");
  const far = await upstream.accept();
  await far.readUntil("hello");
  await near.assertClosedSilently();
  assertEquals((await far.readToEnd()).received, "");
  assertEquals(proxy.logger.at("error"), []);
});

Deno.test("a client that leaves during a download ends it upstream", async () => {
  await using through = await connectThrough();
  await through.near.send("GET / HTTP/1.1\r\n\r\n");
  const far = await through.upstream.accept();
  await far.readPreamble();
  await far.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
  await through.near.readPreamble();
  through.near.close();
  const piece = new Uint8Array(1048576);
  const sent = await far.sendUntilRefused(piece, 1000 * piece.length);
  assert(sent < 500 * piece.length, `${sent} bytes were taken for nobody`);
});

Deno.test("headers that conflict with the client's are an error of the proxy app", async () => {
  await using upstream = serve(echo);
  await using proxy = serveProxy(upstream.address, { host: "a.host.name" });
  using near = await RawPeer.connect(proxy.address);
  const long = "b".repeat(32768 - "GET / HTTP/1.1\r\na: \r\n\r\n".length);
  await near.send(`GET / HTTP/1.1\r\na: ${long}\r\n\r\n`);
  await near.assertClosedSilently();
  const [error = ""] = await proxy.logger.waitFor("error");
  assertStringIncludes(error, "RangeError: headers: must fit in a preamble");
});

Deno.test("a body that was already read is an error of the app that read it", async () => {
  await using upstream = serve(echo);
  const app = new ProxyApp(upstream.makeClient());
  await using proxy = serve(async (request, session) => {
    await request.body?.bytes();
    return await app.handle(request, session);
  });
  using near = await RawPeer.connect(proxy.address);
  await near.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
  await near.assertClosedSilently();
  const [error = ""] = await proxy.logger.waitFor("error");
  assertStringIncludes(error, "BodyError");
});
