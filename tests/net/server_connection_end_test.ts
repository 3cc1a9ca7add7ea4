/** The end of a session: its last response arrives, and the reason is logged. */
import { assert, assertEquals, assertInstanceOf, assertMatch } from "@std/assert";
import { toArrayBuffer } from "@std/streams";
import {
  type Body,
  BodyError,
  type BodyIn,
  BodyIter,
  type ChunkedBody,
  ChunkedBodyIter,
  type HeaderDict,
} from "@degu/degu/base";
import { formatErrorResponse } from "@degu/testing/error_answers.ts";
import type { App, AppFunction, Request, ResponseTuple, Session } from "@degu/degu/server";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, retryUntilInTime, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  connectRawPeer,
  type Level,
  serve,
  type ServedRawPeer,
  type Serving,
} from "@degu/testing/serving.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const get = "GET / HTTP/1.1\r\n\r\n";
const put = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
const NO_CHUNKS = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nhello\r\n";

/** How many of two requests that were sent at once are answered. */
async function answersOf(app: App, request: string): Promise<number> {
  await using meeting = await connectRawPeer(app, request + get);
  await meeting.peer.closeWrite();
  const { received, how } = await meeting.peer.readToEnd();
  assertEquals([how, meeting.logger.messagesOf("error")], ["end", []]);
  return received.match(/HTTP\/1\.1 /g)?.length ?? 0;
}

Deno.test("a status of 400 and above, except 404, 405, 409 and 412, ends the session, and so does an unread body", async () => {
  const goOn = [200, 201, 204, 206, 301, 304, 399, 404, 405, 409, 412];
  const end = [400, 401, 403, 408, 410, 411, 413, 416, 418, 429, 499, 500, 501, 503, 599];
  const reads: Record<string, (body: Body) => unknown> = {
    "unread": () => {},
    "canceled": (body) => body.readable.cancel("not wanted"),
    "read in part": (body) => body.read(3),
    "read": (body) => body.read(),
  };
  for (const status of [...goOn, ...end]) {
    const answers = await answersOf(() => [status, "As it is", {}, null], get);
    assertEquals(answers, goOn.includes(status) ? 2 : 1, `status ${status}`);
  }
  for (const status of [200, 201, 204, 304, 399, 400, 404, 405, 409, 412, 413, 500]) {
    for (const [how, read] of Object.entries(reads)) {
      const answers = await answersOf(async ({ body }) => {
        if (body !== null) await read(body as Body);
        return [status, "As it is", {}, null];
      }, put);
      const goesOn = how === "read" && goOn.includes(status);
      assertEquals(answers, goesOn ? 2 : 1, `status ${status}, body ${how}`);
    }
  }
});

const CLOSES = [
  ...["close", "CLOSE", "Close", "keep-alive, close", "close, keep-alive", "x,cLoSe,y"],
  ...["a ,  close  , b", "close, te"],
];
const DOES_NOT_CLOSE = [
  ...["keep-alive", "closed", "not-close", "close-not", "close:", '"close"', "close x", "x close"],
];

Deno.test("connection: close from an app ends the session after that response", async () => {
  for (const [answers, values] of Object.entries({ 1: CLOSES, 2: DOES_NOT_CLOSE })) {
    for (const connection of values) {
      const app: App = () => [200, "OK", { connection }, encodeLatin1("hello")];
      assertEquals(await answersOf(app, get), Number(answers), connection);
    }
  }
});

