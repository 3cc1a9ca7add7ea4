/** Transient errors, retries after them, and repeat(). */
import { toConnectionError } from "@degu/internal/net/transport/connection_errors.ts";
import { assertEquals, assertInstanceOf, assertRejects, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  Body,
  BodyError,
  ConnectionClosedError,
  DeguError,
  EmptyPreambleError,
  ProtocolError,
  Response,
  TlsError,
} from "@degu/degu/base";
import {
  Client,
  ConnectionError,
  ConnectionPool,
  isTransient,
  retry,
  type RetryEvent,
  type RetryOptions,
  StatusError,
} from "@degu/degu/client";
import { connect } from "./connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { RawServer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { repeat } from "@degu/degu";

const socketError = (error: Error) => toConnectionError(error) as Error;
const makeLostError = () => socketError(new Deno.errors.ConnectionReset("lost"));

/** Runs pending microtasks, and advances the fake time. */
async function passTime(time: FakeTime, milliseconds: number): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
  time.tick(milliseconds);
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** Retries a call that fails `failures` times; returns its result and its waits. */
async function runFailingCall(
  failures: number,
  options: RetryOptions = {},
  makeError: () => unknown = makeLostError,
) {
  using time = new FakeTime();
  const waits: number[] = [];
  let remainingFailures = failures;
  const result = retry(
    () => remainingFailures-- > 0 ? Promise.reject(makeError()) : Promise.resolve("done"),
    { ...options, onRetry: ({ seconds }) => waits.push(seconds) },
  ).catch((error) => error.message);
  for (let i = 0; i < 10; i++) await passTime(time, 60_000);
  return [await result, waits];
}

Deno.test("a call is retried three times, with doubling delays", async () => {
  assertEquals(await runFailingCall(0), ["done", []]);
  assertEquals(await runFailingCall(3), ["done", [1, 2, 4]]);
  assertEquals(await runFailingCall(4), ["lost", [1, 2, 4]]);
  assertEquals(await runFailingCall(1, { retries: 0 }), ["lost", []]);
  assertEquals(await runFailingCall(2, { seconds: 40 }), ["done", [40, 60]]);
  assertEquals(await runFailingCall(5, { retries: Infinity }), ["done", [1, 2, 4, 8, 16]]);
  assertEquals(await runFailingCall(1, {}, () => new Deno.errors.NotFound("none")), ["none", []]);
});

Deno.test("progress counts if it exceeds that of all earlier attempts", async () => {
  const rows: [string, number[], number][] = [
    ["each attempt ends at the same offset", Array(9).fill(5), 4],
    ["each attempt makes less progress", [9, 8, 7, 6, 5], 4],
    ["the second attempt gets the first byte", [0, ...Array(8).fill(1)], 5],
    ["the third attempt makes progress", [5, 5, ...Array(7).fill(6)], 6],
  ];
  for (const [name, positions, expected] of rows) {
    let callCount = 0;
    const retried = retry((onMoved) => {
      onMoved({ done: positions[callCount++]! });
      return Promise.reject(makeLostError());
    }, { seconds: 0 });
    await assertRejects(() => retried, ConnectionError);
    assertEquals(callCount, expected, name);
  }
});

Deno.test("a close after the time in docs/cookbook.md is retried like any error", async () => {
  const seconds = await readStatedNumber(
    "docs/cookbook.md",
    /twice in a row, each time within ([\d.]+) s/,
  );
  for (
    const [milliseconds, expected] of [[seconds * 1000 - 0.01, 2], [seconds * 1000, 4]] as const
  ) {
    let [callCount, clock] = [0, 0];
    using _clock = patch(performance, "now", () => () => clock);
    const retried = retry(() => {
      callCount++;
      clock += milliseconds;
      return Promise.reject(new EmptyPreambleError());
    }, { seconds: 0 });
    await assertRejects(() => retried, EmptyPreambleError);
    assertEquals(callCount, expected, `${milliseconds} ms`);
  }
});

