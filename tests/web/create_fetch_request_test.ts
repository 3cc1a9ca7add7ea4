/** createFetch: which URL and host a request is for, and its body, each time that it is sent. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { type BodyOut, ChunkedBodyIter, Response as DeguResponse } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import type { Address, AppFunction } from "@degu/degu/server";
import { createFetch } from "@degu/degu";
import { tempDir } from "@degu/testing/directories.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { serve } from "@degu/testing/serving.ts";
import { RecordingSink, streamOf } from "@degu/testing/streams.ts";
import { slowStream } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

/** Lets a client answer by itself: it redirects so many times, and keeps the body of each request. */
function answering<T extends Client>(client: T, redirects = 0): { client: T; bodies: BodyOut[] } {
  const bodies: BodyOut[] = [];
  client.request = (_method, _uri, _headers, body = null) => {
    const response = bodies.push(body) > redirects
      ? new DeguResponse(200, "OK", {}, null)
      : new DeguResponse(307, "Temporary Redirect", { location: "/again" }, null);
    return Promise.resolve(response);
  };
  return { client, bodies };
}

Deno.test("a URL is absolute, or relative to the host of the client, with the scheme of its class", async () => {
  await using pki = await TempPKI.create();
  const tcp = new Client(["127.0.0.1", 8080]);
  const rows: [client: Client, input: string, url: string][] = [
    [tcp, "/x", "http://127.0.0.1:8080/x"],
    [tcp, "x", "http://127.0.0.1:8080/x"],
    [tcp, "?q", "http://127.0.0.1:8080/?q"],
    [tcp, "", "http://127.0.0.1:8080/"],
    [tcp, "http://a/b?c#d", "http://a/b?c"],
    [tcp, "//other/x", "http://other/x"],
    [tcp, "/users/@me", "http://127.0.0.1:8080/users/@me"],
    [tcp, "http://a/x@y?z@w", "http://a/x@y?z@w"],
    [new Client(["a.example", 80]), "/", "http://a.example/"],
    [new Client(["::1", 8080]), "/", "http://[::1]:8080/"],
    [new Client(["127.0.0.1", 8080], { host: "b.example" }), "/", "http://b.example/"],
    [new Client(["127.0.0.1", 8080], { host: null }), "/", "http://localhost/"],
    [new Client("/a/socket"), "/", "http://localhost/"],
    [new SSLClient(pki.clientSslconfig, ["127.0.0.1", 8443]), "/", "https://127.0.0.1:8443/"],
  ];
  for (const [client, input, url] of rows) {
    assertEquals((await createFetch(answering(client).client)(input)).url, url);
  }
});

Deno.test("what is no URL is a TypeError that quotes it", async () => {
  const fetch = createFetch(new Client(["127.0.0.1", 8080]));
  for (const text of ["http://", "http://a b/", "http://[::1", "//:80"]) {
    const error = await rejectionOf(fetch(text), text);
    assertInstanceOf(error, TypeError);
    assert(error.message.includes(JSON.stringify(text)), error.message);
  }
});

/** What a body sends; `null` if there is none. */
async function sent(body: BodyOut): Promise<string | null> {
  if (body === null) return null;
  if (body instanceof Uint8Array) return new TextDecoder().decode(body);
  const sink = new RecordingSink();
  await body.writeTo(sink);
  return new TextDecoder().decode(sink.bytes);
}

Deno.test("whatever is available at once is sent with its length, and again after a redirect", async (t) => {
  const form = new FormData();
  form.set("a", "b");
  const bytes = encoder.encode("hello");
  const rows: [name: string, body: BodyInit | null, sent: RegExp, method?: string][] = [
    ["text", "hello", /^hello$/],
    ["bytes", bytes, /^hello$/],
    ["a buffer", bytes.slice().buffer, /^hello$/],
    ["a blob", new Blob(["hel", "lo"]), /^hello$/],
    ["an empty blob", new Blob([]), /^$/],
    ["parameters", new URLSearchParams({ a: "b c" }), /^a=b\+c$/],
    ["a form", form, /^--[^]*name="a"\r\n\r\nb\r\n--/],
    ["a stream of what is there", streamOf(bytes.slice(0, 2), bytes.slice(2)), /^hello$/],
    ["nothing in a POST", null, /^$/],
    ["nothing in a PUT", null, /^$/, "PUT"],
    ["nothing in a GET", null, /^null$/, "GET"],
    ["nothing in a HEAD", null, /^null$/, "HEAD"],
    ["nothing in a DELETE", null, /^null$/, "DELETE"],
  ];
  for (const [name, body, expected, method = "POST"] of rows) {
    await t.step(name, async () => {
      const { client, bodies } = answering(new Client(["127.0.0.1", 1]), 2);
      await createFetch(client)("/", { method, body });
      const texts = [];
      for (const each of bodies) {
        assert(!(each instanceof ChunkedBodyIter));
        texts.push(`${await sent(each)}`);
      }
      assertEquals(texts.map((text) => expected.test(text)), [true, true, true], texts.join());
    });
  }
});

