/** fromFetchHandler: what happens to a request's body that a handler does not read. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ChunkedBodyIter, EmptyPreambleError } from "@degu/degu/base";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serveHandler } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

Deno.test("the unread rest of a request's body is dropped, and the connection stays usable", async (t) => {
  const ways: [name: string, leave: (request: Request) => unknown][] = [
    ["untouched", () => {}],
    ["cancelled", (request) => request.body?.cancel("not wanted")],
    ["read in part", async (request) => {
      const reader = request.body!.getReader();
      await reader.read();
      reader.releaseLock();
    }],
    ["read in part and canceled", async (request) => {
      const reader = request.body!.getReader();
      await reader.read();
      await reader.cancel();
    }],
    ["left inside a loop", async (request) => {
      for await (const _piece of request.body!) break;
    }],
  ];
  const bodies: [name: string, make: () => Uint8Array | ChunkedBodyIter][] = [
    ["known length", () => new Uint8Array(500_000)],
    ["chunks", () =>
      new ChunkedBodyIter([
        [null, new Uint8Array(200_000)],
        [null, new Uint8Array(200_000)],
        [null, new Uint8Array(0)],
      ])],
  ];
  for (const [way, leave] of ways) {
    for (const [kind, make] of bodies) {
      await t.step(`${way}, ${kind}`, async () => {
        await using serving = serveHandler(async (request) => {
          if (request.method === "POST") await leave(request);
          return new Response(request.method);
        });
        using conn = await serving.makeClient().connect();
        assertEquals(await (await conn.post("/", {}, make())).body?.text(), "POST");
        assertEquals(await (await conn.get("/")).body?.text(), "GET");
        assertEquals(serving.logger.at("error"), []);
      });
    }
  }
});

Deno.test("what a handler has read does not count as dropped", async () => {
  const read = Promise.withResolvers<void>();
  const handler = async (request: Request) => {
    const reader = request.body!.getReader();
    await reader.read();
    reader.releaseLock();
    read.resolve();
    return new Response("hello");
  };
  await using serving = serveHandler(handler, { maxUnreadBytes: 10 });
  using peer = await RawPeer.connect(serving.address);
  await peer.send("POST / HTTP/1.1\r\ncontent-length: 20\r\n\r\n123456789012345");
  await within(read.promise, "the first piece is read");
  await peer.send("67890");
  assertStringIncludes(await peer.readPreamble(), "HTTP/1.1 200 OK\r\n");
  assertEquals(await peer.readExactly(5), "hello");
});

Deno.test("at most maxUnreadBytes are dropped", async (t) => {
  const chunks = (length: number) =>
    new ChunkedBodyIter([[null, new Uint8Array(length)], [null, new Uint8Array(0)]]);
  const rows: [
    name: string,
    maxUnreadBytes: number,
    body: () => Uint8Array | ChunkedBodyIter,
    well: boolean,
  ][] = [
    ["length, at the limit", 10, () => new Uint8Array(10), true],
    ["length, above it", 10, () => new Uint8Array(11), false],
    ["chunks, at the limit", 10, () => chunks(10), true],
    ["chunks, above it", 10, () => chunks(11), false],
    ["any length", Infinity, () => new Uint8Array(2_000_000), true],
    ["none", 0, () => new Uint8Array(1), false],
    ["an empty body is none", 0, () => new Uint8Array(0), true],
  ];
  for (const [name, maxUnreadBytes, body, well] of rows) {
    await t.step(name, async () => {
      await using serving = serveHandler(() => new Response("hello"), { maxUnreadBytes });
      const responding = serving.makeClient().request("POST", "/", {}, body());
      if (well) {
        assertEquals(await (await responding).body?.text(), "hello");
        assertEquals(serving.logger.at("error"), []);
      } else {
        await rejectionOf(responding, "too much is unread");
        const [message = ""] = await serving.logger.waitFor("error");
        assertStringIncludes(message, `more than ${maxUnreadBytes} bytes`);
      }
    });
  }
});

Deno.test("an error response may leave the request's body unread, and ends the session", async () => {
  await using serving = serveHandler(() => new Response("too much", { status: 413 }), {
    maxUnreadBytes: 0,
  });
  using conn = await serving.makeClient().connect();
  const response = await conn.post("/", {}, new Uint8Array(300_000));
  assertEquals([response.status, response.reason], [413, "Content Too Large"]);
  assertEquals(await response.body?.text(), "too much");
  assertEquals(serving.logger.at("error"), []);
});

Deno.test("a response can't be made from a body that is still arriving", async (t) => {
  const ways: [name: string, echo: (request: Request) => Response, said: string][] = [
    ["the body itself", (request) => new Response(request.body), "can't be the body"],
    [
      "through a transform",
      (request) => new Response(request.body!.pipeThrough(new TransformStream())),
      "still being read",
    ],
    ["a branch of it", (request) => new Response(request.body!.tee()[0]), "still being read"],
  ];
  for (const [name, echo, said] of ways) {
    await t.step(name, async () => {
      await using serving = serveHandler(echo);
      const responding = serving.makeClient().request("POST", "/", {}, new Uint8Array(9));
      const error = await rejectionOf(responding, "an echo");
      assert(error instanceof EmptyPreambleError, `${error}`);
      assertStringIncludes((await serving.logger.waitFor("error"))[0]!, said);
    });
  }
  await t.step("a lazily read body fails instead of looking empty", async () => {
    await using serving = serveHandler((request) =>
      new Response(
        new ReadableStream({
          async pull(controller) {
            await new Promise((resolve) => setTimeout(resolve));
            for await (const piece of request.body!) controller.enqueue(piece);
            controller.close();
          },
        }, { highWaterMark: 0 }),
      )
    );
    const response = await serving.makeClient().request("POST", "/", {}, new Uint8Array(9));
    await rejectionOf(response.body!.bytes(), "the body was not sent to its end");
    assertStringIncludes((await serving.logger.waitFor("error"))[0]!, "was dropped");
  });
});

Deno.test("an available answer is sent, whoever holds the body of the request", async (t) => {
  const holds: [name: string, hold: (request: Request) => unknown][] = [
    ["a clone", (request) => request.clone()],
    ["a clone of a clone", (request) => request.clone().clone()],
    ["a request made of it", (request) => new Request(request, { headers: { a: "b" } })],
    ["a reader", (request) => request.body!.getReader()],
    ["a reader that has read a piece", (request) => request.body!.getReader().read()],
    ["a read that is not awaited", (request) => void request.text().catch(() => {})],
    ["a reader of a clone", (request) => request.clone().body!.getReader().read()],
    [
      "a pipe",
      (request) =>
        void request.body!.pipeTo(new WritableStream({ write: () => new Promise(() => {}) }))
          .catch(() => {}),
    ],
  ];
  const answers: [name: string, make: () => Response, status: number, text: string][] = [
    ["text", () => new Response("hello"), 200, "hello"],
    ["JSON", () => Response.json({}, { status: 201 }), 201, "{}"],
    ["nothing", () => new Response(null), 200, ""],
    ["204", () => new Response(null, { status: 204 }), 204, ""],
    ["205", () => new Response(null, { status: 205 }), 205, ""],
  ];
  const bodies: (() => Uint8Array | ChunkedBodyIter)[] = [
    () => new Uint8Array(300_000),
    () => new ChunkedBodyIter([[null, new Uint8Array(300_000)], [null, new Uint8Array(0)]]),
  ];
  for (const [hold, use] of holds) {
    for (const [answer, make, status, text] of answers) {
      await t.step(`${hold}, ${answer}`, async () => {
        await using serving = serveHandler(async (request) => {
          if (request.method === "POST") await use(request);
          return make();
        });
        using conn = await serving.makeClient().connect();
        for (const body of bodies) {
          const response = await conn.post("/", {}, body());
          assertEquals([response.status, await response.body?.text() ?? ""], [status, text]);
        }
        assertEquals((await conn.get("/")).status, status);
        assertEquals(serving.logger.at("error"), []);
      });
    }
  }
});

Deno.test("a reader of the request's body gets an error when the answer is sent", async () => {
  const told = Promise.withResolvers<unknown>();
  await using serving = serveHandler((request) => {
    const reader = request.clone().body!.getReader();
    // It goes on to read after the response has been made.
    setTimeout(() => reader.read().then(told.resolve, told.resolve));
    return new Response("hello");
  });
  const response = await serving.makeClient().request("POST", "/", {}, new Uint8Array(300_000));
  assertEquals(await response.body?.text(), "hello");
  assertStringIncludes(String(await within(told.promise, "the reader is told")), "was dropped");
});

Deno.test("a clone of a request can be read instead of the request", async () => {
  await using serving = serveHandler(async (request) => {
    const copy = request.clone();
    return Response.json([await copy.text(), await request.text()]);
  });
  const client = serving.makeClient();
  const response = await client.request("POST", "/", {}, encoder.encode("hello"));
  assertEquals(await response.body?.json(), ["hello", "hello"]);
});
