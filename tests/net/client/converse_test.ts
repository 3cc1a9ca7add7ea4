/** Conversations whose lines outlive their connections. */
import { Client, converse, type ConverseOptions, StatusError } from "@degu/degu/client";
import { DeguError, linesOf, makeLineBody } from "@degu/degu/base";
import { type App, reply } from "@degu/degu";
import { RawServer, withTimeout } from "@degu/testing/raw_peer.ts";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
} from "@std/assert";

/** Makes an app that answers lines by a generator. */
function makeTalkApp(talk: (lines: AsyncIterable<string>) => AsyncIterable<string>): App {
  return (request) => {
    async function* lines() {
      for await (const line of linesOf(request)) if (line !== "") yield line;
    }
    return reply(200, makeLineBody(talk(lines())));
  };
}

async function* answerAll(lines: AsyncIterable<string>) {
  for await (const line of lines) yield line.toUpperCase();
}

/** Calls `converse`, and returns the lines with their answers. */
async function collectAnswers(
  client: Client,
  lines: Parameters<typeof converse>[2],
  options: ConverseOptions = {},
): Promise<string[]> {
  const answers: string[] = [];
  const onAnswer = (answer: string, line: string) => void answers.push(`${line} ${answer}`);
  await converse(client, "/", lines, onAnswer, { seconds: 0, ...options });
  return answers;
}

/** A source that reports whether it was canceled. */
function makeSource(lines: readonly string[]) {
  const canceled = Promise.withResolvers<void>();
  const waiting = [...lines];
  let pullCount = 0;
  const readable = new ReadableStream<string>({
    async pull(controller) {
      pullCount++;
      if (waiting.length > 0) controller.enqueue(waiting.shift()!);
      else await new Promise(() => {});
    },
    cancel: () => canceled.resolve(),
  }, { highWaterMark: 0 });
  return { readable, canceled: canceled.promise, getPullCount: () => pullCount };
}

Deno.test("each line gets its answer, also if the server ends the response or the connection at any line", async (t) => {
  const letters = [..."abcdefgh"];
  const expected = letters.map((letter) => `${letter} ${letter.toUpperCase()}`);
  for (const end of ["returns", "throws"] as const) {
    for (const answerCount of [1, 2, 3, 8]) {
      await t.step(`the app ${end} after ${answerCount} answers`, async () => {
        const received: string[] = [];
        const app = makeTalkApp(async function* (lines) {
          let count = 0;
          for await (const line of lines) {
            received.push(line);
            if (count++ === answerCount) {
              if (end === "throws") throw new Error("the app has failed");
              return;
            }
            yield line.toUpperCase();
          }
        });
        await using serving = serve(app);
        const lines = ReadableStream.from(letters);
        assertEquals(await collectAnswers(serving.makeClient(), lines), expected);
        // No line is skipped, and a line may come twice.
        assertEquals([...new Set(received)], letters);
      });
    }
  }
});

Deno.test("lines of several sources share a conversation, which ends after the last one", async () => {
  await using serving = serve(makeTalkApp(answerAll));
  const { readable, writable } = new TransformStream<string, string>();
  const writer = writable.getWriter();
  const answers: string[] = [];
  const onAnswer = (answer: string, line: string) => {
    answers.push(`${line} ${answer}`);
    if (line === "b") void writer.write("pushed").then(() => writer.close());
  };
  const sources = [ReadableStream.from(["a", "b"]), readable];
  await converse(serving.makeClient(), "/", sources, onAnswer);
  assertEquals(answers, ["a A", "b B", "pushed PUSHED"]);
});

Deno.test("a line that the source has only after the connection has ended is sent by the next request", async () => {
  const { readable, writable } = new TransformStream<string, string>();
  const writer = writable.getWriter();
  let requestCount = 0;
  const secondBegan = Promise.withResolvers<void>();
  const app = makeTalkApp((lines) => {
    if (++requestCount === 2) secondBegan.resolve();
    return requestCount === 1
      ? (async function* () {
        for await (const line of lines) return yield line;
      })()
      : answerAll(lines);
  });
  await using serving = serve(app);
  const answering = collectAnswers(serving.makeClient(), readable);
  await writer.write("a");
  await withTimeout(secondBegan.promise, "a second request");
  await writer.write("b");
  await writer.close();
  assertEquals(await answering, ["a a", "b B"]);
});

