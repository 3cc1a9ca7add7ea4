/** toFetchHandler: a session for each request, and what is disposed of at its end. */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { Body, BodyError, BodyIter, type ChunkedBody, type ResponseTuple } from "@degu/degu/base";
import type { Session } from "@degu/degu/server";
import { toFetchHandler } from "@degu/degu";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { serveWithDeno } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

Deno.test("each request has its own session, which ends with the response", async (t) => {
  const sessions: Session[] = [];
  const disposed: string[] = [];
  const keep = (session: Session) => {
    sessions.push(session);
    for (const name of ["first", "second"]) {
      session.store.set(name, { [Symbol.dispose]: () => void disposed.push(name) });
    }
  };
  await t.step("over TCP", async () => {
    await using server = serveWithDeno((_request, session) => {
      keep(session);
      return [200, "OK", {}, null];
    });
    for (let i = 0; i < 2; i++) await (await fetch(server.url)).body?.cancel();
    assertEquals(disposed.splice(0), ["second", "first", "second", "first"]);
    const [one, two] = sessions.splice(0);
    assert(one !== two);
    assertEquals(one?.address?.[0], "127.0.0.1");
    assertStringIncludes(String(one), `127.0.0.1:${one?.address?.[1]}`);
    assertStringIncludes(one?.message ?? "", "one request");
  });
  const stream = (end: (controller: ReadableStreamDefaultController) => void) =>
    new Body(
      new ReadableStream({
        pull(controller) {
          // What the session keeps may be what the body comes from.
          assertEquals(disposed, []);
          end(controller);
        },
      }, { highWaterMark: 0 }),
      5,
    );
  const ends: [name: string, body: () => Body, take: (response: Response) => Promise<unknown>][] = [
    ["with the body", () =>
      stream((controller) => {
        controller.enqueue(encoder.encode("hello"));
        controller.close();
      }), (response) => response.text()],
    [
      "with a body that fails",
      () => stream((controller) => controller.error(new Error("gone"))),
      (response) => rejectionOf(response.text(), "a body that fails"),
    ],
    [
      "with a body that is canceled",
      () => stream(() => {}),
      (response) => response.body!.cancel(),
    ],
  ];
  for (const [name, body, take] of ends) {
    await t.step(name, async () => {
      const response = await toFetchHandler((_request, session) => {
        keep(session);
        return [200, "OK", {}, body()];
      })(new Request("http://a/"));
      assertEquals(disposed, []);
      await take(response);
      assertEquals(disposed.splice(0), ["second", "first"]);
    });
  }
  await t.step("with a body that has empty pieces", async () => {
    const pieces = ["", "he", "", "llo", ""].map((text) => encoder.encode(text));
    const response = await toFetchHandler((_request, session) => {
      keep(session);
      return [200, "OK", {}, new BodyIter(pieces, 5)];
    })(new Request("http://a/"));
    assertEquals(disposed, []);
    assertEquals(await response.text(), "hello");
    assertEquals(disposed.splice(0), ["second", "first"]);
  });
  await t.step("with an exception", async () => {
    const handler = toFetchHandler((_request, session) => {
      keep(session);
      throw new Error("thrown on purpose");
    });
    await rejectionOf(handler(new Request("http://a/")), "an exception");
    assertEquals(disposed.splice(0), ["second", "first"]);
  });
});