Deno.test("connection: close in a request ends the session after its response, and later bytes are discarded", async (t) => {
  const requests: Record<string, string> = {
    "GET": "GET / HTTP/1.1\r\nConnection: VALUE\r\n\r\n",
    "HEAD": "HEAD / HTTP/1.1\r\nconnection: VALUE\r\n\r\n",
    "DELETE": "DELETE / HTTP/1.1\r\nhost: a\r\nCONNECTION: VALUE\r\n\r\n",
    "a body": "PUT / HTTP/1.1\r\nconnection: VALUE\r\ncontent-length: 5\r\n\r\nhello",
    "an empty body": "POST / HTTP/1.1\r\nconnection: VALUE\r\ncontent-length: 0\r\n\r\n",
    "chunks":
      "PUT / HTTP/1.1\r\nconnection: VALUE\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
  };
  for (const [what, request] of Object.entries(requests)) {
    for (const status of [200, 204, 404, 500]) {
      await t.step(`${what}, ${status}`, async () => {
        const isEvery = what === "GET" && status === 200;
        const values = isEvery ? [...CLOSES, ...DOES_NOT_CLOSE] : ["close", "keep-alive"];
        for (const value of values) {
          const calls: string[] = [];
          await using meeting = await connectRawPeer(async ({ uri, headers, body }) => {
            calls.push(uri);
            await body?.bytes();
            // The request has announced the close, even if the app changes its headers.
            delete (headers as HeaderDict)["connection"];
            return [status, "As it is", {}, null];
          }, `${request.replace("VALUE", value)}GET /behind HTTP/1.1\r\n\r\n: what is no request`);
          const { peer, logger, session } = meeting;
          const { received } = await peer.readToEnd();
          const isLast = CLOSES.includes(value) || status === 500;
          assertEquals(calls, isLast ? ["/"] : ["/", "/behind"], value);
          const last = isLast ? "connection: close\r\n" : "";
          const length = status === 204 ? "" : "content-length: 0\r\n";
          const lines = what === "HEAD" ? last : last + length;
          const first = `HTTP/1.1 ${status} As it is\r\n${lines}\r\n`;
          const behind = isLast ? "" : `HTTP/1.1 ${status} As it is\r\n${length}\r\n`;
          assertEquals(received, first + behind, value);
          if (!CLOSES.includes(value)) continue;
          const message = `a request with connection: close (status ${status})`;
          assertEquals(session.message, message);
          assertEquals(logger.lines, [["debug", `${session}: ended after ${message}`]]);
        }
      });
    }
  }
});

Deno.test("connection: close in a request is also in its answer, and the close follows at once", async () => {
  const rows: readonly (readonly [answer: ResponseTuple, received: string])[] = [
    [[200, "OK", {}, null], "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"],
    [
      [200, "OK", {}, encodeLatin1("hi")],
      "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
    ],
    [
      [200, "OK", { connection: "keep-alive" }, new BodyIter([encodeLatin1("hi")], 2)],
      "HTTP/1.1 200 OK\r\nconnection: keep-alive, close\r\ncontent-length: 2\r\n\r\nhi",
    ],
  ];
  for (const [answer, expected] of rows) {
    const request = "GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
    // No wait of the server has a limit, and this side stays open.
    await using meeting = await connectRawPeer(() => answer, request, { timeout: null });
    assertEquals(await meeting.peer.readToEnd(), { received: expected, how: "end" });
  }
});

Deno.test("connection: close in the last of maxRequests is the reason that is logged", async () => {
  const request = "GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
  await using meeting = await connectRawPeer(() => [200, "OK", {}, null], request, {
    maxRequests: 1,
  });
  assertEquals((await meeting.peer.readToEnd()).how, "end");
  assertEquals(meeting.session.message, "a request with connection: close (status 200)");
});

