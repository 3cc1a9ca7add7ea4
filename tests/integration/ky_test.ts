/** ky from npm, unmodified, over one of our clients. */
import { assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import ky, { HTTPError, TimeoutError } from "ky";
import type { AppFunction } from "@degu/degu/server";
import { createFetch } from "@degu/degu";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";

const encoder = new TextEncoder();

/** A ky whose requests go to the server. */
function makeKy(serving: Serving, options: Parameters<typeof ky.create>[0] = {}) {
  const fetch = createFetch(serving.makeClient());
  return ky.create({ fetch, prefix: "http://device.local", retry: 0, ...options });
}

/** Tells what it got. */
const echo: AppFunction = async (request) => {
  const { method, uri, headers } = request;
  const type = headers["content-type"] ?? null;
  const length = headers["content-length"] ?? null;
  const text = await request.body?.text() ?? null;
  const answer = JSON.stringify({ method, uri, accept: headers["accept"], type, length, text });
  return [200, "OK", { "content-type": "application/json" }, encoder.encode(answer)];
};

Deno.test("ky: methods, JSON, search parameters and headers", async () => {
  await using serving = serve(echo);
  const api = makeKy(serving);
  assertEquals(await api.get("a/b", { searchParams: { c: "d e" } }).json(), {
    method: "GET",
    uri: "/a/b?c=d+e",
    accept: "application/json",
    type: null,
    length: null,
    text: null,
  });
  assertEquals(await api.post("a", { json: { b: 1 } }).json(), {
    method: "POST",
    uri: "/a",
    accept: "application/json",
    type: "application/json",
    length: 7,
    text: '{"b":1}',
  });
  const put = await api.put("a", { body: "text", headers: { "content-type": "b" } }).json();
  assertEquals((put as Record<string, unknown>)["type"], "b");
  const response = await api.delete("a");
  assertEquals([response.ok, response.url], [true, "http://device.local/a"]);
  assertStringIncludes(await response.text(), "DELETE");
});

Deno.test("ky: an error response is an HTTPError", async () => {
  await using serving = serve(() => [404, "Not Found", {}, encoder.encode("nothing here")]);
  const error = await rejectionOf(makeKy(serving).get("a").text(), "a 404");
  assertInstanceOf(error, HTTPError);
  assertEquals(error.response.status, 404);
});

Deno.test("ky: retries with the same body", async () => {
  const seen: (string | undefined)[] = [];
  await using serving = serve(async (request) => {
    seen.push(await request.body?.text());
    if (seen.length < 3) return [503, "Service Unavailable", {}, encoder.encode("not yet")];
    return [200, "OK", {}, encoder.encode("now")];
  });
  const api = makeKy(serving, { retry: { limit: 2, methods: ["put"], delay: () => 1 } });
  assertEquals(await api.put("a", { json: { b: 1 } }).text(), "now");
  assertEquals(seen, ['{"b":1}', '{"b":1}', '{"b":1}']);
});

Deno.test("ky: hooks see requests and responses", async () => {
  await using serving = serve(echo);
  const statuses: number[] = [];
  const api = makeKy(serving, {
    hooks: {
      beforeRequest: [({ request }) => request.headers.set("accept", "hooked")],
      afterResponse: [({ response }) => void statuses.push(response.status)],
    },
  });
  const { accept } = await api.get("a").json<{ accept: string }>();
  assertEquals([accept, statuses], ["hooked", [200]]);
});

Deno.test("ky: its timeout ends the connection", async () => {
  const ended = Promise.withResolvers<void>();
  await using serving = serve(async (request) => {
    // Until the client is gone: there is nothing more to come of this body.
    await request.body?.bytes().catch(() => {});
    ended.resolve();
    throw new Error("nobody is there");
  });
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(encoder.encode("a")),
  });
  const api = makeKy(serving, { timeout: 50 });
  assertInstanceOf(await rejectionOf(api.post("a", { body }).text(), "a time-out"), TimeoutError);
  await within(ended.promise, "the server sees the end");
});

Deno.test("ky: an abort is an AbortError", async () => {
  const aborter = new AbortController();
  await using serving = serve(() => {
    aborter.abort();
    return [200, "OK", {}, null];
  });
  const error = await rejectionOf(makeKy(serving).get("a", { signal: aborter.signal }), "an abort");
  assertInstanceOf(error, DOMException);
  assertEquals(error.name, "AbortError");
});

Deno.test("ky: progress of a download", async () => {
  const bytes = new Uint8Array(300_000).fill(7);
  await using serving = serve(() => [200, "OK", {}, bytes]);
  let last = 0;
  const onDownloadProgress = ({ transferredBytes }: { transferredBytes: number }) => {
    last = transferredBytes;
  };
  const downloaded = await makeKy(serving).get("a", { onDownloadProgress }).arrayBuffer();
  assertEquals([downloaded.byteLength, last], [300_000, 300_000]);
});

Deno.test("ky: a redirect is followed", async () => {
  await using serving = serve((request) =>
    request.path[0] === "old"
      ? [302, "Found", { location: "/new" }, null]
      : [200, "OK", {}, encoder.encode(request.uri)]
  );
  const response = await makeKy(serving).get("old");
  assertEquals([response.redirected, await response.text()], [true, "/new"]);
});