Deno.test("a source waits while maxUnanswered lines have no answer", async () => {
  const source = makeSource([..."abcdef"]);
  const app = makeTalkApp(async function* (lines) {
    const unanswered: string[] = [];
    for await (const line of lines) {
      unanswered.push(line);
      if (unanswered.length === 3) yield* unanswered.splice(0);
    }
  });
  await using serving = serve(app);
  const controller = new AbortController();
  const pullCounts: number[] = [];
  const onAnswer = () => {
    if (pullCounts.push(source.getPullCount()) === 6) controller.abort();
  };
  const options = { signal: controller.signal, maxUnanswered: 3 };
  await assertRejects(() =>
    converse(serving.makeClient(), "/", source.readable, onAnswer, options)
  );
  pullCounts.forEach((count, i) => assert(count <= i + 1 + 3, `${count} lines at answer ${i + 1}`));
  assertEquals(pullCounts.length, 6);
});

Deno.test("a signal ends a conversation at once with its reason, and cancels the sources", async () => {
  await using serving = serve(makeTalkApp(answerAll));
  const controller = new AbortController();
  const reason = new Error("enough");
  const sources = [makeSource(["a"]), makeSource([])];
  const lines = sources.map(({ readable }) => readable);
  const talking = converse(serving.makeClient(), "/", lines, () => controller.abort(reason), {
    signal: controller.signal,
  });
  assertStrictEquals(await talking.catch((error) => error), reason);
  for (const { canceled } of sources) await withTimeout(canceled, "the source is canceled");
  // A generator that waits can't be canceled, and no timer waits for it.
  async function* wait() {
    yield "a";
    await new Promise(() => {});
  }
  const onAnswer = () => {
    throw reason;
  };
  const error = await converse(serving.makeClient(), "/", wait(), onAnswer).catch((error) => error);
  assertStrictEquals(error, reason);
});

Deno.test("an error that isn't transient, of a source, of onAnswer or of a line ends a conversation", async (t) => {
  using rejections = recordUnhandledRejections();
  const ownError = Object.assign(new Error("own"), { isTransient: true });
  async function* failingSource() {
    yield "a";
    throw ownError;
  }
  const talkApp = makeTalkApp(answerAll);
  const greedyApp = makeTalkApp(async function* (lines) {
    for await (const line of lines) yield* [line, "one more"];
  });
  const throwOwn = () => {
    throw ownError;
  };
  const source = () => makeSource(["a"]).readable;
  const rows: [
    rule: string,
    app: App,
    lines: AsyncIterable<string>,
    onAnswer: () => unknown,
    expected: unknown,
  ][] = [
    ["a status", () => reply(404), source(), () => {}, StatusError],
    ["a source", talkApp, failingSource(), () => {}, ownError],
    ["onAnswer", talkApp, source(), throwOwn, ownError],
    ["an empty line", talkApp, ReadableStream.from(["a", ""]), () => {}, RangeError],
    ["a line feed", talkApp, ReadableStream.from(["a\nb"]), () => {}, RangeError],
    ["a number", talkApp, ReadableStream.from([5 as never]), () => {}, TypeError],
    ["too many answers", greedyApp, source(), () => {}, DeguError],
  ];
  await testEachRow(t, rows, async (_rule, app, lines, onAnswer, expected) => {
    await using serving = serve(app);
    const error = await converse(serving.makeClient(), "/", lines, onAnswer, { seconds: 0 })
      .then(() => null, (error) => error);
    if (typeof expected === "function") assertInstanceOf(error, expected as typeof Error);
    else assertStrictEquals(error, expected);
  });
  assertEquals(rejections.reasons, []);
});

