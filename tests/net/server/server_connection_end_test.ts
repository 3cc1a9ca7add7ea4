/** The end of a session: its last response arrives, and the reason is logged. */
import { CLOSE_OPTIONS, OTHER_OPTIONS } from "../../base/wire/requests.rows.ts";
import {
  type Body,
  BodyError,
  type BodyIn,
  BodyIter,
  type BodyOut,
  type ChunkedBody,
  ChunkedBodyIter,
  ConnectionError,
  type HeadersToSend,
  type Method,
  type Socket,
  TlsError,
} from "@degu/degu/base";
import { ProxyApp, reply } from "@degu/degu";
import { Client } from "@degu/degu/client";
import {
  type App,
  type AppFunction,
  Server,
  type ServerOptions,
  type Session,
} from "@degu/degu/server";
import { addLingering, linger } from "@degu/internal/net/server/lingering.ts";
import { describeConnectionFailure } from "@degu/internal/net/server/session_end.ts";
import { Transport } from "@degu/internal/net/transport/transport.ts";
import { stopAllClocks } from "@degu/testing/clock.ts";
import { formatErrorResponse } from "./error_answers.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import {
  exchange,
  RawPeer,
  RawServer,
  retryUntilInTime,
  waitForTick,
  withTimeout,
} from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "../recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  connectRawPeer,
  type LogLevel,
  RecordingLogger,
  serve,
  type Serving,
} from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { openSharedPki, readIdentity, startTls } from "@degu/testing/tls_endpoints.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { MemoryListener } from "../../fuzz/memory.ts";

const get = "GET / HTTP/1.1\r\n\r\n";
const put = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
/** A body that is too long to be discarded. */
const longPut = `PUT / HTTP/1.1\r\ncontent-length: 65537\r\n\r\n${"x".repeat(65_537)}`;
const NO_CHUNKS = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nhello\r\n";

/** Sends two requests at once, and returns the number of responses. */
async function countResponses(app: App, request: string): Promise<number> {
  await using pair = await connectRawPeer(app, request + get);
  await pair.peer.closeWrite();
  const { received, kind: ending } = await pair.peer.readToEnd();
  assertEquals([ending, pair.logger.messagesOf("error")], ["end", []]);
  return received.match(/HTTP\/1\.1 /g)?.length ?? 0;
}

Deno.test("the session continues after any status of the app, and ends after a long unread body, or a canceled one", async () => {
  const statuses = [
    ...[200, 201, 204, 206, 301, 304, 399, 400, 401, 403, 404, 405, 408, 409, 410, 411, 412, 413],
    ...[416, 418, 421, 422, 429, 431, 499, 500, 501, 502, 503, 504, 505, 599],
  ];
  const readersByUse: Record<string, (body: Body) => unknown> = {
    "unread": () => {},
    "canceled": (body) => body.readable.cancel("not wanted"),
    "read in part": (body) => body.read(3),
    "read": (body) => body.read(),
  };
  for (const status of statuses) {
    const responseCount = await countResponses(() => [status, "As it is", {}, null], get);
    assertEquals(responseCount, 2, `status ${status}`);
  }
  for (const status of [200, 201, 204, 304, 399, 400, 404, 405, 409, 412, 413, 500]) {
    for (const [use, read] of Object.entries(readersByUse)) {
      const app: AppFunction = async ({ body }) => {
        if (body !== null) await read(body as Body);
        return [status, "As it is", {}, null];
      };
      const isCanceled = use === "canceled";
      assertEquals(await countResponses(app, put), isCanceled ? 1 : 2, `status ${status}, ${use}`);
      const longCount = await countResponses(app, longPut);
      assertEquals(
        longCount,
        use === "read" || use === "read in part" ? 2 : 1,
        `${status}, ${use}`,
      );
    }
  }
});

Deno.test("an error status before the request was received announces the end, also with a stream that could read the request", async () => {
  for (const [status, isAnnounced] of [[200, false], [401, true], [404, true]] as const) {
    const app: App = () => [status, "As it is", {}, new BodyIter([encodeLatin1("hello")], 5)];
    const request = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n";
    await using pair = await connectRawPeer(app, request);
    const preamble = await pair.peer.readPreamble();
    assertEquals(preamble.includes("\r\nconnection: close\r\n"), isAnnounced, `status ${status}`);
    assertEquals((await pair.peer.readToEnd()).received, "hello");
  }
});

Deno.test("content that isn't JSON is answered and logged, and the session continues; no line if the app answers with another status", async () => {
  const app: AppFunction = async (request) => {
    const value = request.json();
    return [200, "OK", {}, `${await (request.uri === "/5" ? value.catch(() => 5) : value)}`];
  };
  const [bad, caught, good] = [["/", "{"], ["/5", "{"], ["/", "5"]].map(([uri, content]) =>
    `POST ${uri} HTTP/1.1\r\ncontent-length: 1\r\n\r\n${content}`
  );
  await using pair = await connectRawPeer(app, `${bad}${caught}${good}`);
  await pair.peer.closeWrite();
  const { received } = await pair.peer.readToEnd();
  const responses = [
    "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n5".repeat(2),
  ];
  assertEquals(received, responses.join(""));
  const [line = "", ...more] = pair.logger.messagesOf("info");
  assert(line.startsWith(`${pair.session}: the app could not read the content of a request: `));
  assertEquals(more, []);
});

Deno.test("connection: close from an app ends the session after that response", async () => {
  for (const [responseCount, values] of Object.entries({ 1: CLOSE_OPTIONS, 2: OTHER_OPTIONS })) {
    for (const value of values) {
      // In one line, and in a line for each option.
      for (const connection of [value, value.split(",").map((option) => option.trim())]) {
        const app: App = () => [200, "OK", { connection }, encodeLatin1("hello")];
        assertEquals(await countResponses(app, get), Number(responseCount), value);
      }
    }
  }
});

