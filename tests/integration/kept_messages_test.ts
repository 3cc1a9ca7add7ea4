/** Client and server: no value that a program keeps of an exchange changes with later exchanges. */
import { assertEquals, assertStrictEquals } from "@std/assert";
import { reply } from "@degu/degu";
import type { BodyOut } from "@degu/degu/base";
import { Client, type Response } from "@degu/degu/client";
import type { App, Request, ResponseTuple, Session } from "@degu/degu/server";
import { serve } from "@degu/testing/serving.ts";

const CONNECTIONS = 1024;
/** The kinds of exchanges: each kind of request with each kind of response. */
const KINDS = 16;
/** The connections with an exchange of each kind, one after the other; the others have one. */
const LONG_CONNECTIONS = 64;

const encoder = new TextEncoder();
const streamOf = (text: string) => new Blob([text]).stream();

const makeBodies: readonly ((text: string) => BodyOut)[] = [
  () => null,
  (text) => text,
  (text) => encoder.encode(text),
  streamOf,
];

/** The tuple and the three kinds of replies, each with a header of its own. */
const makeResponses: readonly ((text: string) => ResponseTuple)[] = [
  (text) => [200, "OK", { "x-text": text }, null],
  (text) => reply(200, text, { "x-text": text }),
  (text) => reply(200, encoder.encode(text), { "x-text": text }),
  (text) => reply(200, streamOf(text), { "x-text": text }),
];

/** The fields of a message, and of its body, that a copy can have. */
function fieldsOf({ body, ...fields }: Request | Response): object {
  return { ...fields, body: body === null ? null : { ...body, used: body.used } };
}

Deno.test("programs may keep each request, response, body and session of a connection", async () => {
  const kept: { readonly read: () => unknown; readonly copy: unknown }[] = [];
  const keep = (read: () => unknown) => kept.push({ read, copy: structuredClone(read()) });
  const objects = new Map<string, unknown[]>();
  const keepObject = (name: string, object: unknown) =>
    objects.getOrInsertComputed(name, () => []).push(object);
  const sessions = new Map<string, Session>();

  const app: App = async (request, session) => {
    const { headers, path, body } = request;
    const index = Number(path[1]);
    const bytes = await request.bytes();
    const response = makeResponses[Math.floor(index / 4)]!(`response to ${request.uri}`);
    const [, , sentHeaders, sentBody] = response;
    keep(() => [fieldsOf(request), bytes, session.address]);
    keep(() => [response.slice(0, 3), sentBody instanceof ReadableStream ? null : sentBody]);
    const received = { request, "request headers": headers, path, mount: request.mount };
    const sent = { response, "sent headers": sentHeaders };
    for (const [name, object] of Object.entries({ ...received, ...sent })) keepObject(name, object);
    if (body !== null) keepObject("request body", body);
    assertStrictEquals(sessions.getOrInsert(path[0]!, session), session);
    return response;
  };

  await using serving = serve(app);
  const client = new Client(serving.address);
  for (let i = 0; i < CONNECTIONS; i++) {
    using conn = await client.connect();
    const isLong = i < LONG_CONNECTIONS;
    for (const k of isLong ? Array(KINDS).keys() : [i % KINDS]) {
      const uri = `/${String(i).padStart(4, "0")}/${k}?text=${"x".repeat(k * 7)}`;
      const makeBody = makeBodies[k % 4]!;
      const body = makeBody(`request ${uri}`);
      const response = body === null
        ? await conn.get(uri, { "x-text": uri })
        : await conn.post(uri, { "x-text": uri }, body);
      const bytes = await response.bytes();
      keep(() => [fieldsOf(response), bytes]);
      keepObject("received response", response);
      keepObject("received headers", response.headers);
      if (response.body !== null) keepObject("received body", response.body);
      assertEquals(response.headers["x-text"], `response to ${uri}`);
    }
  }

  for (const { read, copy } of kept) assertEquals(structuredClone(read()), copy);
  const count = LONG_CONNECTIONS * KINDS + CONNECTIONS - LONG_CONNECTIONS;
  assertEquals(kept.length, 3 * count);
  for (const [name, { length }] of objects) {
    // A quarter of the requests, and the tuples, have no body.
    assertEquals(length, name.endsWith("body") ? count * 3 / 4 : count, name);
    assertEquals(new Set(objects.get(name)).size, length, name);
  }
  assertEquals(new Set(sessions.values()).size, CONNECTIONS);
});