Deno.test("an error while a session is disposed of affects neither the response nor the rest", async (t) => {
  const failing: [name: string, value: unknown][] = [
    ["throws", {
      [Symbol.dispose]: () => {
        throw new Error("thrown on purpose");
      },
    }],
    ["rejects", { [Symbol.dispose]: () => Promise.reject(new Error("thrown on purpose")) }],
    ["throws where it is looked up", {
      get [Symbol.dispose]() {
        throw new Error("thrown on purpose");
      },
    }],
  ];
  const answers: [name: string, make: () => ResponseTuple[3]][] = [
    ["no body", () => null],
    ["bytes", () => encoder.encode("hello")],
    ["a stream", () => new Body(new Blob(["hello"]).stream(), 5)],
  ];
  for (const [how, value] of failing) {
    for (const [kind, make] of answers) {
      await t.step(`one that ${how}, ${kind}`, async () => {
        const disposed: string[] = [];
        const logger = new RecordingLogger();
        const handler = toFetchHandler((_request, session) => {
          for (const name of ["first", "second"]) {
            session.store.set(name, { [Symbol.dispose]: () => void disposed.push(name) });
            session.store.set(`after ${name}`, value);
          }
          return [200, "OK", {}, make()];
        }, { logger });
        const response = await handler(new Request("http://a/"));
        assertEquals(await response.text(), make() === null ? "" : "hello");
        assertEquals(disposed, ["second", "first"]);
        const messages = await logger.waitFor("error");
        for (const message of messages) {
          assertStringIncludes(message, "session.store: Error: thrown on purpose");
        }
      });
    }
  }
  await t.step("an app's own error is preserved", async () => {
    const handler = toFetchHandler((_request, session) => {
      session.store.set("failing", failing[0]![1]);
      throw new Error("of the application");
    }, { logger: new RecordingLogger() });
    const error = await rejectionOf(
      handler(new Request("http://a/")),
      "an application that throws",
    );
    assertStringIncludes(String(error), "of the application");
  });
  await t.step("a logger that fails changes nothing", async () => {
    const loggers = [
      () => Promise.reject(new Error("a full disk")),
      () => {
        throw new Error("a full disk");
      },
    ];
    for (const error of loggers) {
      const handler = toFetchHandler((_request, session) => {
        session.store.set("failing", failing[0]![1]);
        return [200, "OK", {}, null];
      }, { logger: { error } });
      assertEquals((await handler(new Request("http://a/"))).status, 200);
    }
  });
});

Deno.test("an incompletely read body is refused as under our own server", async (t) => {
  const ways: Record<string, (body: Body | ChunkedBody) => unknown> = {
    "left alone": () => {},
    "read, not awaited": (body) => void body.read().catch(() => {}),
    "given up": (body) => body.cancel(),
    "its stream taken": (body) => void body.readable,
    "its stream canceled": (body) => body.readable.cancel(),
    "a loop that is left": async (body) => {
      for await (const _ of body) break;
    },
  };
  const messages: Record<string, string> = {
    length: "content-length: 5\r\n\r\nhel",
    chunks: "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
  };
  for (const [way, use] of Object.entries(ways)) {
    for (const [kind, message] of Object.entries(messages)) {
      await t.step(`${way}, ${kind}`, async () => {
        await using server = serveWithDeno(async ({ body }) => {
          await use(body!);
          return [200, "OK", {}, null];
        });
        using peer = await RawPeer.connect(server.address);
        await peer.send(`PUT / HTTP/1.1\r\nhost: a\r\n${message}`);
        assertStringIncludes(await peer.readPreamble(), "HTTP/1.1 500 ");
        assertStringIncludes(String(server.errors[0]), "request.body: must be read");
      });
    }
  }
});

Deno.test("the rest of a request's body after an error is dropped after the response", async () => {
  let left: Body | null = null;
  await using server = serveWithDeno(async ({ body }) => {
    left = body as Body;
    await left.read(3);
    return [400, "Bad Request", {}, new BodyIter(rest(left), 5)];
  });
  async function* rest(body: Body) {
    yield await body.read(5);
  }
  using peer = await RawPeer.connect(server.address);
  await peer.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\nIt says hello");
  assertStringIncludes(await peer.readPreamble(), "HTTP/1.1 400 ");
  assertEquals(await peer.readExactly(5), "says ");
  const error = await rejectionOf(left!.read(), "what is left");
  assertInstanceOf(error, BodyError);
  assertEquals(server.errors, []);
});

Deno.test("a response whose pieces share one buffer arrives whole, with or without a session to end", async () => {
  for (const keeps of [false, true]) {
    const shared = encoder.encode("one-two-three");
    const pieces = [shared.subarray(0, 3), shared.subarray(3, 7), shared.subarray(7)];
    const body: unknown = {
      chunked: true,
      readable: ReadableStream.from(pieces),
      writeTo: () => Promise.reject(new Error("not used")),
      cancel: () => Promise.resolve(),
      async *[Symbol.asyncIterator]() {
        for (const piece of pieces) yield [null, piece];
        yield [null, new Uint8Array(0)];
      },
    };
    const handler = toFetchHandler((_request, session) => {
      if (keeps) session.store.set("kept", { [Symbol.dispose]() {} });
      return [200, "OK", {}, body as ChunkedBody];
    });
    assertEquals(await (await handler(new Request("http://localhost/"))).text(), "one-two-three");
  }
});