Deno.test("connection: close in a request ends the session after its response, and later bytes are discarded", async (t) => {
  const requests: Record<string, string> = {
    "GET": "GET / HTTP/1.1\r\nConnection: VALUE\r\n\r\n",
    "a body": "PUT / HTTP/1.1\r\nconnection: VALUE\r\ncontent-length: 5\r\n\r\nhello",
    "chunks":
      "PUT / HTTP/1.1\r\nconnection: VALUE\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
  };
  for (const [requestName, request] of Object.entries(requests)) {
    for (const status of [200, 204, 404, 500]) {
      await t.step(`${requestName}, ${status}`, async () => {
        for (const value of ["close", "keep-alive"]) {
          const calls: string[] = [];
          await using pair = await connectRawPeer(async ({ uri, headers, body }) => {
            calls.push(uri);
            await body?.bytes();
            // The request has announced the close, even if the app changes its headers.
            delete (headers as HeadersToSend)["connection"];
            return [status, "As it is", {}, null];
          }, `${request.replace("VALUE", value)}GET /behind HTTP/1.1\r\n\r\n: no request`);
          const { peer, logger, session } = pair;
          const { received, kind } = await peer.readToEnd();
          const isLast = value === "close";
          // The client doesn't close its side.
          assertEquals(kind, "end");
          assertEquals(calls, isLast ? ["/"] : ["/", "/behind"], value);
          const closeLine = isLast ? "connection: close\r\n" : "";
          const lengthLine = status === 204 ? "" : "content-length: 0\r\n";
          const firstResponse = `HTTP/1.1 ${status} As it is\r\n${closeLine}${lengthLine}\r\n`;
          const secondResponse = isLast ? "" : `HTTP/1.1 ${status} As it is\r\n${lengthLine}\r\n`;
          assertEquals(received, firstResponse + secondResponse, value);
          if (value !== "close") continue;
          const message = `a request with connection: close (status ${status})`;
          assertEquals(session.message, message);
          assertEquals(logger.lines, [["debug", `${session}: ended after ${message}`]]);
        }
      });
    }
  }
});

/** What a request in the body of another one must never cause. */
const smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";