Deno.test("two early closes in a row end the retries, unless progress or another error separates them", async () => {
  const makeHangUpError = () => new EmptyPreambleError();
  const rows: [string, (call: number, onMoved: () => void) => unknown, number][] = [
    ["each time", makeHangUpError, 2],
    ["every other time", (call) => call % 2 === 1 ? makeHangUpError() : makeLostError(), 4],
    ["with progress between them", (call, onMoved) => {
      if (call < 4) onMoved();
      return makeHangUpError();
    }, 4],
  ];
  for (const [name, makeFailure, expected] of rows) {
    let callCount = 0;
    const retried = retry((onMoved) => Promise.reject(makeFailure(++callCount, onMoved)), {
      seconds: 0,
    });
    await assertRejects(() => retried);
    assertEquals(callCount, expected, name);
  }
});

Deno.test("a signal ends the wait and the calls", async () => {
  using time = new FakeTime();
  const controller = new AbortController();
  const { signal } = controller;
  let callCount = 0;
  const attempt = () => {
    callCount++;
    return Promise.reject(makeLostError());
  };
  const result = retry(attempt, { signal }).catch((error) => error.message);
  await passTime(time, 500);
  controller.abort(new Error("stop"));
  assertEquals([await result, callCount], ["stop", 1]);
  await assertRejects(() => retry(attempt, { signal }), Error, "stop");
  assertEquals(callCount, 1);
  // onRetry can also abort the signal.
  const ownController = new AbortController();
  const onRetry = () => ownController.abort(new Error("own"));
  const retried = retry(attempt, { seconds: 60, signal: ownController.signal, onRetry });
  await assertRejects(() => retried, Error, "own");
});

Deno.test("retry() checks its arguments", async () => {
  const attempt = () => Promise.resolve();
  type Row = [options: object, Class: typeof TypeError | typeof RangeError, problem: string];
  const rows: Row[] = [
    [{ retries: "3" }, TypeError, "retries: must be "],
    [{ signal: {} }, TypeError, "signal: must be "],
    [{ onRetry: 1 }, TypeError, "onRetry: must be "],
    [{ delay: 2 }, TypeError, "options: "],
    [{ retries: -1 }, RangeError, "retries: must be "],
    [{ retries: 1.5 }, RangeError, "retries: must be "],
    [{ seconds: 60.1 }, RangeError, "seconds: must be "],
    [{ seconds: -1 }, RangeError, "seconds: must be "],
  ];
  for (const [options, Class, problem] of rows) {
    await assertRejects(() => retry(attempt, options as RetryOptions), Class, problem);
  }
  const missingAttempt = null as unknown as typeof attempt;
  await assertRejects(() => retry(missingAttempt), TypeError, "attempt: must be ");
});

Deno.test("retries may be Infinity, and a retryAfter that is not a number is ignored", async () => {
  class BusyError extends DeguError {
    readonly status = 503;
    readonly retryAfter = "5" as never;
  }
  const waits: number[] = [];
  let callCount = 0;
  const attempt = () =>
    ++callCount > 1500 ? Promise.resolve("done") : Promise.reject(new BusyError());
  const onRetry = ({ seconds }: RetryEvent) => void waits.push(seconds);
  const options = { retries: Infinity, seconds: 0, onRetry };
  const callAtOnce = (call: () => void) => void queueMicrotask(call);
  using _atOnce = patch(globalThis, "setTimeout", () => callAtOnce as unknown as typeof setTimeout);
  assertEquals(await retry(attempt, options), "done");
  assertEquals([callCount, waits.every((seconds) => seconds === 0)], [1501, true]);
});

/** An app's own error with a status. */
class OwnError extends DeguError {
  constructor(readonly status: number) {
    super();
  }
}
const makeStatus = (status: number) => new StatusError({ message: "", status, method: "GET" });