Deno.test("a body that is left unread ends the session after the response, with one line of level info", async (t) => {
  const uses: Record<string, (body: Body | ChunkedBody) => unknown> = {
    "untouched": () => {},
    "canceled": (body) => body.cancel(),
    "canceled for a reason": (body) => body.cancel(new Error("not wanted")),
    "read in part": (body) => body.chunked ? body.readChunk() : body.read(2),
    "its stream taken": (body) => void body.readable,
    "its iteration left": async (body) => {
      for await (const _piece of body) break;
    },
  };
  const chunks = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
  const requests: Record<string, string> = {
    "whole": `PUT / HTTP/1.1\r\ncontent-length: 400000\r\n\r\n${"x".repeat(400_000)}`,
    "begun": "PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello",
    "in chunks": `PUT / HTTP/1.1\r\n${chunks}0\r\n\r\n`,
    "in chunks, begun": `PUT / HTTP/1.1\r\n${chunks}`,
    "in the last request": "PUT / HTTP/1.1\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhello",
  };
  for (const [what, request] of Object.entries(requests)) {
    for (const [how, use] of Object.entries(uses)) {
      await t.step(`${what}, ${how}`, async () => {
        for (const status of how === "untouched" ? [200, 304, 404, 413] : [200]) {
          await using meeting = await connectRawPeer(async ({ body }) => {
            await use(body!);
            return [status, "As it is", {}, null];
          }, request);
          const { peer, logger, session } = meeting;
          const lines = `connection: close\r\n${status === 304 ? "" : "content-length: 0\r\n"}`;
          assertEquals(await peer.readPreamble(), `HTTP/1.1 ${status} As it is\r\n${lines}\r\n`);
          // Later bytes belong to that body, and are not parsed.
          await peer.send("GET /smuggled HTTP/1.1\r\n\r\n");
          await peer.closeWrite();
          assertEquals(await peer.readToEnd(), { received: "", how: "end" });
          const message = `the body of a request was left unread (status ${status})`;
          assertEquals(session.message, message);
          assertEquals(logger.lines, [["info", `${session}: ended after ${message}`]]);
        }
      });
    }
  }
});

Deno.test("a response can be made of a body while it arrives, and the session goes on if that was read to its end", async () => {
  const upper = (bytes: Uint8Array) => encodeLatin1(decodeLatin1(bytes).toUpperCase());
  const app: App = ({ body }) => {
    const pieces = async function* () {
      for await (const piece of body as Body) yield upper(piece);
    };
    return [200, "OK", {}, body === null ? null : new BodyIter(pieces(), 10)];
  };
  await using meeting = await connectRawPeer(
    app,
    "PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello",
  );
  const { peer, logger } = meeting;
  const preamble = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
  assertEquals(await peer.readPreamble() + await peer.readExactly(5), `${preamble}HELLO`);
  await peer.send(`world${get}`);
  await peer.closeWrite();
  assertEquals(
    (await peer.readToEnd()).received,
    "WORLDHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
  );
  assertEquals(logger.lines.map(([level]) => level), ["debug"]);
});

Deno.test("maxRequests ends the session after that many requests, answered in order", async () => {
  for (const maxRequests of [1, 2, 5, undefined]) {
    const most = maxRequests ?? 1000;
    const sessions = new Set<Session>();
    await using meeting = await connectRawPeer(
      (_request, session) => {
        sessions.add(session);
        return [200, "OK", { number: `${session.requests}` }, null];
      },
      get.repeat(most + 3),
      { maxRequests },
    );
    const { received, how } = await meeting.peer.readToEnd();
    const numbers = [...received.matchAll(/number: (\d+)/g)].map(([, number]) => Number(number));
    assertEquals(numbers, Array.from({ length: most }, (_, i) => i));
    const { session } = meeting;
    assertEquals([how, session.maxRequests, session.requests], ["end", most, most]);
    assertEquals([...sessions], [session]);
  }
});

Deno.test("the last response is not lost even if the client sends up to 1 MiB more", async (t) => {
  const body = new Uint8Array(50_000).fill(0x61);
  for (
    const [status, rest] of [[413, 1], [413, 100_000], [413, 900_000], [200, 900_000]] as const
  ) {
    await t.step(`status ${status}, ${rest} bytes`, async () => {
      const request = `PUT / HTTP/1.1\r\ncontent-length: ${rest}\r\n\r\n`;
      await using meeting = await connectRawPeer(() => [status, "As it is", {}, body], request);
      const { peer, logger } = meeting;
      await logger.waitFor("info");
      await peer.send(new Uint8Array(rest));
      await peer.closeWrite();
      const { received, how } = await peer.readToEnd();
      const preamble =
        `HTTP/1.1 ${status} As it is\r\nconnection: close\r\ncontent-length: 50000\r\n\r\n`;
      assertEquals([received.length, how], [preamble.length + body.length, "end"]);
    });
  }
});