Deno.test("a short body that the app ignores is dropped before the response, and the session continues with what follows it", async (t) => {
  const makeLength = (body: string) =>
    `PUT / HTTP/1.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const rows: readonly (readonly [label: string, request: string])[] = [
    ["a request", makeLength(smuggled)],
    ["64 KiB", makeLength(smuggled.repeat(3000).slice(0, 65_536))],
  ];
  await testEachRow(t, rows, async (_label, request) => {
    for (const status of [200, 404, 413, 500]) {
      for (const isTorn of [false, true]) {
        const calls: string[] = [];
        await using pair = await connectRawPeer(({ method, uri }) => {
          calls.push(`${method} ${uri}`);
          return [status, "As it is", {}, "hello"];
        });
        const { peer, logger } = pair;
        const bytes = request + put + get;
        // The end of the preamble, of the body, and the next request arrive later.
        const cuts = isTorn ? [0, 20, request.length - 3, request.length + 9] : [0];
        for (const [index, cut] of cuts.entries()) {
          await peer.send(bytes.slice(cut, cuts[index + 1]));
          if (isTorn) await waitForTick();
        }
        await peer.closeWrite();
        const { received, kind } = await peer.readToEnd();
        assertEquals([calls, kind], [["PUT /", "PUT /", "GET /"], "end"]);
        const text = `HTTP/1.1 ${status} As it is\r\ncontent-length: 5\r\n\r\nhello`;
        assertEquals(
          received.replaceAll("content-type: text/plain; charset=utf-8\r\n", ""),
          text.repeat(3),
        );
        assertEquals(logger.messagesOf("info"), []);
      }
    }
  });
});

Deno.test("a read of a body that was dropped fails, so that no part is taken for the whole", async () => {
  const message = "can't read a body that was discarded";
  for (const isBegun of [false, true]) {
    let ignored: Body | null = null;
    await using pair = await connectRawPeer(async ({ body }) => {
      ignored ??= body as Body;
      if (isBegun && body !== null) assertEquals((await (body as Body).read(2)).length, 2);
      return [202, "Accepted", {}, null];
    }, put + get);
    await pair.peer.closeWrite();
    const { received } = await pair.peer.readToEnd();
    assertEquals(received.match(/ 202 /g)?.length, 2);
    // The app forgot to wait for the rest.
    for (const read of [() => ignored!.read(2), () => ignored!.read(), () => ignored!.bytes()]) {
      await assertRejects(async () => await read(), BodyError, message);
    }
  }
});

/** Apps whose responses are sent from a source, and don't read their requests. */
const SOURCES: Readonly<Record<string, () => BodyOut>> = {
  "a generator": async function* () {
    yield encodeLatin1("hel");
    // The app returns long before the end of the response.
    await waitForTick();
    yield encodeLatin1("lo");
  },
  "a stream": () => new Blob(["hello"]).stream(),
  "an iterable": () => new BodyIter([encodeLatin1("hello")], 5),
  "chunks": () => new ChunkedBodyIter([[null, encodeLatin1("hello")], [null, new Uint8Array(0)]]),
};

Deno.test("a short body that arrived before a response from a source is dropped after it, and the session continues with what follows", async (t) => {
  await testEachRow(t, Object.entries(SOURCES), async (_name, makeBody) => {
    for (const status of [200, 404, 413, 500]) {
      const calls: string[] = [];
      const ignored = `content-length: ${smuggled.length}\r\n\r\n${smuggled}`;
      await using pair = await connectRawPeer((request) => {
        calls.push(`${request.method} ${request.uri}`);
        return [status, "As it is", { number: `${calls.length}` }, makeBody()];
      }, `PUT /1 HTTP/1.1\r\n${ignored}POST /2 HTTP/1.1\r\n${ignored}${get}`);
      const { peer, logger } = pair;
      await peer.closeWrite();
      const { received, kind } = await peer.readToEnd();
      assertEquals([calls, kind], [["PUT /1", "POST /2", "GET /"], "end"]);
      assertEquals(received.match(/^number: \d/gm), ["number: 1", "number: 2", "number: 3"]);
      assertEquals(received.includes("connection: close"), false);
      assertEquals(logger.messagesOf("info"), []);
    }
  });
});

Deno.test("an ignored body that arrives after the start of a response from a source ends the session: its bytes are no request", async (t) => {
  const head = `PUT / HTTP/1.1\r\ncontent-length: ${smuggled.length}\r\n\r\n`;
  const chunked = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
  const rows: readonly (readonly [name: string, head: string, early: string, late: string])[] = [
    ["a cut body", head, smuggled.slice(0, -1), "\n"],
    ["no byte of the body", head, "", smuggled],
    ["chunks", chunked, `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`, ""],
    ["a client that waits for a 100", head.replace("\r\n", "\r\nexpect: 100-continue\r\n"), "", ""],
  ];
  await testEachRow(t, rows, async (_name, head, early, late) => {
    for (const status of [200, 404]) {
      const mayEnd = Promise.withResolvers<void>();
      await using pair = await connectRawPeer(() => {
        async function* answer() {
          yield encodeLatin1("hello");
          await mayEnd.promise;
        }
        return [status, "As it is", {}, answer()];
      }, head + early);
      const { peer } = pair;
      assertEquals((await peer.readPreamble()).includes("connection: close"), status === 404);
      assertEquals(await peer.readUntil("hello\r\n"), "5\r\nhello\r\n");
      await peer.send(late + smuggled);
      mayEnd.resolve();
      await peer.closeWrite();
      assertEquals(await peer.readToEnd(), { received: "0\r\n\r\n", kind: "end" });
    }
  });
});

Deno.test("while a response from a source is sent, the app can still read a body that arrived before; later reads fail", async (t) => {
  const readers: Readonly<Record<string, (body: Body) => Promise<unknown>>> = {
    "all": (body) => body.text(),
    "a part": (body) => body.read(2),
    "the stream": (body) => new Response(body.readable).text(),
    "the stream, later": (body) => {
      const { readable } = body;
      return waitForTick().then(() => new Response(readable).text());
    },
  };
  const expected = { "all": "hello", "a part": encodeLatin1("he") };
  await testEachRow(t, Object.entries(readers), async (name, read) => {
    const readBodies: Body[] = [];
    const values: unknown[] = [];
    await using pair = await connectRawPeer(({ body }) => {
      async function* answer() {
        yield encodeLatin1("hello");
        if (body === null) return;
        readBodies.push(body as Body);
        values.push(await read(body as Body));
      }
      return [200, "OK", {}, answer()];
    }, put + put + get);
    await pair.peer.closeWrite();
    const { received } = await pair.peer.readToEnd();
    assertEquals(received.match(/ 200 /g)?.length, 3);
    const value = name in expected ? expected[name as keyof typeof expected] : "hello";
    assertEquals(values, [value, value]);
    const problem = name === "a part" ? "was discarded" : "has been consumed";
    for (const body of readBodies) {
      await assertRejects(async () => await body.bytes(), BodyError, problem);
    }
  });
});

Deno.test("a body that the app still reads, or has canceled, at the end of its response isn't dropped: the session ends", async () => {
  const uses = [(body: Body) => void body.readable, (body: Body) => body.cancel()];
  for (const use of uses) {
    for (const status of [200, 404]) {
      await using pair = await connectRawPeer(({ body }) => {
        async function* answer() {
          yield encodeLatin1("hello");
          await use(body as Body);
        }
        return [status, "As it is", {}, answer()];
      }, put + get);
      await pair.peer.closeWrite();
      const { received } = await pair.peer.readToEnd();
      assertEquals(received.match(/HTTP/g)?.length, 1);
    }
  }
});

Deno.test("no body is dropped before a response that is the last one for another reason", async () => {
  const apps: readonly (readonly [app: App, status: number, options: ServerOptions])[] = [
    [() => [404, "Not Found", {}, null], 404, { maxRequests: 1 }],
    [() => [404, "Not Found", { connection: "close" }, null], 404, {}],
    [
      {
        onConnect: () => {
          let count = 0;
          return { user: "anna", isTrusted: () => ++count < 2 };
        },
        handle: () => [200, "OK", {}, null],
      },
      403,
      {},
    ],
  ];
  for (const [app, status, options] of apps) {
    const head = "PUT / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n";
    await using pair = await connectRawPeer(app, head, options);
    const startTime = performance.now();
    assertMatch(await pair.peer.readPreamble(), new RegExp(`^HTTP/1.1 ${status} .*close\r\n`, "s"));
    assert(performance.now() - startTime < 900);
    await pair.peer.send(smuggled);
    await pair.peer.closeWrite();
    assertEquals(await pair.peer.readToEnd(), { received: "", kind: "end" });
  }
});

Deno.test("the response waits for the rest of an ignored body for a second, and is then the last one", async () => {
  for (const drips of [false, true]) {
    await using pair = await connectRawPeer(
      () => [404, "Not Found", {}, null],
      "PUT / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n",
    );
    const { peer, logger, session } = pair;
    const startTime = performance.now();
    const timer = setInterval(() => drips && peer.send("x").catch(() => {}), 50);
    const preamble = await peer.readPreamble();
    const seconds = (performance.now() - startTime) / 1000;
    clearInterval(timer);
    // After an early response, a proxy that has overlooked the body would send the next request.
    assert(seconds > 0.9 && seconds < 5, `${seconds} s`);
    assertEquals(
      preamble,
      "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    );
    await peer.send(smuggled);
    await peer.closeWrite();
    assertEquals(await peer.readToEnd(), { received: "", kind: "end" });
    const message = "the body of a request was left unread (status 404)";
    assertEquals(logger.lines, [["info", `${session}: ended after ${message}`]]);
  }
});

Deno.test("with a time-out of less than a second, the response waits for an ignored body as long, and is then sent", async () => {
  const head = "PUT / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n";
  await retryUntilInTime("the response took over 0.9 s", async () => {
    await using pair = await connectRawPeer(() => [404, "No", {}, null], head, { timeout: 0.2 });
    const startTime = performance.now();
    const received = "HTTP/1.1 404 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assertEquals(await pair.peer.readPreamble(), received);
    const seconds = (performance.now() - startTime) / 1000;
    assert(seconds > 0.1, `${seconds} s`);
    return seconds < 0.9;
  });
});

Deno.test("an ignored body of a client that ends its side, or with chunks, ends the session after the response", async () => {
  const ok: App = () => [200, "OK", {}, null];
  await using cut = await connectRawPeer(ok, "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel");
  await cut.peer.closeWrite();
  // The app's response doesn't depend on the body.
  const received = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
  assertEquals(await cut.peer.readToEnd(), { received, kind: "end" });
  assertMatch(cut.logger.messagesOf("info").join(), /closed 2 bytes before the end of the body/);

  const head = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
  const chunk = `${smuggled.length.toString(16)}\r\n${smuggled}\r\n`;
  for (const body of [`x\r\n${smuggled}`, `${chunk}0\r\n\r\n${smuggled}`]) {
    await using pair = await connectRawPeer(ok, head + body);
    await pair.peer.closeWrite();
    assertEquals(await pair.peer.readToEnd(), { received, kind: "end" });
  }
});

Deno.test("a body that the client holds back until a 100 is not read: the response is the last one", async () => {
  const head = "PUT / HTTP/1.1\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
  await using pair = await connectRawPeer(() => [417, "No", {}, null], head);
  const received = "HTTP/1.1 417 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
  assertEquals(await pair.peer.readPreamble(), received);
  await pair.peer.send(smuggled);
  await pair.peer.closeWrite();
  assertEquals(await pair.peer.readToEnd(), { received: "", kind: "end" });
});

Deno.test("a long unread body, or a canceled one, ends the session after the response, and is logged once at level info", async (t) => {
  const usesByName: Record<string, (body: Body | ChunkedBody) => unknown> = {
    "untouched": () => {},
    "canceled": (body) => body.cancel(),
    "read in part": (body) => body.chunked ? body.readChunk() : body.read(2),
    "its stream opened": (body) => void body.readable,
  };
  const piece = "x".repeat(50_000);
  const chunks = `transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n${
    `${piece.length.toString(16)}\r\n${piece}\r\n`.repeat(8)
  }`;
  const requests: Record<string, string> = {
    "whole": `PUT / HTTP/1.1\r\ncontent-length: 400000\r\n\r\n${piece.repeat(8)}`,
    "in chunks": `PUT / HTTP/1.1\r\n${chunks}0\r\n\r\n`,
    "in chunks, begun": `PUT / HTTP/1.1\r\n${chunks}`,
  };
  for (const [requestName, request] of Object.entries(requests)) {
    for (const [useName, use] of Object.entries(usesByName)) {
      await t.step(`${requestName}, ${useName}`, async () => {
        for (const status of useName === "untouched" ? [200, 304, 404, 413] : [200]) {
          await using pair = await connectRawPeer(async ({ body }) => {
            await use(body!);
            return [status, "As it is", {}, null];
          }, request);
          const { peer, logger, session } = pair;
          const headerLines = `connection: close\r\n${
            status === 304 ? "" : "content-length: 0\r\n"
          }`;
          assertEquals(
            await peer.readPreamble(),
            `HTTP/1.1 ${status} As it is\r\n${headerLines}\r\n`,
          );
          // Later bytes belong to that body, and are not parsed.
          await peer.send(smuggled);
          await peer.closeWrite();
          assertEquals(await peer.readToEnd(), { received: "", kind: "end" });
          const message = `the body of a request was left unread (status ${status})`;
          assertEquals(session.message, message);
          assertEquals(logger.lines, [["info", `${session}: ended after ${message}`]]);
        }
      });
    }
  }
});

Deno.test("a read of a request that is pending when the response has been sent is rejected", async () => {
  for (const status of [413, 500] as const) {
    const read = Promise.withResolvers<unknown>();
    await using pair = await connectRawPeer(({ body }) => {
      read.resolve(catchRejection(body!.bytes(), "the read"));
      if (status === 500) throw new Error("no");
      return [413, "Content Too Large", {}, null];
    }, "PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\n");
    await pair.peer.readToEnd();
    const problem = `the response, with status ${status}, was sent before this body was read`;
    assertEquals(`${await read.promise}`, `BodyError: ${problem}`);
  }
});

Deno.test("a response that reads its request and ends first is no error of the peer or the app", async () => {
  const head = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
  await using pair = await connectRawPeer(({ body }) => {
    async function* answers(): AsyncGenerator<Uint8Array, void, void> {
      for await (const [, piece] of body as ChunkedBody) {
        yield piece;
        return;
      }
    }
    return reply(200, answers());
  }, `${head}3\r\nbye\r\n`);
  const { peer, logger, session } = pair;
  await peer.readPreamble();
  await peer.closeWrite();
  assertEquals(await peer.readToEnd(), { received: "3\r\nbye\r\n0\r\n\r\n", kind: "end" });
  const message = "a response that ended before its request (status 200)";
  assertEquals(session.message, message);
  assertEquals(logger.lines, [["debug", `${session}: ended after ${message}`]]);
});

Deno.test("maxRequests ends the session after that many requests, with responses in order", async () => {
  for (const maxCount of [1, 2, 5, 1500]) {
    const sessions = new Set<Session>();
    await using pair = await connectRawPeer(
      (_request, session) => {
        sessions.add(session);
        return [200, "OK", { number: `${session.requests}` }, null];
      },
      get.repeat(maxCount + 3),
      { maxRequests: maxCount },
    );
    const { received, kind: ending } = await pair.peer.readToEnd();
    const numbers = [...received.matchAll(/number: (\d+)/g)].map(([, number]) => Number(number));
    assertEquals(numbers, Array.from({ length: maxCount }, (_, i) => i));
    const { session } = pair;
    assertEquals([ending, session.maxRequests, session.requests], ["end", maxCount, maxCount]);
    assertEquals([...sessions], [session]);
  }
});

Deno.test("without maxRequests a session has no last request", async () => {
  const app: App = (_request, session) => [200, "OK", { number: `${session.requests}` }, null];
  await using pair = await connectRawPeer(app, get.repeat(2500));
  const received = await pair.peer.readUntil("number: 2499\r\n\r\n");
  assertEquals(received.includes("connection: close"), false);
  await pair.peer.closeWrite();
  await pair.peer.readToEnd();
  assertEquals([pair.session.maxRequests, pair.session.requests], [Infinity, 2500]);
});

Deno.test("the last response is not lost even if the client sends up to 1 MiB more", async (t) => {
  // The buffers of TCP must hold it, because the client reads it later.
  const body = new Uint8Array(20_000).fill(0x61);
  for (
    const [status, bodyLength] of [[413, 1], [413, 100_000], [413, 900_000], [
      200,
      900_000,
    ]] as const
  ) {
    await t.step(`status ${status}, ${bodyLength} bytes`, async () => {
      const request = `PUT / HTTP/1.1\r\ncontent-length: ${bodyLength}\r\n\r\n`;
      await using pair = await connectRawPeer(() => [status, "As it is", {}, body], request);
      const { peer, logger } = pair;
      await logger.waitFor("info");
      await peer.send(new Uint8Array(bodyLength));
      await peer.closeWrite();
      const { received, kind: ending } = await peer.readToEnd();
      const preamble =
        `HTTP/1.1 ${status} As it is\r\nconnection: close\r\ncontent-length: 20000\r\n\r\n`;
      assertEquals([received.length, ending], [preamble.length + body.length, "end"]);
    });
  }
});

Deno.test("after an error of the app, the server still reads what the client sends", async () => {
  const failingApp = () => Promise.reject(new Error("no"));
  const request = "PUT / HTTP/1.1\r\ncontent-length: 900000\r\n\r\n";
  await using pair = await connectRawPeer(failingApp, request);
  const { peer } = pair;
  assertEquals(await peer.readPreamble(), formatErrorResponse(500));
  await peer.send(new Uint8Array(900_000));
  await peer.closeWrite();
  assertEquals(await peer.readToEnd(), { received: "", kind: "end" });
});

Deno.test("after an error of the app or the client, the server sends one response, and frees the slot at once", async (t) => {
  const readBodyApp: AppFunction = async ({ body }) => {
    await body?.read();
    return [200, "OK", {}, null];
  };
  const failingApp = () => Promise.reject(new Error("no"));
  const faultRows: readonly (readonly [string, AppFunction, string, LogLevel, answer: string])[] = [
    ["an app that throws", failingApp, get, "error", formatErrorResponse(500)],
    [
      "an app that returns an invalid response",
      () => [200, "O\n", {}, null],
      get,
      "error",
      formatErrorResponse(500),
    ],
    ["another version", readBodyApp, "GET / HTTP/1.2\r\n\r\n", "info", formatErrorResponse(505)],
    ["another method", readBodyApp, "TRACE / HTTP/1.1\r\n\r\n", "info", formatErrorResponse(501)],
    ["an invalid body", readBodyApp, NO_CHUNKS, "info", formatErrorResponse(400)],
  ];
  await testEachRow(t, faultRows, async (_label, app, request, level, response) => {
    const appAfterFirst: App = (incoming, session, api) =>
      incoming.uri === "/first" ? [200, "OK", {}, null] : app(incoming, session, api);
    const firstRequest = "GET /first HTTP/1.1\r\n\r\n";
    await retryUntilInTime("it kept its slot", async () => {
      await using pair = await connectRawPeer(appAfterFirst, firstRequest, { maxConnections: 1 });
      await pair.peer.readPreamble();
      const start = performance.now();
      // The following bytes are not parsed as a request.
      await pair.peer.send(request + firstRequest);
      assertEquals((await pair.peer.readToEnd()).received, response);
      assertEquals(pair.logger.lines.map(([level]) => level), [level]);
      // The slot is free although the peer has not closed the connection.
      using nextPeer = await RawPeer.connect(pair.serving.address, firstRequest);
      await nextPeer.readPreamble();
      return performance.now() - start < 800;
    });
  });
});

Deno.test("an app that catches the error of its request's body may return any response or throw another error, and the session ends; an error that this error causes is the client's", async (t) => {
  const catchingApp: AppFunction = async ({ body }) => {
    await body!.bytes().catch(() => {});
    return [200, "OK", {}, "caught"];
  };
  const rethrowingApp: AppFunction = async ({ body }) => {
    await body!.bytes().catch(() => {
      throw new Error("another error");
    });
    return [200, "OK", {}, null];
  };
  const makeWrappingApp = (wrap: (error: unknown) => Error): AppFunction => async (request) => {
    await request.bytes().catch((error) => {
      throw wrap(error);
    });
    return [200, "OK", {}, null];
  };
  const wrap = (cause: unknown) => new Error("the upload has failed", { cause });
  const wraps: [name: string, wrap: (error: unknown) => Error][] = [
    ["it is the cause", wrap],
    ["it is one of several errors", (error) => new AggregateError([new Error("other"), error])],
  ];
  type Row = [name: string, app: AppFunction, answer: string, LogLevel];
  const rows: Row[] = [
    ...wraps.map(([name, wrap]): Row => {
      return [name, makeWrappingApp(wrap), formatErrorResponse(400), "info"];
    }),
    [
      "it returns a response",
      catchingApp,
      "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\ncaught",
      "info",
    ],
    ["it throws another error", rethrowingApp, formatErrorResponse(500), "error"],
  ];
  await testEachRow(t, rows, async (_label, app, response, level) => {
    await using pair = await connectRawPeer(app, NO_CHUNKS + get);
    assertEquals((await pair.peer.readToEnd()).received, response);
    assertEquals(pair.logger.lines.map(([level]) => level), [level]);
  });
  // After the start of a response, the server doesn't send another response.
  const echoApp: AppFunction = (
    { body },
  ) => [200, "OK", {}, new ChunkedBodyIter(makeChunks(body!))];
  async function* makeChunks(body: NonNullable<BodyIn>) {
    for await (const piece of body.readable) yield [null, piece] as const;
    yield [null, new Uint8Array(0)] as const;
  }
  await using echoPair = await connectRawPeer(
    echoApp,
    "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
  );
  const { peer } = echoPair;
  await peer.readPreamble();
  await peer.send("5\r\nhello\r\nno chunk\r\n");
  const { received } = await peer.readToEnd();
  assert("5\r\nhello\r\n".startsWith(received), received);
});

Deno.test("if a peer closes or stalls inside a request, the server closes without a response", async (t) => {
  const readBodyApp: AppFunction = async ({ body }) => {
    await body?.bytes();
    return [200, "OK", {}, null];
  };
  const putStart = "PUT / HTTP/1.1\r\n";
  const rows = [
    "",
    "G",
    "OPTIONS / HTTP/1.0\r\n",
    `${putStart}content-length: 5\r\n\r\nhell`,
    `${putStart}a: b\r\n`,
  ]
    .map((text) => [JSON.stringify(text), text] as const);
  await testEachRow(t, rows, async (_label, text) => {
    await using closingPair = await connectRawPeer(readBodyApp, text);
    await closingPair.peer.closeWrite();
    await closingPair.peer.assertClosedSilently("the client closes");
    await using silentPair = await connectRawPeer(readBodyApp, text, { timeout: 0.2 });
    await silentPair.peer.assertClosedSilently("the client stalls");
  });
});

Deno.test("at most 64 refused connections linger: a further refusal closes the oldest", async () => {
  await using serving = serve(() => [200, "OK", {}, null], { maxConnections: 2 });
  const peers: RawPeer[] = [];
  try {
    for (let n = 0; n < 70; n++) {
      const peer = await RawPeer.connect(serving.address);
      peers.push(peer);
      await peer.send("TRACE / HTTP/1.1\r\n\r\n");
      // Each request is answered, although all clients stay connected and the server has two slots.
      assertEquals(await peer.readPreamble(), formatErrorResponse(501));
    }
    assertEquals(serving.server.sessions.size, 0);
    // The oldest were closed at once: their kernel rejects further writes. A server that lingers
    // discards them.
    const sentBytes = await peers[0]!.sendUntilRefused(new Uint8Array(65536), 1 << 20);
    assert(sentBytes < 1 << 20, `${sentBytes} bytes were accepted`);
  } finally {
    for (const peer of peers) peer.close();
  }
});

Deno.test("closing a server also closes lingering connections", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  using peer = await RawPeer.connect(serving.address, "TRACE / HTTP/1.1\r\n\r\n");
  assertEquals(await peer.readPreamble(), formatErrorResponse(501));
  const startTime = performance.now();
  serving.server.close();
  await withTimeout(serving.done, "the server has stopped");
  assert(performance.now() - startTime < 900, "the server waited for the peer");
});

Deno.test("a session that is closed by the server in the middle of a request is logged once, at level info", async () => {
  await using pair = await connectRawPeer(async ({ body }) => {
    await body?.bytes();
    return [200, "OK", {}, null];
  }, "PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\n");
  const { session, logger, serving } = pair;
  await pair.appCalled;
  serving.server.close();
  await logger.waitFor("info");
  const message = "closed by the server";
  assertEquals(session.message, message);
  assertEquals(logger.lines, [["info", `${session}: ${message} in the middle of a request`]]);
});

Deno.test("a session whose connection has broken keeps the reason when its server is closed", async () => {
  const broken = Promise.withResolvers<void>(), released = Promise.withResolvers<void>();
  await using pair = await connectRawPeer(async ({ body }) => {
    await body!.bytes().catch(() => broken.resolve());
    await released.promise;
    return [200, "OK", {}, null];
  }, "PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\n");
  pair.peer.close();
  await broken.promise;
  pair.serving.server.close();
  released.resolve();
  const message = "ConnectionError: the peer closed 9 bytes before the end of the body";
  assertEquals(pair.session.message, message);
});

Deno.test("only a fault of the peer's messages, of its silence or of its trust is logged above debug", () => {
  const rows: [error: Error, level: LogLevel, kind?: string][] = [
    [new ConnectionError("cut", { fault: "broken", code: "BODY_INCOMPLETE" }), "info", "protocol"],
    [new ConnectionError("silent", { fault: "timed out" }), "info", "timeout"],
    [new TlsError("REFUSED_BY_PEER", "refused"), "info", "handshake"],
    [new TlsError("UNTRUSTED", "untrusted"), "debug"],
    [new ConnectionError("reset", { fault: "reset" }), "debug"],
  ];
  for (const [error, level, kind] of rows) {
    const end = describeConnectionFailure(error);
    assertEquals([end.level, end.kind, end.error], [level, kind, error]);
  }
});

// ───────────────────────── peers that reset, flood or stall

const CHUNKED = "transfer-encoding: chunked\r\n\r\n";

const readingApp: App = async ({ body, uri }) => {
  const bytes = await body?.bytes();
  return [200, "OK", {}, uri === "/echo" && bytes !== undefined ? bytes : null];
};

/** Asserts that the server answers another client. */
async function assertServes(serving: Serving): Promise<void> {
  const request = serving.makeClient().request("GET", "/");
  const { status, body } = await withTimeout(request, "others are served");
  await body?.read();
  assertEquals(status, 200);
  assertEquals(serving.logger.messagesOf("error"), []);
}

Deno.test("a server survives a peer that resets at any byte of an exchange instead of reading", async () => {
  await using serving = serve(readingApp, { maxConnections: 3 });
  const request = "PUT /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
  const requestBytes = request + request + get;
  for (let length = 0; length < requestBytes.length; length++) {
    const peer = await RawPeer.connect(serving.address, requestBytes.slice(0, length));
    // Closing a connection with unread bytes resets it.
    if (length >= request.length) await peer.readExactly(1);
    peer.close();
  }
  await assertServes(serving);
});

Deno.test("a server stops reading requests if the client doesn't read responses", async () => {
  let callCount = 0;
  await using serving = serve(() => {
    callCount++;
    return [200, "OK", {}, new Uint8Array(100_000)];
  }, { maxRequests: Infinity });
  using peer = await RawPeer.connect(serving.address);
  const floodSent = peer.send(get.repeat(20_000)).catch(() => {});
  // The app isn't called for a while once all buffers are full.
  let previousCount = -1;
  for (let i = 0; i < 200 && previousCount !== callCount; i++) {
    previousCount = callCount;
    for (let tick = 0; tick < 20; tick++) await waitForTick();
  }
  assert(callCount < 1000, `${callCount} answers were made for a peer that doesn't read`);
  await assertServes(serving);
  peer.close();
  await floodSent;
});