Deno.test("network errors are transient, and refusals of the other device are not", () => {
  const { ConnectionRefused, ConnectionReset, BrokenPipe, TimedOut, UnexpectedEof } = Deno.errors;
  const { NotFound, PermissionDenied, NotCapable } = Deno.errors;
  const makeErrors = () => [
    ...[ConnectionRefused, ConnectionReset, BrokenPipe, TimedOut, UnexpectedEof].map((Class) =>
      new Class()
    ),
    Object.assign(new Error(), { code: "EHOSTUNREACH" }),
  ];
  const transientErrors = [
    ...makeErrors().map(socketError),
    new EmptyPreambleError(),
    new DOMException("", "TimeoutError"),
    new ConnectionError("", { fault: "broken" }),
    new TlsError("CLOSED", ""),
    ...[408, 429, 502, 503, 504].flatMap((code) => [makeStatus(code), new OwnError(code)]),
  ];
  const finalErrors = [
    // A disk of another machine has errors of the same classes and codes.
    ...makeErrors(),
    ...[301, 400, 401, 403, 404, 405, 409, 412, 413, 500, 507].flatMap((code) => [
      makeStatus(code),
      new OwnError(code),
    ]),
    new DeguError(),
    new ConnectionClosedError("", "CLOSED"),
    new ConnectionClosedError("", "REFUSED"),
    new TlsError("UNTRUSTED", ""),
    new TlsError("REFUSED_BY_PEER", ""),
    new ProtocolError("BAD_HEADER_NAME", ""),
    ...[NotFound, PermissionDenied, NotCapable].map((Class) => new Class()),
    Object.assign(new Error(), { code: "ENOSPC" }),
    new TypeError(),
    new DOMException("", "AbortError"),
    "text",
    null,
    undefined,
  ];
  for (const error of transientErrors) assertEquals(isTransient(error), true, Deno.inspect(error));
  for (const error of finalErrors) assertEquals(isTransient(error), false, Deno.inspect(error));
});

for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"] as const) {
  const isSafe = method === "GET" || method === "HEAD";
  Deno.test(`a close without a response to ${method} is ${isSafe ? "" : "not "}transient`, async () => {
    const body = method === "PUT" || method === "POST" ? "hello" : null;
    for (const response of ["", "HTTP/1.1 200"]) {
      for (const bytesRead of ["all", "some"]) {
        using connected = await connect();
        const requestFailure = catchRejection(
          connected.conn.request(method, "/", {}, body),
          "a request without an answer",
        );
        if (bytesRead === "all") await connected.peer.readPreamble();
        else await connected.peer.conn.read(new Uint8Array(1));
        if (response !== "") await connected.peer.send(response);
        connected.peer.close();
        assertEquals(isTransient(await requestFailure), isSafe, `${response}, ${bytesRead} read`);
      }
    }
  });
}

Deno.test("a time-out of a PUT is transient, and so is the reason of AbortSignal.timeout()", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 0.02 });
  assertEquals(
    isTransient(await catchRejection(client.request("PUT", "/"), "a late answer")),
    true,
  );
  const clientWithoutTimeout = new Client(server.address);
  let callCount = 0;
  const requestWithTimeout = () => {
    callCount++;
    const options = { signal: AbortSignal.timeout(5) };
    return clientWithoutTimeout.request("GET", "/", {}, null, options);
  };
  await assertRejects(() => retry(requestWithTimeout, { retries: 2, seconds: 0 }), DOMException);
  assertEquals(callCount, 3);
});

/** Retries a request to a server that responds with `statuses` and repeats the last of them. */
async function retryRequest(
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE",
  statuses: readonly number[],
  options: RetryOptions = {},
) {
  let requestCount = 0;
  await using serving = serve(() => {
    const status = statuses[Math.min(requestCount++, statuses.length - 1)]!;
    return [status, "xx", {}, status === 204 ? null : `body ${requestCount}`];
  });
  // Retried responses must be discarded, or the next request would wait forever.
  await using pool = new ConnectionPool(serving.makeClient(), { maxConnections: 1 });
  const response = await retry(() => pool.request(method, "/"), {
    seconds: 0,
    ...options,
  });
  return [response.status, await response.text(), requestCount];
}