Deno.test("a session that has ended closes its write side at once, and discards received bytes", async () => {
  const seen: string[] = [];
  await using meeting = await connectRawPeer(({ uri }) => {
    seen.push(uri);
    return [500, "Internal Server Error", {}, null];
  }, "GET /1 HTTP/1.1\r\n\r\n");
  const { peer } = meeting;
  // The end arrives although this side is still open.
  const { received, how } = await peer.readToEnd();
  assertEquals([received, how], [
    "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "end",
  ]);
  await peer.send("GET /2 HTTP/1.1\r\n\r\n");
  await waitForTick();
  await peer.closeWrite();
  assertEquals(seen, ["/1"]);
});

Deno.test("a session that has ended drops at most about 1 MiB", async () => {
  const request = "PUT / HTTP/1.1\r\ncontent-length: 1000000000\r\n\r\n";
  const app: App = () => [413, "Content Too Large", {}, null];
  await using meeting = await connectRawPeer(app, request, { maxConnections: 1 });
  const { peer, serving } = meeting;
  const taken = await peer.sendUntilRefused(new Uint8Array(65536), 64 * 1048576);
  // The buffers of the kernel on both sides are added to this.
  assert(taken < 32 * 1048576, `${taken} bytes were taken`);
  // The slot is also free.
  assertEquals((await serving.makeClient().request("GET", "/")).status, 413);
});

Deno.test("after an error of either end one answer is sent, and its slot is free at once", async (t) => {
  const reading: AppFunction = async ({ body }) => {
    await body?.read();
    return [200, "OK", {}, null];
  };
  const fails = () => Promise.reject(new Error("no"));
  const faults: readonly (readonly [string, AppFunction, string, Level, answer: string])[] = [
    ["an application that throws", fails, get, "error", formatErrorResponse(500)],
    ["an answer that is none", () => [200, "O", {}, null], get, "error", formatErrorResponse(500)],
    ["another version", reading, "GET / HTTP/1.0\r\n\r\n", "info", formatErrorResponse(505)],
    ["another method", reading, "PATCH / HTTP/1.1\r\n\r\n", "info", formatErrorResponse(501)],
    ["a body that is none", reading, NO_CHUNKS, "info", formatErrorResponse(400)],
  ];
  await testEachRow(t, faults, async (_what, app, request, level, answer) => {
    const first: App = (incoming, session, api) =>
      incoming.uri === "/first" ? [200, "OK", {}, null] : app(incoming, session, api);
    const begin = "GET /first HTTP/1.1\r\n\r\n";
    await retryUntilInTime("it kept its slot", async () => {
      await using meeting = await connectRawPeer(first, begin, { maxConnections: 1 });
      await meeting.peer.readPreamble();
      const start = performance.now();
      // The following bytes are not parsed as a request.
      await meeting.peer.send(request + begin);
      assertEquals((await meeting.peer.readToEnd()).received, answer);
      assertEquals(meeting.logger.lines.map(([level]) => level), [level]);
      // The slot is free although the peer has not closed the connection.
      using next = await RawPeer.connect(meeting.serving.address);
      await next.send(begin);
      await next.readPreamble();
      return performance.now() - start < 800;
    });
  });
});

