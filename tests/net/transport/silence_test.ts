/** A socket that knows whether its peer answers on another connection. */
import { BodyIter, type Socket } from "@degu/degu/base";
import { Connection, ConnectionError } from "@degu/degu/client";
import { captureIntervals } from "@degu/testing/clock.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { waitForTick } from "@degu/testing/raw_peer.ts";
import { connectionCoreOf } from "@degu/internal/net/client/connection.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

const SECONDS = 8;
const TICKS_PER_SILENCE = 8;
/** A wait may begin just before a tick, so the first silence needs one tick more. */
const FIRST_TICKS = TICKS_PER_SILENCE + 1;

interface Question {
  readonly silentSeconds: number;
  readonly signal: AbortSignal;
  reply(isAnswering: boolean): void;
}

/** Makes a connection over a socket without a peer; a test runs its timer. */
function setUp(timeout: number | null) {
  const intervals = captureIntervals(SECONDS * 1000 / TICKS_PER_SILENCE);
  const questions: Question[] = [];
  const silence: NonNullable<Socket["silence"]> = {
    seconds: SECONDS,
    isAnsweringElsewhere(silentSeconds, signal) {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      questions.push({ silentSeconds, signal, reply: resolve });
      return promise;
    },
  };
  const socket = Object.assign(new RecordingSocket(), { silence });
  const connection = new Connection(socket, {}, undefined, timeout);
  return {
    socket,
    questions,
    connection,
    /** Sends a request, and resolves once the connection waits for the response. */
    async request() {
      const written = socket.waitForWrite();
      const response = connection.get("/");
      response.catch(() => {});
      await written;
      await waitForTick();
      return { response };
    },
    async tick(count: number) {
      for (; count > 0; count--) {
        intervals.tick();
        await waitForTick();
      }
    },
    [Symbol.dispose]() {
      connection.close();
      intervals[Symbol.dispose]();
    },
  };
}

Deno.test("after each silence the socket is asked; a peer that answers nowhere is waited for until the time-out", async () => {
  using test = setUp(2.5 * SECONDS);
  const { response } = await test.request();
  await test.tick(FIRST_TICKS - 1);
  assertEquals(test.questions.length, 0);
  await test.tick(1);
  test.questions[0]!.reply(false);
  await waitForTick();
  await test.tick(TICKS_PER_SILENCE);
  test.questions[1]!.reply(false);
  await waitForTick();
  await test.tick(TICKS_PER_SILENCE / 2 - 1);
  assert(!test.connection.closed);
  await test.tick(1);
  const error = await assertRejects(() => response, ConnectionError);
  const { fault, silentSeconds } = error;
  assertEquals([fault, silentSeconds], ["timed out", 2.5 * SECONDS]);
  assertEquals(test.questions.map(({ silentSeconds }) => silentSeconds), [SECONDS, 2 * SECONDS]);
});

Deno.test("a connection whose peer answers on another one is broken, which is transient", async () => {
  for (const timeout of [90, null]) {
    using test = setUp(timeout);
    const { response } = await test.request();
    await test.tick(FIRST_TICKS);
    test.questions[0]!.reply(true);
    const error = await assertRejects(() => response, ConnectionError);
    const { fault, silentSeconds, isTransient } = error;
    assertEquals([fault, silentSeconds, isTransient], ["broken", SECONDS, true]);
  }
});

Deno.test("a response that arrives while the socket is asked is returned, and the connection stays open", async () => {
  using test = setUp(90);
  const { response } = await test.request();
  await test.tick(FIRST_TICKS);
  test.socket.receive("HTTP/1.1 204 No Content\r\n\r\n");
  assertEquals((await response).status, 204);
  test.questions[0]!.reply(true);
  await waitForTick();
  assert(!test.connection.closed);
});

Deno.test("the socket is asked again only after its answer, and the question ends with the connection", async () => {
  using test = setUp(null);
  const { response } = await test.request();
  await test.tick(FIRST_TICKS + 5 * TICKS_PER_SILENCE);
  const [question] = test.questions;
  assertEquals([test.questions.length, question!.signal.aborted], [1, false]);
  test.connection.close();
  assertEquals(question!.signal.aborted, true);
  await assertRejects(() => response);
});

Deno.test("an idle connection, and a request that waits for its own source, are not silent", async () => {
  using test = setUp(null);
  const { response } = await test.request();
  test.socket.receive("HTTP/1.1 204 No Content\r\n\r\n");
  await response;
  await test.tick(3 * TICKS_PER_SILENCE);
  const { promise, resolve } = Promise.withResolvers<void>();
  async function* source() {
    yield new Uint8Array(1);
    await promise;
  }
  const request = test.connection.put("/", {}, new BodyIter(source(), 1));
  await waitForTick();
  await test.tick(3 * TICKS_PER_SILENCE);
  assertEquals(test.questions.length, 0);
  resolve();
  await waitForTick();
  test.socket.receive("HTTP/1.1 204 No Content\r\n\r\n");
  assertEquals((await request).status, 204);
});

Deno.test("a peer that answers elsewhere isn't lost while its response waits for the rest of the request", async () => {
  using test = setUp(null);
  const { promise, resolve } = Promise.withResolvers<void>();
  async function* source() {
    yield new Uint8Array(1);
    await promise;
    yield new Uint8Array(1);
  }
  const request = test.connection.put("/", {}, new BodyIter(source(), 2));
  await waitForTick();
  test.socket.receive("HTTP/1.1 204 No Content\r\n\r\n");
  await waitForTick();
  await test.tick(FIRST_TICKS);
  test.questions[0]!.reply(true);
  await waitForTick();
  assert(!test.connection.closed);
  resolve();
  assertEquals((await request).status, 204);
});

Deno.test("the time-out of a connection is its own, not that of a silence", () => {
  for (const timeout of [60, null]) {
    using test = setUp(timeout);
    assertEquals(connectionCoreOf(test.connection)!.timeout, timeout);
  }
});

Deno.test("closing a connection doesn't stop the timer that it shares with another one", async () => {
  using test = setUp(null);
  await test.request();
  new Connection(new RecordingSocket(), {}, undefined, SECONDS).close();
  await test.tick(FIRST_TICKS);
  assertEquals(test.questions.length, 1);
});