Deno.test("a response of a busy server is retried, and the last response is returned unchanged", async (t) => {
  const rows: [status: number, methods: string][] = [
    ...[408, 502, 504].map((status): [number, string] => [status, "GET HEAD"]),
    ...[429, 503].map((status): [number, string] => [status, "GET HEAD PUT POST DELETE"]),
    ...[301, 400, 404, 412, 500, 507].map((status): [number, string] => [status, ""]),
  ];
  for (const [status, methods] of rows) {
    await t.step(`${status}`, async () => {
      for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"] as const) {
        const isRetried = methods.split(" ").includes(method);
        const formatExpectedText = (n: number) => method === "HEAD" ? "" : `body ${n}`;
        assertEquals(
          await retryRequest(method, [status, 200]),
          isRetried ? [200, formatExpectedText(2), 2] : [status, formatExpectedText(1), 1],
          method,
        );
      }
    });
  }
  assertEquals(await retryRequest("GET", [503]), [503, "body 4", 4]);
  assertEquals(await retryRequest("GET", [503], { retries: 0 }), [503, "body 1", 1]);
});

Deno.test("when() decides about every error, and gets a response as a StatusError", async () => {
  const checkedErrors: unknown[] = [];
  const decide = (error: unknown) => {
    checkedErrors.push(error);
    return error instanceof StatusError && error.status === 404;
  };
  assertEquals(await retryRequest("POST", [404, 404, 503], { when: decide }), [503, "body 3", 3]);
  assertEquals(
    checkedErrors.map((error) =>
      error instanceof StatusError && [error.status, error.method, error.text]
    ),
    [[404, "POST", ""], [404, "POST", ""], [503, "POST", ""]],
  );
  assertEquals(await retryRequest("GET", [204], { when: () => true }), [204, "", 1]);
  const ownError = new Error("own");
  let callCount = 0;
  const attempt = () => ++callCount < 3 ? Promise.reject(ownError) : Promise.resolve("done");
  assertEquals(await retry(attempt, { seconds: 0, when: (error) => error === ownError }), "done");
  const isTruthy = (() => 1) as unknown as () => boolean;
  await assertRejects(
    () => retry(() => Promise.reject(ownError), { when: isTruthy }),
    Error,
    "own",
  );
  const invalidOptions = { when: true } as unknown as RetryOptions;
  await assertRejects(() => retry(attempt, invalidOptions), TypeError, "when: must be a function");
});

Deno.test("retry() waits for the retry-after of a response, and reports the wait", async () => {
  using time = new FakeTime();
  let requestCount = 0;
  const retryEvents: [unknown, number][] = [];
  const onRetry = ({ error, seconds }: RetryEvent) => void retryEvents.push([error, seconds]);
  const call = () => {
    const status = requestCount++ === 0 ? 503 : 200;
    return Promise.resolve(new Response(status, "xx", { "retry-after": "7" }, null));
  };
  const result = retry(call, { onRetry });
  await passTime(time, 6999);
  assertEquals(requestCount, 1);
  await passTime(time, 1);
  assertEquals((await result).status, 200);
  assertEquals(retryEvents.map(([error, seconds]) => [(error as StatusError).status, seconds]), [[
    503,
    7,
  ]]);
});

Deno.test("isTransient() ignores a cause, and an error of an app is transient if its isTransient is true", () => {
  assertEquals(isTransient(new Error("wrapped", { cause: makeLostError() })), false);
  assertEquals(isTransient(new DeguError("wrapped", { cause: makeLostError() })), false);
  const rows = [[true, true], [false, false], ["true", false], [() => true, false]] as const;
  for (const [value, expected] of rows) {
    assertEquals(isTransient(Object.assign(new Error("own"), { isTransient: value })), expected);
  }
  assertEquals(isTransient(new DeguError("own", { isTransient: true })), true);
});