Deno.test("an app that catches the error of its request's body answers as it likes, and the session ends", async (t) => {
  const caught: AppFunction = async ({ body }) => {
    await body!.bytes().catch(() => {});
    return [200, "OK", {}, "caught"];
  };
  const other: AppFunction = async ({ body }) => {
    await body!.bytes().catch(() => {
      throw new Error("another error");
    });
    return [200, "OK", {}, null];
  };
  const rows: [what: string, app: AppFunction, answer: string, Level][] = [
    [
      "it catches",
      caught,
      "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\ncaught",
      "info",
    ],
    ["it throws another error", other, formatErrorResponse(500), "error"],
  ];
  await testEachRow(t, rows, async (_what, app, answer, level) => {
    await using meeting = await connectRawPeer(app, NO_CHUNKS + get);
    assertEquals((await meeting.peer.readToEnd()).received, answer);
    assertEquals(meeting.logger.lines.map(([level]) => level), [level]);
  });
  // Of a response that has begun, no other is sent.
  const echo: AppFunction = ({ body }) => [200, "OK", {}, new ChunkedBodyIter(chunksOf(body!))];
  async function* chunksOf(body: NonNullable<BodyIn>) {
    for await (const piece of body.readable) yield [null, piece] as const;
    yield [null, new Uint8Array(0)] as const;
  }
  await using meeting = await connectRawPeer(
    echo,
    "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
  );
  const { peer } = meeting;
  await peer.readPreamble();
  await peer.send("5\r\nhello\r\nno chunk\r\n");
  const { received } = await peer.readToEnd();
  assert("5\r\nhello\r\n".startsWith(received), received);
});

Deno.test("where a peer leaves or is silent in the middle of a request, nothing is sent", async (t) => {
  const reading: AppFunction = async ({ body }) => {
    await body?.bytes();
    return [200, "OK", {}, null];
  };
  const put = "PUT / HTTP/1.1\r\n";
  const rows = [
    "",
    "G",
    "OPTIONS / HTTP/1.0\r\n",
    `${put}content-length: 5\r\n\r\nhell`,
    `${put}a: b\r\n`,
  ]
    .map((text) => [JSON.stringify(text), text] as const);
  await testEachRow(t, rows, async (_what, text) => {
    await using leaving = await connectRawPeer(reading, text);
    await leaving.peer.closeWrite();
    await leaving.peer.assertClosedSilently("who leaves");
    await using silent = await connectRawPeer(reading, text, { timeout: 0.2 });
    await silent.peer.assertClosedSilently("who is silent");
  });
});

Deno.test("64 connections linger behind a refusal at most: for one more the oldest is closed", async () => {
  await using serving = serve(() => [200, "OK", {}, null], { maxConnections: 2 });
  const peers: RawPeer[] = [];
  try {
    for (let n = 0; n < 70; n++) {
      const peer = await RawPeer.connect(serving.address);
      peers.push(peer);
      await peer.send("PATCH / HTTP/1.1\r\n\r\n");
      // Each request is answered, though no client has left and the server has two slots.
      assertEquals(await peer.readPreamble(), formatErrorResponse(501));
    }
    assertEquals(serving.server.sessions.size, 0);
    // The oldest were closed at once: their kernel rejects further writes.
    await peers[0]!.sendUntilRefused(new Uint8Array(65536), 1 << 24);
  } finally {
    for (const peer of peers) peer.close();
  }
});

Deno.test("closing a server also closes lingering connections", async () => {
  await using serving = serve(() => [200, "OK", {}, null]);
  using peer = await RawPeer.connect(serving.address);
  await peer.send("PATCH / HTTP/1.1\r\n\r\n");
  assertEquals(await peer.readPreamble(), formatErrorResponse(501));
  const start = performance.now();
  serving.server.close();
  await withTimeout(serving.done, "it is over");
  assert(performance.now() - start < 900, "it waited for the peer");
});