/** A socket whose peer reads each write only after a time. */
class SlowSocket extends RecordingSocket {
  readonly #readMilliseconds: number;

  constructor(readMilliseconds: number) {
    super();
    this.#readMilliseconds = readMilliseconds;
  }

  override async write(bytes: Uint8Array): Promise<number> {
    await new Promise<void>((resolve) => setTimeout(resolve, this.#readMilliseconds));
    return await super.write(bytes);
  }
}

Deno.test("a client that reads each write of a response within 8 × timeout gets the response, and a slower one is cut off", async () => {
  const timeout = 30;
  const factor = await readStatedNumber("docs/server.md", /each write of the response, by (\d+) ×/);
  const pieces = new Array<Uint8Array>(3).fill(new Uint8Array(300_000));
  const app: App = () => [200, "OK", {}, new BodyIter(pieces, 900_000)];
  for (const [speed, isCut] of [[0.99, false], [1.25, true]] as const) {
    using time = stopAllClocks();
    const listener = new MemoryListener();
    const logger = new RecordingLogger();
    const server = new Server(["127.0.0.1", 1], app, { timeout, logger }, listener.maker);
    const serving = server.serveForever();
    const socket = new SlowSocket(factor * timeout * 1000 * speed);
    socket.receive("GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
    listener.offer(socket);
    for (let seconds = 0; seconds < factor * timeout; seconds++) {
      await runMicrotasks();
      time.tick(1000);
    }
    assertEquals([socket.closeCount, logger.messagesOf("info")], [0, []]);
    for (let seconds = 0; socket.closeCount === 0; seconds++) {
      assert(seconds < 5 * factor * timeout, "the server never closes the connection");
      await runMicrotasks();
      time.tick(1000);
    }
    server.close();
    await serving;
    const line = `memory: ConnectionError: the peer took over ${factor * timeout} s to read what ` +
      "was sent";
    assertEquals(logger.messagesOf("info"), isCut ? [line] : []);
    assertEquals(socket.writes.join("").length > 900_000, !isCut);
  }
});

Deno.test("a client that doesn't read gets a hint in the log only if the response reads the request", async (t) => {
  const problem = "ConnectionError: the peer took over 0.8 s to read what was sent";
  const hint = `${problem}: the response reads the rest of the request, and the client must read`;
  const echo: App = ({ body }) => [200, "OK", {}, body];
  const large = new Array(1024).fill(new Uint8Array(65536));
  const ignore: App = () => [200, "OK", {}, new BodyIter(large, 2 ** 26)];
  const rows: [label: string, App, isReset: boolean, line: string][] = [
    ["it reads the request", echo, false, hint],
    ["it reads the request, and the client resets", echo, true, "ConnectionError: "],
    ["it doesn't", ignore, false, problem],
  ];
  await testEachRow(t, rows, async (_label, app, isReset, line) => {
    const head = "PUT / HTTP/1.1\r\ncontent-length: 4294967296\r\n\r\n";
    await using pair = await connectRawPeer(app, head, { timeout: 0.1 });
    const { peer, session, logger } = pair;
    const uploading = peer.sendUntilRefused(new Uint8Array(65536), Infinity);
    if (isReset) {
      await peer.readPreamble();
      peer.close();
    }
    await uploading.catch(() => {});
    await pair.sessionEnded;
    const [only = "", ...others] = logger.messagesOf("any");
    assert(only.startsWith(`${session}: ${line}`), only);
    assertEquals([only.includes("the response reads"), others], [line === hint, []]);
  });
});

Deno.test("if a peer disappears while an app streams, the server ends the stream and frees the slot", async () => {
  let returnedCount = 0;
  const streamsEnded = Promise.withResolvers<void>();
  async function* makeEndlessPieces() {
    try {
      for (;;) {
        yield new Uint8Array(65536);
        await waitForTick();
      }
    } finally {
      if (++returnedCount === 5) streamsEnded.resolve();
    }
  }
  await using serving = serve(({ uri }) => {
    if (uri === "/") return [200, "OK", {}, null];
    return [200, "OK", {}, new BodyIter(makeEndlessPieces(), 2 ** 40)];
  }, { maxConnections: 1 });
  for (let i = 0; i < 5; i++) {
    const peer = await RawPeer.connect(serving.address, "GET /stream HTTP/1.1\r\n\r\n");
    await peer.readExactly(200_000);
    peer.close();
  }
  await withTimeout(streamsEnded.promise, "every stream ends");
  await assertServes(serving);
});

Deno.test("an endless extension of a chunk ends the session", async () => {
  await using pair = await connectRawPeer(readingApp, `PUT / HTTP/1.1\r\n${CHUNKED}1;k=`);
  await pair.peer.send("v".repeat(65536));
  assertEquals(await pair.peer.readPreamble(), formatErrorResponse(400));
  await pair.logger.waitFor("info");
  await assertServes(pair.serving);
});

Deno.test("an announced body that is never sent occupies a slot, but no memory", async () => {
  for (const framing of ["content-length: 16777216\r\n\r\nx", `${CHUNKED}1000000\r\nx`]) {
    await using serving = serve(readingApp);
    const bytesBefore = Deno.memoryUsage().external;
    const peers = [];
    for (let i = 0; i < 20; i++) {
      peers.push(await RawPeer.connect(serving.address, `PUT / HTTP/1.1\r\n${framing}`));
    }
    await assertServes(serving);
    assert(Deno.memoryUsage().external - bytesBefore < 100 * 1048576);
    for (const peer of peers) peer.close();
  }
});

// ───────────────────────── the last response: its framing, its headers, and the bytes discarded after it

const CLIENTS = [
  ...["host: a", "user-agent: curl/8.5.0", "accept: */*", "accept-encoding: gzip"],
  ...["Accept: text/html", "connection: keep-alive", "Connection: Keep-Alive, te"],
];
const CLOSE = "connection: close\r\n";
const EMPTY = "content-length: 0\r\n";

Deno.test("a null body is framed as zero bytes for every client, if a response may have a body", async (t) => {
  const rows: [method: string, status: number, isEmpty: boolean][] = [
    ["GET", 200, true],
    ["POST", 201, true],
    ["GET", 205, true],
    ["DELETE", 404, true],
    ["HEAD", 200, false],
    ["GET", 204, false],
    ["GET", 304, false],
  ];
  for (const [method, status, isEmpty] of rows) {
    await t.step(`${method} ${status}`, async () => {
      await using serving = serve(() => [status, "As told", {}, null]);
      for (const header of CLIENTS) {
        const sent = `${method} / HTTP/1.1\r\n${header}\r\n\r\n`;
        const { received } = await exchange(serving.address, sent.repeat(2));
        const lines = isEmpty ? EMPTY : "";
        assertEquals(received, `HTTP/1.1 ${status} As told\r\n${lines}\r\n`.repeat(2), header);
      }
    });
  }
});

Deno.test("with unframedNull a null body has no framing, unless the app returns content-length: 0; the last response has framing and connection: close", async () => {
  const headersByUri: Record<string, HeadersToSend> = { "/": {}, "/zero": { "content-length": 0 } };
  const app: App = ({ uri }) => [uri === "/" ? 200 : 401, "xx", headersByUri[uri]!, null];
  await using pair = await connectRawPeer(
    app,
    `GET / HTTP/1.1\r\n\r\nGET /zero HTTP/1.1\r\n${CLOSE}\r\n`,
    { unframedNull: true },
  );
  const last = `HTTP/1.1 401 xx\r\n${CLOSE}${EMPTY}\r\n`;
  assertEquals((await pair.peer.readToEnd()).received, `HTTP/1.1 200 xx\r\n\r\n${last}`);
});

Deno.test("with unframedNull a client sends null without framing, and without the option as zero bytes", async () => {
  for (const unframedNull of [true, false]) {
    using server = new RawServer();
    using conn = await new Client(server.address, { host: null, unframedNull }).connect();
    using peer = await server.accept();
    for (const [method, headers] of [["PUT", {}], ["POST", { "content-length": 0 }], ["GET", {}]]) {
      const response = conn.request(method as Method, "/", headers as HeadersToSend, null);
      const isBare = method === "GET" || unframedNull && method === "PUT";
      const lines = isBare ? "" : EMPTY;
      assertEquals(await peer.readPreamble(), `${method} / HTTP/1.1\r\n${lines}\r\n`);
      await peer.send("HTTP/1.1 204 No Content\r\n\r\n");
      await response;
    }
  }
});

Deno.test("the last response has connection: close with any header of the app, and the log names the reason", async (t) => {
  const put = "content-length: 5\r\n\r\nhello";
  const longPut = `content-length: 65537\r\n\r\n${"x".repeat(65_537)}`;
  const makeStatusApp = (status: number): AppFunction => () => [status, "As told", {}, null];
  const readingApp: AppFunction = async ({ body }) => {
    await body!.bytes();
    return [200, "OK", {}, null];
  };
  const makeApp = (value: string): AppFunction => () => [
    500,
    "As told",
    { connection: value },
    null,
  ];
  const unread = "the body of a request was left unread";
  const limit = "the limit of 3 requests";
  const rows: [
    label: string,
    app: App,
    rest: string,
    lines: string,
    level: "debug" | "info",
    reason: string,
  ][] = [
    ["unread", makeStatusApp(200), longPut, CLOSE, "info", `${unread} (status 200)`],
    ["unread, 404", makeStatusApp(404), longPut, CLOSE, "info", `${unread} (status 404)`],
    ["the third request", makeStatusApp(200), "\r\n", CLOSE, "debug", limit],
    ["the third request, 405", makeStatusApp(405), "\r\n", CLOSE, "debug", limit],
    ["the third request, read", readingApp, put, CLOSE, "debug", limit],
    [
      "keep-alive",
      makeApp("keep-alive"),
      "\r\n",
      "connection: keep-alive, close\r\n",
      "debug",
      limit,
    ],
    ["te", makeApp("te"), "\r\n", "connection: te, close\r\n", "debug", limit],
    [
      "own",
      makeApp("close"),
      "\r\n",
      CLOSE,
      "debug",
      "a response with connection: close (status 500)",
    ],
  ];
  await testEachRow(t, rows, async (_label, app, rest, lines, level, reason) => {
    const sent = `PUT / HTTP/1.1\r\n${rest}`;
    await using pair = await connectRawPeer(app, sent.repeat(3), { maxRequests: 3 });
    const { received } = await pair.peer.readToEnd();
    assertEquals(received.slice(received.lastIndexOf("HTTP/1.1 ")).split("\r\n").slice(1), [
      ...lines.split("\r\n").filter(Boolean),
      ...EMPTY.split("\r\n"),
      "",
    ]);
    assertEquals(pair.session.message, reason);
    assertEquals(pair.logger.lines, [[level, `${pair.session}: ended after ${reason}`]]);
  });
});

// ───────────────────────── bytes that are discarded after the last response

const ROW = "bytes discarded after the last response +";

/** Ends a connection whose peer sends this many bytes more, and then waits forever. */
function lingerWith(bytes: number, timeout: number | null = null) {
  const state = { read: 0, isClosed: false };
  let newBytes = Promise.withResolvers<void>();
  newBytes.promise.catch(() => {});
  const socket: Socket = {
    async read(into) {
      if (state.read === bytes) await newBytes.promise;
      const count = Math.min(into.length, bytes - state.read);
      state.read += count;
      return count;
    },
    write: (bytes) => Promise.resolve(bytes.length),
    close() {
      state.isClosed = true;
      newBytes.reject(new Deno.errors.BadResource("closed"));
    },
  };
  const transport = new Transport(socket, timeout, {
    beforeRead: () => null,
    onReadAhead() {},
    wait: null,
    writeTimeouts: 1,
    findStall: () => null,
    onClose: () => false,
  });
  const send = (count: number) => {
    bytes += count;
    newBytes.resolve();
    newBytes = Promise.withResolvers();
    newBytes.promise.catch(() => {});
  };
  return { seen: state, send, end: () => linger(transport, socket) };
}

async function runMicrotasks(): Promise<void> {
  for (let microtask = 0; microtask < 100; microtask++) await null;
}

function readStatedSeconds(words: string): Promise<number> {
  return readStatedNumber("docs/security.md", new RegExp(`${ROW}\\| ${words}`));
}

Deno.test("a server discards what a peer sends after the last response as long as docs/security.md says, to the millisecond", async () => {
  const silentSeconds = await readStatedSeconds("until (\\d+) s");
  const totalSeconds = await readStatedSeconds("until \\d+ s without a byte, (\\d+) s");
  for (const timeout of [null, 0.2]) {
    using time = stopAllClocks();
    const { seen, end } = lingerWith(1000, timeout);
    const lingering = end();
    await runMicrotasks();
    time.tick(silentSeconds * 1000 - 1);
    await runMicrotasks();
    assertEquals(seen, { read: 1000, isClosed: false }, `time-out ${timeout}`);
    time.tick(1);
    await lingering;
    assertEquals(seen.isClosed, true);
  }
  for (const count of [1, 1_000_000]) {
    using time = stopAllClocks();
    const { seen, send, end } = lingerWith(1000);
    const lingering = end();
    for (let elapsed = 1; elapsed <= totalSeconds * 1000; elapsed += 1) {
      await null;
      time.tick(1);
      if (elapsed % 500 !== 0) continue;
      await runMicrotasks();
      assertEquals(seen.isClosed, elapsed === totalSeconds * 1000, `after ${elapsed} ms`);
      send(count);
    }
    await lingering;
  }
});

Deno.test("if more than 64 connections linger, the oldest of the peer with the most is closed", async () => {
  const limit = await readStatedNumber("docs/security.md", /connections that linger +\| (\d+)/);
  const closed: string[] = [];
  const connections = new Set<{ readonly peerKey: string; close(): void }>();
  const add = (peerKey: string, name = peerKey) =>
    addLingering(connections, { peerKey, close: () => void closed.push(name) });
  add("client");
  for (let n = 1; n < limit; n++) add("flood", `flood ${n}`);
  assertEquals(closed, []);
  add("other");
  add("flood", "last");
  assertEquals(closed, ["flood 1", "flood 2"]);
  assertEquals(connections.size, limit);
});

Deno.test("a client that reads only after it has sent 20 MB gets the status of a refused upload, also through a proxy and over TLS", async () => {
  const app: App = () => [413, "Content Too Large", {}, null];
  await using upstream = serve(app);
  await using proxy = serve(new ProxyApp(upstream.makeClient()));
  const pki = await openSharedPki();
  await using tlsEndpoint = await startTls(pki, app);
  const { ca, cert, key } = await readIdentity(pki);
  const [hostname, port] = tlsEndpoint.server.address as [string, number];
  for (
    const connect of [
      () => RawPeer.connect(upstream.address),
      () => RawPeer.connect(proxy.address),
      async () =>
        new RawPeer(
          await Deno.connectTls({ hostname, port, caCerts: [ca!], cert: cert!, key: key! }),
        ),
    ]
  ) {
    using peer = await connect();
    await peer.send("PUT / HTTP/1.1\r\ncontent-length: 20000000\r\n\r\n");
    for (let n = 0; n < 20; n++) await peer.send(new Uint8Array(1_000_000));
    assertMatch(await peer.readPreamble(), /^HTTP\/1.1 413 /);
  }
});