Deno.test("a request that may have been processed is sent again, and so is one after a 503", async () => {
  using server = new RawServer();
  const answering = collectAnswers(new Client(server.address), ReadableStream.from(["a"]));
  const first = await server.accept();
  await first.readPreamble();
  first.close();
  const second = await server.accept();
  await second.readPreamble();
  await second.send("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
  const third = await server.accept();
  await third.readPreamble();
  await third.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nA\n");
  assertEquals(await answering, ["a A"]);
});

/** Accepts a connection, and reads a request to the end of a line. */
async function acceptRequest(server: RawServer, lastLine: string) {
  const peer = await server.accept();
  await peer.readPreamble();
  await peer.readUntil(`${lastLine}\n`);
  return peer;
}

const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

Deno.test("a conversation ends if its source ends while the server is away", async () => {
  const server = new RawServer();
  const { readable, writable } = new TransformStream<string, string>();
  const writer = writable.getWriter();
  let retryCount = 0;
  // No request of the later attempts is sent.
  const onRetry = () => {
    if (++retryCount === 3) void writer.close().catch(() => {});
  };
  const answering = collectAnswers(new Client(server.address), readable, {
    seconds: 0.01,
    onRetry,
  });
  await writer.write("a");
  const peer = await acceptRequest(server, "a");
  await peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nA\n");
  server[Symbol.dispose]();
  peer.close();
  assertEquals(await withTimeout(answering, "the conversation ends"), ["a A"]);
});

Deno.test("after an answer, connections that are closed at once aren't a refusal", async () => {
  using server = new RawServer();
  const lines = ReadableStream.from(["a", "b"]);
  const answering = collectAnswers(new Client(server.address), lines);
  const first = await acceptRequest(server, "b");
  await first.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nA\n");
  first.close();
  for (let i = 0; i < 4; i++) (await server.accept()).close();
  const last = await acceptRequest(server, "b");
  await last.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nB\n");
  assertEquals(await answering, ["a A", "b B"]);
});

Deno.test("a signal ends a conversation while onAnswer waits", async () => {
  await using serving = serve(makeTalkApp(answerAll));
  const controller = new AbortController();
  const onAnswer = () => {
    queueMicrotask(() => controller.abort());
    return new Promise(() => {});
  };
  const { signal } = controller;
  const lines = makeSource(["a"]).readable;
  const talking = converse(serving.makeClient(), "/", lines, onAnswer, { signal });
  const error = await withTimeout(talking.catch((error) => error), "the conversation ends");
  assertStrictEquals(error, signal.reason);
});

Deno.test("a conversation ends after its last answer, although the response stays open", async () => {
  using server = new RawServer();
  const answering = collectAnswers(new Client(server.address), ReadableStream.from(["a"]));
  const peer = await acceptRequest(server, "a");
  await peer.send(`${CHUNKED}2\r\nA\n\r\n1\r\n\n\r\n`);
  assertEquals(await withTimeout(answering, "the conversation ends"), ["a A"]);
});

Deno.test("an answer without the end of its line is no answer", async () => {
  using server = new RawServer();
  const lines = ReadableStream.from(["a", "b"]);
  const answering = collectAnswers(new Client(server.address), lines);
  const first = await acceptRequest(server, "b");
  await first.send("HTTP/1.1 200 OK\r\n\r\nA\nB par");
  first.close();
  const second = await acceptRequest(server, "b");
  await second.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nB\n");
  assertEquals(await answering, ["a A", "b B"]);
});

Deno.test("an empty line isn't an answer, and doesn't reset the count of retries", async () => {
  let requestCount = 0;
  await using serving = serve((request) => {
    requestCount++;
    return request.text().then(() => reply(200, "\n"));
  });
  const options = { retries: 2 };
  const lines = ReadableStream.from(["a"]);
  await assertRejects(() => collectAnswers(serving.makeClient(), lines, options), DeguError);
  assertEquals(requestCount, 3);
});

Deno.test("an error of canceling a source doesn't replace the error that ended the conversation", async () => {
  await using serving = serve(makeTalkApp(answerAll));
  const ownError = new Error("own");
  const throwOwn = () => {
    throw ownError;
  };
  for (const end of [throwOwn, () => undefined as never]) {
    const iterator: AsyncIterator<string> = {
      next: () => Promise.resolve({ value: "a", done: false }),
      return: end === throwOwn
        ? () => {
          throw new Error("of return");
        }
        : end,
    };
    const lines = { [Symbol.asyncIterator]: () => iterator };
    const talking = converse(serving.makeClient(), "/", lines, throwOwn);
    assertStrictEquals(await talking.catch((error) => error), ownError);
  }
});