Deno.test("a session lingers for 1 s even if its timeout is shorter", async () => {
  const app: App = () => [500, "Internal Server Error", {}, null];
  await retryUntilInTime(
    "it lingered longer, or told the end of the last response late",
    async () => {
      const start = performance.now();
      await using first = await connectRawPeer(app, get, { timeout: 0.2, maxConnections: 1 });
      assertEquals((await first.peer.readToEnd()).how, "end");
      const ended = performance.now();
      // Closing it has no effect any more: its peer may still be receiving.
      first.session.close();
      // The first keeps its place until it is closed, so the second is answered after that.
      using second = await RawPeer.connect(first.serving.address);
      await second.send(get);
      await second.readPreamble();
      const seconds = (performance.now() - start) / 1000;
      assert(seconds >= 1, `${seconds} s`);
      return seconds < 1.8 && performance.now() - ended > 500;
    },
  );
});

Deno.test("a server that is closed because a session has broken leaves it the reason", async () => {
  await using meeting = await connectRawPeer(() => [200, "OK", {}, null], get, { timeout: 0.1 });
  const { peer, serving, session } = meeting;
  session.signal.addEventListener("abort", () => serving.server.close());
  await peer.readToEnd();
  assertMatch(`${session.message}`, /^TimedOut: /);
});

for (const framing of ["content-length: 400000", "transfer-encoding: chunked"]) {
  const chunked = framing.includes("chunked");

  Deno.test(`a body that is read while an error is answered fails with a BodyError (${framing})`, async (t) => {
    const ways: Record<string, (body: Body | ChunkedBody) => Promise<unknown>> = {
      "collected": (body) => body.read(),
      "iterated": async (body) => {
        for await (const _ of body);
      },
      "in pieces": async (body) => {
        for (;;) await (body.chunked ? body.readChunk() : body.read(10));
      },
      "as a stream": (body) => toArrayBuffer(body.readable),
    };
    await testEachRow(t, Object.entries(ways), async (_way, read) => {
      const failed = Promise.withResolvers<unknown>();
      let pending = 0;
      await using meeting = await connectRawPeer({
        handle({ body }) {
          failed.resolve(catchRejection(read(body!), "reading on"));
          return [413, "Content Too Large", {}, null];
        },
        onConnect(_session, sock) {
          const { read } = sock;
          // The server lingers only after the pending read has ended.
          sock.read = async (into) => {
            assertEquals(++pending, 1);
            const count = await read.call(sock, into);
            pending--;
            return count;
          };
          return true;
        },
      }, `PUT / HTTP/1.1\r\n${framing}\r\n\r\n${chunked ? "61a80\r\n" : ""}`);
      const { peer } = meeting;
      assertEquals(
        await peer.readPreamble(),
        "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
      );
      // The server is lingering now, and drops all of this.
      await peer.send(encodeLatin1("x".repeat(400_000)), chunked ? "\r\n0\r\n\r\n" : "");
      await peer.closeWrite();
      assertEquals((await peer.readToEnd()).received, "");
      const error = await withTimeout(failed.promise, "the read rejects");
      assertInstanceOf(error, BodyError);
      assert(error.message.includes("413"), error.message);
    });
  });
}

Deno.test("a body that is first read after its error was answered is a BodyError", async () => {
  let kept: Request["body"] = null;
  await using meeting = await connectRawPeer(({ body }) => {
    kept = body;
    return [404, "Not Found", {}, null];
  }, put);
  await meeting.peer.closeWrite();
  await meeting.peer.readToEnd();
  const error = await catchRejection(kept!.read(), "the read");
  assertInstanceOf(error, BodyError);
  assertInstanceOf(error.cause, BodyError);
});

const GONE = "the peer closed the connection before the first byte of a message";
const EXPECTS = "PUT / HTTP/1.1\r\nexpect: 100-continue\r\n";
const mistake = new Error("wrong");

