/** Validator: whether an app has read the request's body to its end. */
import { assertEquals, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { Body, BodyError, type ChunkedBody, type ResponseTuple } from "@degu/degu/base";
import { mkreq } from "@degu/degu/misc";
import { type App, Validator } from "@degu/degu";
import { api, assertBegins, makeSession, uploads } from "@degu/testing/calling.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

/** What an app may do with a body, and whether it has then been read to its end. */
const readers: Record<string, [consumed: boolean, read: (body: Body | ChunkedBody) => unknown]> = {
  "leaves it alone": [false, () => {}],
  "reads a part": [false, (body) => body.chunked ? body.readChunk() : body.read(4)],
  "reads all of it": [true, (body) => body.text()],
  "reads all, and the end": [true, async (body) => {
    await body.bytes();
    await body.read();
  }],
  "reads pieces to the end": [true, async (body) => {
    if (body.chunked) { while ((await body.readChunk())[1].length > 0); }
    else while ((await body.read(2)).length > 0);
  }],
  "iterates": [true, async (body) => {
    for await (const _ of body);
  }],
  "writes it somewhere": [true, (body) => body.writeTo(new WritableStream())],
  "reads a part and gives up the rest": [false, async (body) => {
    await (body.chunked ? body.readChunk() : body.read(4));
    await body.cancel();
  }],
  "gives it up": [false, (body) => body.cancel()],
  "gives it up with a reason": [false, (body) => body.cancel(new Error("not wanted"))],
  "takes the stream and leaves it alone": [false, (body) => void body.readable],
  "takes the stream and cancels it": [false, (body) => body.readable.cancel()],
  "reads a piece of the stream": [false, (body) => body.readable.getReader().read()],
  "leaves a loop": [false, async (body) => {
    for await (const _ of body) break;
  }],
  "stops inside a loop": [false, (body) => body[Symbol.asyncIterator]().next()],
  "takes the stream to its end": [true, (body) => body.readable.pipeTo(new WritableStream())],
};

for (const [kind, makeRequest] of Object.entries(uploads)) {
  for (const [what, [consumed, read]] of Object.entries(readers)) {
    Deno.test(`Validator: an app ${what} (${kind})`, async () => {
      for (const status of [200, 302, 399, 400, 404, 500]) {
        const app: App = async ({ body }) => {
          await read(body!);
          return [status, "As you like", {}, null];
        };
        const handled = new Validator(app).handle(makeRequest(), makeSession(), api);
        if (consumed || status >= 400) assertEquals((await handled as ResponseTuple)[0], status);
        else await assertBegins(handled, BodyError, "request.body: must be read to its end");
      }
    });
  }
}

Deno.test("Validator refuses an unread body in the same cases as a server", async (t) => {
  const ways: Record<string, (body: Body | ChunkedBody) => unknown> = {
    "a read that is not awaited": (body) => void body.read().catch(() => {}),
    "a text that is not awaited": (body) => void body.text().catch(() => {}),
    "a body that is given up": (body) => body.cancel(),
    "a body that is given up with a reason": (body) => body.cancel(new Error("not wanted")),
    "a stream that is taken": (body) => void body.readable,
    "a stream that is canceled": (body) => body.readable.cancel(),
    "a loop that is left": async (body) => {
      for await (const _ of body) break;
    },
  };
  const messages: Record<string, string> = {
    length: "content-length: 5\r\n\r\nhel",
    chunked: "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
  };
  for (const [way, use] of Object.entries(ways)) {
    for (const [kind, message] of Object.entries(messages)) {
      await t.step(`${way}, ${kind}`, async () => {
        const app: App = async ({ body }) => {
          await use(body!);
          return [200, "OK", {}, null];
        };
        for (const served of [app, new Validator(app)]) {
          await using serving = serve(served);
          using peer = await RawPeer.connect(serving.address);
          await peer.send(`PUT / HTTP/1.1\r\n${message}`);
          await peer.assertClosedSilently();
          const [said = ""] = await serving.logger.waitFor("error");
          if (served !== app) assertStringIncludes(said, "request.body: must be read");
        }
      });
    }
  }
});

Deno.test("Validator checks what it can of a foreign body", async () => {
  const foreign = (body: Body): Body =>
    new Proxy(body, {
      get(target, name) {
        const value = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  for (const consumed of [true, false]) {
    const request = mkreq(
      "PUT",
      "/",
      { "content-length": 5 },
      foreign(new Body(streamOf(latin1("hello")), 5)),
    );
    const handled = new Validator(async ({ body }) => {
      if (consumed) await body?.bytes();
      return [200, "OK", {}, null];
    }).handle(request, makeSession(), api);
    if (consumed) assertEquals((await handled as ResponseTuple)[0], 200);
    else await assertBegins(handled, BodyError, "request.body: must be read to its end");
  }
});

Deno.test("Validator treats an empty body as read", async () => {
  const request = mkreq("PUT", "/", { "content-length": 0 }, new Body(streamOf(), 0));
  const [status] = await new Validator(() => [200, "OK", {}, null])
    .handle(request, makeSession(), api);
  assertStrictEquals(status, 200);
});

Deno.test("Validator does not wait for a peer that has not sent the rest of a body", async () => {
  const app: App = async ({ body }) => {
    await (body as Body).read(1);
    return [200, "OK", {}, null];
  };
  await using serving = serve(new Validator(app));
  for (const sent of ["h", "he"]) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n${sent}`);
    await peer.assertClosedSilently();
  }
  const errors = await serving.logger.waitFor("error");
  for (const error of errors) {
    assertEquals(error.includes("BodyError: request.body: must be"), true);
  }
});