Deno.test("a body made before the attempts is sent once: the error has advice, and the first error as cause", async () => {
  const client = new Client(["127.0.0.1", 1]); // an unused port
  const makeBody = () => new Body(new Blob(["abc"]).stream(), 3);
  const body = makeBody();
  const retryWithUsedBody = () =>
    retry(() => client.put("/", {}, body), { retries: 1, seconds: 0 });
  const error = await assertRejects(
    retryWithUsedBody,
    BodyError,
    "make a new one for each message",
  );
  assertEquals(error.problem, "body: was canceled or disposed of");
  assertInstanceOf(error.cause, ConnectionError);
  assertEquals(error.cause.fault, "refused");
  const retryWithNewBodies = () =>
    retry(() => client.put("/", {}, makeBody()), { retries: 1, seconds: 0 });
  const { fault } = await assertRejects(retryWithNewBodies, ConnectionError);
  assertEquals(fault, "refused");
});

Deno.test("retry makes a call that isn't async, and awaits an async onRetry", async () => {
  let callCount = 0;
  const attempt = () => {
    if (++callCount === 1) throw makeLostError();
    return callCount;
  };
  const events: number[] = [];
  const onRetry = async ({ number }: { readonly number: number }) => {
    await Promise.resolve();
    events.push(number, callCount);
  };
  assertEquals(await retry(attempt, { seconds: 0, onRetry }), 2);
  assertEquals(events, [1, 1]);
  const failing = () =>
    retry(() => Promise.reject(makeLostError()), {
      seconds: 0,
      onRetry: () => Promise.reject(new Error("enough")),
    });
  await assertRejects(failing, Error, "enough");
});

// ───────────────────────── repeat()

/** Runs an action for some seconds; resolves to the times of its runs, and the calls of onError. */
async function runFor(
  total: number,
  step: number,
  seconds: number,
  action: (run: number) => unknown,
) {
  using time = new FakeTime();
  const ending = new AbortController();
  const start = Date.now();
  const runs: number[] = [];
  const waits: number[] = [];
  const repeating = repeat(() => {
    runs.push((Date.now() - start) / 1000);
    return action(runs.length) as Promise<unknown>;
  }, { seconds, signal: ending.signal, onError: (_error, wait) => waits.push(wait) });
  for (let passedSeconds = 0; passedSeconds < total; passedSeconds += step) {
    await passTime(time, step * 1000);
  }
  ending.abort();
  await repeating;
  return { runs, waits };
}

Deno.test("repeat runs an action at once, and again the given seconds after its end", async () => {
  const { runs, waits } = await runFor(35, 1, 10, () => Promise.resolve());
  assertEquals([runs, waits], [[0, 10, 20, 30], []]);
});

Deno.test("after consecutive errors the waits double up to ten times the first wait, and a success resets them", async () => {
  const { runs, waits } = await runFor(160, 1, 2, (run) => {
    return run === 7 ? Promise.resolve() : Promise.reject(new Error("off"));
  });
  assertEquals(waits.slice(0, 9), [2, 4, 8, 16, 20, 20, 2, 4, 8]);
  assertEquals(runs.slice(0, 9), [0, 2, 6, 14, 30, 50, 70, 72, 74]);
});

Deno.test("after an error the wait is at least a second", async () => {
  const { waits } = await runFor(6, 0.5, 0.1, () => Promise.reject(new Error("off")));
  assertEquals(waits.slice(0, 6), [1, 1, 1, 1, 1, 1]);
});

Deno.test("an abort ends the pause at once, and the error of an aborted run is ignored", async () => {
  const ending = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  const pausing = repeat(() => Promise.resolve(resolve()), { seconds: 1e6, signal: ending.signal });
  await promise;
  ending.abort();
  await pausing;

  const inRun = new AbortController();
  await repeat((signal) => {
    assertStrictEquals(signal, inRun.signal);
    inRun.abort();
    return Promise.reject(signal.reason);
  }, { seconds: 1, signal: inRun.signal, onError: () => inRun.abort() });
  await repeat(() => Promise.reject(new Error("never")), { seconds: 1, signal: inRun.signal });
});