/** How sessions end, and the log lines; time-outs are in logging_test.ts. */
const ends: readonly {
  readonly what: string;
  readonly level: Level;
  readonly message: RegExp;
  /** The log line, if it differs from the session's message. */
  readonly line?: string;
  readonly sent?: string;
  readonly answer?: () => ResponseTuple;
  readonly accepts?: boolean;
  readonly then?: (meeting: ServedRawPeer) => unknown;
}[] = [
  {
    what: "the last response",
    level: "debug",
    message: /^a response with status 500$/,
    line: "ended after a response with status 500",
    answer: () => [500, "Internal Server Error", {}, null],
  },
  {
    what: "connection: close",
    level: "debug",
    message: /^a response with connection: close \(status 200\)$/,
    line: "ended after a response with connection: close (status 200)",
    answer: () => [200, "OK", { connection: "close" }, null],
  },
  { what: "onConnect", level: "info", message: /^refused by onConnect$/, accepts: false },
  {
    what: "the server",
    level: "debug",
    message: /^closed by the server$/,
    then: async ({ peer, serving }) => {
      await peer.readPreamble();
      serving.server.close();
    },
  },
  {
    what: "the peer, between two requests",
    level: "debug",
    message: new RegExp(`^EmptyPreambleError: ${GONE}$`),
    line: `ended: ${GONE}`,
    then: ({ peer }) => peer.closeWrite(),
  },
  {
    what: "a peer that closes instead of reading",
    level: "debug",
    message: /^(ConnectionReset|BrokenPipe): /,
    answer: () => [200, "OK", {}, new Uint8Array(8 * 1048576)],
    then: async ({ peer }) => {
      await peer.readExactly(100);
      peer.close();
    },
  },
  {
    what: "bytes that break a rule, however the peer waits",
    level: "info",
    message: /^ProtocolError: /,
    sent: `${EXPECTS}transfer-encoding: chunked\r\n\r\nzz\r\n`,
  },
  {
    what: "an exception of the app",
    level: "error",
    message: /^an error of the app: Error: wrong$/,
    line: `an error of the app: ${mistake.stack}\n    for GET "/a?b"`,
    sent: "GET /a?b HTTP/1.1\r\n\r\n",
    answer: () => {
      throw mistake;
    },
  },
];

for (const { what, level, message, line, sent = get, answer, accepts = true, then } of ends) {
  Deno.test(`a session that ends by ${what} is logged once, at level ${level}`, async () => {
    await using meeting = await connectRawPeer({
      onConnect: () => accepts,
      handle: async ({ body }) => {
        await body?.bytes();
        return answer?.() ?? [200, "OK", {}, null];
      },
    }, sent);
    await then?.(meeting);
    const { session, logger } = meeting;
    const [logged] = await logger.waitFor(level);
    assertMatch(`${session.message}`, message);
    assertEquals(logger.lines, [[level, `${session}: ${line ?? session.message}`]]);
    assert(!logged!.includes("expect:"), logged);
  });
}

// ───────────────────────── peers that break off, flood or stall: others are not affected, and nothing is left behind

const CHUNKED = "transfer-encoding: chunked\r\n\r\n";

const reader: App = async ({ body, uri }) => {
  const bytes = await body?.bytes();
  return [200, "OK", {}, uri === "/echo" && bytes !== undefined ? bytes : null];
};

/** Asserts that another client is served now. */
async function assertServes(serving: Serving): Promise<void> {
  const asking = serving.makeClient().request("GET", "/");
  const { status, body } = await withTimeout(asking, "others are served");
  await body?.read();
  assertEquals(status, 200);
  assertEquals(serving.logger.messagesOf("error"), []);
}

Deno.test("a server survives a peer that resets at any byte of an exchange instead of reading", async () => {
  await using serving = serve(reader, { maxConnections: 3 });
  const request = "PUT /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
  const stream = request + request + get;
  for (let at = 0; at < stream.length; at++) {
    const peer = await RawPeer.connect(serving.address);
    await peer.send(stream.slice(0, at));
    // Closing with bytes unread, as soon as an answer has come, is a reset.
    if (at >= request.length) await peer.readExactly(1);
    peer.close();
  }
  await assertServes(serving);
});