Deno.test("a stream that must be awaited is sent once, chunked or with the given length", async (t) => {
  const available = () => streamOf(encoder.encode("hello"));
  const late = () => slowStream("hello");
  type Row = [name: string, stream: () => ReadableStream, headers: HeadersInit, sent: string];
  const chunked = "5\r\nhello\r\n0\r\n\r\n";
  const rows: Row[] = [
    ["no header", late, {}, chunked],
    ["a length", late, { "content-length": "5" }, "hello"],
    ["chunks, of what is there", available, { "transfer-encoding": "chunked" }, chunked],
  ];
  for (const [name, stream, headers, expected] of rows) {
    await t.step(name, async () => {
      const { client, bodies } = answering(new Client(["127.0.0.1", 1]), 1);
      const init = { method: "POST", body: stream(), headers };
      const error = await rejectionOf(createFetch(client)("/", init), name);
      assertInstanceOf(error, TypeError);
      assert(error.message.includes("the body is a stream"), error.message);
      assertEquals(bodies.length, 1);
      assertEquals(bodies[0] instanceof ChunkedBodyIter, expected === chunked);
      assertEquals(await sent(bodies[0] ?? null), expected);
    });
  }
});

Deno.test("over a named socket the URL determines the host", async (t) => {
  await using dir = await tempDir();
  const app: AppFunction = ({ headers }) => [200, "OK", {}, encoder.encode(`${headers["host"]}`)];
  const addresses: [name: string, address: Address][] = [
    ["a Unix socket", `${dir.path}/socket`],
    ["an abstract name", new Uint8Array(0)],
  ];
  const headers = { host: "init.local" };
  type Row = [input: string, init: RequestInit, host: string | undefined, expected: string];
  const rows: Row[] = [
    ["http://device.local/a", {}, undefined, "device.local"],
    ["http://Device.local:81/a", {}, undefined, "device.local:81"],
    ["http://device.local:80/a", {}, undefined, "device.local"],
    ["http://[::1]:81/a", {}, undefined, "[::1]:81"],
    ["/a", {}, undefined, "localhost"],
    ["http://device.local/a", { headers }, undefined, "init.local"],
    ["/a", { headers }, undefined, "init.local"],
    ["http://device.local/a", {}, "client.local", "client.local"],
    ["http://device.local/a", { headers }, "client.local", "client.local"],
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
    await t.step(`${name}: a URL without an origin gets that of localhost`, async () => {
      const response = await createFetch(serving.makeClient())("/a");
      assertEquals([response.url, await response.text()], ["http://localhost/a", "localhost"]);
    });
  }
  await t.step("a client over TCP that sends no host sends none", async () => {
    await using serving = serve(app);
    const client = serving.makeClient({ host: null });
    using conn = await client.connect();
    for (const fetch of [createFetch(client), createFetch(conn)]) {
      assertEquals(await (await fetch("http://device.local/a")).text(), "undefined");
    }
  });
});

Deno.test("over a named socket a redirect to the host that was sent is followed", async () => {
  await using dir = await tempDir();
  const app: AppFunction = ({ path, headers }) =>
    path[0] === "old"
      ? [302, "Found", { location: `http://${headers["host"]}/new` }, null]
      : [200, "OK", {}, encoder.encode(`${path}`)];
  await using serving = serve(app, {}, `${dir.path}/socket`);
  const fetch = createFetch(serving.makeClient());
  for (const init of [{}, { headers: { host: "init.local" } }]) {
    assertEquals(await (await fetch("http://device.local/old", init)).text(), "new");
  }
});