Deno.test("repeat rejects with an error of onError", async () => {
  const { signal } = new AbortController();
  const onError = () => {
    throw new Error("full");
  };
  const repeating = repeat(() => Promise.reject(new Error("off")), { seconds: 1, signal, onError });
  await assertRejects(() => repeating, Error, "full");
});

Deno.test("a failed run that lasts longer than a minute and the longest wait resets the count", async () => {
  for (const [seconds, runMilliseconds] of [[2, 60_000], [8, 80_000]] as const) {
    let clock = 0;
    using _ = patch(performance, "now", () => () => clock);
    const { waits } = await runFor(30 * seconds, 1, seconds, (run) => {
      clock += run === 4 ? runMilliseconds + 1 : run === 5 ? runMilliseconds : 1;
      return Promise.reject(new Error("off"));
    });
    assertEquals(waits.slice(0, 7).map((wait) => wait / seconds), [1, 2, 4, 1, 2, 4, 8]);
  }
});

Deno.test("the waits grow while each run consists of seconds of retries", async () => {
  let clock = 0;
  using _ = patch(performance, "now", () => () => clock);
  const { waits } = await runFor(100, 1, 1, () => {
    clock += 7000;
    return Promise.reject(new Error("off"));
  });
  assertEquals(waits.slice(0, 6), [1, 2, 4, 8, 10, 10]);
});

Deno.test("without onError a line on stderr has the error and the seconds, and the stack of an error that is not transient", async () => {
  const { warn } = console;
  const lines: unknown[] = [];
  let ending = new AbortController();
  console.warn = (line) => {
    lines.push(line);
    ending.abort();
  };
  const errors = [
    new DeguError("off"),
    new EmptyPreambleError(),
    new Deno.errors.ConnectionRefused("off"),
    new DOMException("off", "TimeoutError"),
    new TypeError("off"),
    new Error("off"),
    Object.assign(new Error("off"), { code: Symbol("off") }),
  ];
  try {
    for (const error of errors) {
      ending = new AbortController();
      await repeat(() => Promise.reject(error), { seconds: 3, signal: ending.signal });
    }
  } finally {
    console.warn = warn;
  }
  const texts = errors.map((error, i) => i < 4 ? `${error.name}: ${error.message}` : error.stack);
  assertEquals(lines, texts.map((text) => `${text}; next run in 3 s`));
});

Deno.test("repeat refuses wrong arguments", async () => {
  const { signal } = new AbortController();
  const rows: [unknown, unknown, typeof TypeError | typeof RangeError][] = [
    [5, { seconds: 1, signal }, TypeError],
    [() => {}, { seconds: 1 }, TypeError],
    [() => {}, { seconds: 1, signal, every: 1 }, TypeError],
    [() => {}, { seconds: 0, signal }, RangeError],
  ];
  for (const [action, options, kind] of rows) {
    const repeating = repeat(
      action as () => Promise<void>,
      options as Parameters<typeof repeat>[1],
    );
    const label = Deno.inspect(options);
    assertInstanceOf(await catchRejection(repeating, label), kind, label);
  }
});

Deno.test("repeat runs an action that isn't async, and awaits an async onError", async () => {
  const ending = new AbortController();
  const events: string[] = [];
  const repeating = repeat(() => {
    events.push("run");
    throw new Error("sync");
  }, {
    seconds: 0.001,
    signal: ending.signal,
    onError: async () => {
      await Promise.resolve();
      events.push("error");
      ending.abort();
    },
  });
  await repeating;
  assertEquals(events, ["run", "error"]);
  const failing = repeat(() => Promise.reject(new Error("first")), {
    seconds: 1,
    signal: new AbortController().signal,
    onError: () => Promise.reject(new Error("second")),
  });
  await assertRejects(() => failing, Error, "second");
});