Deno.test("a flood of pipelined requests is answered in order while it is read", async () => {
  let count = 0;
  await using serving = serve(() => [200, "OK", { number: `${count++}` }, null], {
    maxRequests: Infinity,
  });
  using peer = await RawPeer.connect(serving.address);
  const total = 4000;
  const sending = peer.send(get.repeat(total)).then(() => peer.closeWrite());
  const { received } = await peer.readToEnd();
  await sending;
  const numbers = [...received.matchAll(/number: (\d+)\r\n/g)].map(([, number]) => Number(number));
  assertEquals(numbers.length, total);
  assert(numbers.every((number, i) => number === i), "the answers are out of order");
  await assertServes(serving);
});

Deno.test("a flood of requests stops being read if its responses are not read", async () => {
  let calls = 0;
  await using serving = serve(() => {
    calls++;
    return [200, "OK", {}, new Uint8Array(100_000)];
  }, { maxRequests: Infinity });
  using peer = await RawPeer.connect(serving.address);
  const flood = peer.send(get.repeat(20_000)).catch(() => {});
  // Sending stops once all buffers are full: no call for a while.
  let before = -1;
  for (let i = 0; i < 200 && before !== calls; i++) {
    before = calls;
    for (let turn = 0; turn < 20; turn++) await waitForTick();
  }
  assert(calls < 1000, `${calls} answers were made for a peer that reads none`);
  await assertServes(serving);
  peer.close();
  await flood;
});

Deno.test("a peer that disappears while an app streams ends the stream, and releases the slot", async () => {
  let returned = 0;
  const gone = Promise.withResolvers<void>();
  async function* endless() {
    try {
      for (;;) {
        yield new Uint8Array(65536);
        await waitForTick();
      }
    } finally {
      if (++returned === 5) gone.resolve();
    }
  }
  await using serving = serve(({ uri }) => {
    if (uri === "/") return [200, "OK", {}, null];
    return [200, "OK", {}, new BodyIter(endless(), 2 ** 40)];
  }, { maxConnections: 1 });
  for (let i = 0; i < 5; i++) {
    const peer = await RawPeer.connect(serving.address);
    await peer.send("GET /stream HTTP/1.1\r\n\r\n");
    await peer.readExactly(200_000);
    peer.close();
  }
  await withTimeout(gone.promise, "every stream is given up");
  await assertServes(serving);
});

Deno.test("tiny chunks, endless extensions and huge chunk sizes cost their sender more than the server", async (t) => {
  const begin = `PUT / HTTP/1.1\r\n${CHUNKED}`;
  await t.step("tiny chunks are read", async () => {
    await using meeting = await connectRawPeer(
      reader,
      `${begin}${"1\r\nx\r\n".repeat(10_000)}0\r\n\r\n`,
    );
    assertEquals(await meeting.peer.readPreamble(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  });
  await t.step("an endless extension is cut off", async () => {
    await using meeting = await connectRawPeer(reader, `${begin}1;k=`);
    const most = 64 * 1048576;
    const taken = await meeting.peer.sendUntilRefused(encodeLatin1("v".repeat(65536)), most);
    assert(taken < most, "it was read on and on");
    await meeting.logger.waitFor("info");
    await assertServes(meeting.serving);
  });
});

Deno.test("a body that is announced and never sent takes no memory, and occupies only its slot", async () => {
  for (const framing of ["content-length: 16777216\r\n\r\nx", `${CHUNKED}1000000\r\nx`]) {
    await using serving = serve(reader);
    const before = Deno.memoryUsage().external;
    const peers = [];
    for (let i = 0; i < 20; i++) {
      const peer = await RawPeer.connect(serving.address);
      peers.push(peer);
      await peer.send(`PUT / HTTP/1.1\r\n${framing}`);
    }
    await assertServes(serving);
    assert(Deno.memoryUsage().external - before < 100 * 1048576);
    for (const peer of peers) peer.close();
  }
});
