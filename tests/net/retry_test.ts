/** Which errors are transient, and retrying after them. */
import { makeStatusError } from "@degu/internal/net/expect_ok.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  Body,
  BodyError,
  ConnectionClosedError,
  DeguError,
  describeArgumentError,
  EmptyPreambleError,
  ProtocolError,
  TlsError,
} from "@degu/degu/base";
import { Client, ConnectionPool, describeConnectionError, Response } from "@degu/degu/client";
import {
  deleteFile,
  isTransient,
  retry,
  type RetryEvent,
  type RetryOptions,
  StatusError,
  TransferError,
  upload,
  uploadTree,
} from "@degu/degu/files";
import { connect } from "@degu/testing/connected.ts";
import { loadCopy } from "@degu/testing/copied_package.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { catchRejection, catchThrown } from "@degu/testing/expectations.ts";
import { patch } from "@degu/testing/patching.ts";
import { RawServer, waitForTick } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { readStatedNumber } from "@degu/testing/stated.ts";

const lost = () => new Deno.errors.ConnectionReset("lost");

/** Runs pending microtasks, and advances the time. */
async function pass(time: FakeTime, milliseconds: number): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
  time.tick(milliseconds);
}

/** Runs a call that fails `failures` times; resolves to its waits, and whether it has succeeded. */
async function run(failures: number, options: RetryOptions = {}, error: () => unknown = lost) {
  using time = new FakeTime();
  const waits: number[] = [];
  let left = failures;
  const result = retry(
    () => left-- > 0 ? Promise.reject(error()) : Promise.resolve("done"),
    { ...options, onRetry: ({ seconds }) => waits.push(seconds) },
  ).catch((error) => error.message);
  for (let i = 0; i < 10; i++) await pass(time, 60_000);
  return [await result, waits];
}

Deno.test("a call is retried three times, with doubling delays", async () => {
  assertEquals(await run(0), ["done", []]);
  assertEquals(await run(3), ["done", [1, 2, 4]]);
  assertEquals(await run(4), ["lost", [1, 2, 4]]);
  assertEquals(await run(1, { retries: 0 }), ["lost", []]);
  assertEquals(await run(2, { seconds: 40 }), ["done", [40, 60]]);
  assertEquals(await run(1, {}, () => new Deno.errors.NotFound("none")), ["none", []]);
});

Deno.test("without onRetry the retries end, too, and their delays double", async () => {
  using time = new FakeTime();
  const start = Date.now();
  const times: number[] = [];
  const result = retry(() => {
    times.push(Date.now() - start);
    return Promise.reject(lost());
  }).catch((error) => error.message);
  for (let i = 0; i < 20; i++) await pass(time, 500);
  assertEquals([await result, times], ["lost", [0, 1000, 3000, 7000]]);
});

Deno.test("progress counts if it goes beyond all that earlier attempts had reached", async () => {
  const at = (resumedFrom: number, bytes: number) => ({ resumedFrom, bytes });
  const rows: [string, ReturnType<typeof at>[], number][] = [
    ["each attempt ends at the same place", Array(9).fill(at(0, 5)), 4],
    ["each attempt gets less far", [9, 8, 7, 6, 5].map((bytes) => at(0, bytes)), 4],
    ["each attempt continues, and moves nothing", [at(0, 5), ...Array(8).fill(at(5, 0))], 4],
    ["the second attempt gets the first byte", [at(0, 0), ...Array(8).fill(at(0, 1))], 5],
    ["the third one gets further", [at(0, 5), at(5, 0), at(5, 1), ...Array(6).fill(at(0, 6))], 6],
  ];
  for (const [name, reached, expected] of rows) {
    let calls = 0;
    const failed = retry((moved) => {
      moved(reached[calls++]!);
      return Promise.reject(lost());
    }, { seconds: 0 });
    await assertRejects(() => failed, Deno.errors.ConnectionReset);
    assertEquals(calls, expected, name);
  }
});

Deno.test("a peer that hangs up later than docs/files.md says is tried again as after any error", async () => {
  const seconds = await readStatedNumber(
    "docs/files.md",
    /twice in a row, each time within ([\d.]+) s/,
  );
  for (
    const [milliseconds, expected] of [[seconds * 1000 - 0.01, 2], [seconds * 1000, 4]] as const
  ) {
    let [calls, clock] = [0, 0];
    using _clock = patch(performance, "now", () => () => clock);
    const failed = retry(() => {
      calls++;
      clock += milliseconds;
      return Promise.reject(new EmptyPreambleError());
    }, { seconds: 0 });
    await assertRejects(() => failed, EmptyPreambleError);
    assertEquals(calls, expected, `${milliseconds} ms`);
  }
});

Deno.test("two hang-ups at once in a row end the retries, unless something was moved or another error came between", async () => {
  const hangUp = () => new EmptyPreambleError();
  const rows: [string, (call: number, moved: () => void) => unknown, number][] = [
    ["each time", hangUp, 2],
    ["every other time", (call) => call % 2 === 1 ? hangUp() : lost(), 4],
    ["with progress in between", (call, moved) => {
      if (call < 4) moved();
      return hangUp();
    }, 4],
  ];
  for (const [name, failure, expected] of rows) {
    let calls = 0;
    const failed = retry((moved) => Promise.reject(failure(++calls, moved)), { seconds: 0 });
    await assertRejects(() => failed);
    assertEquals(calls, expected, name);
  }
});

Deno.test("attempts are counted from zero after each progress", async () => {
  using time = new FakeTime();
  const numbers: number[] = [];
  let calls = 0;
  const result = retry((moved) => {
    if (++calls === 3) moved();
    return Promise.reject(lost());
  }, { onRetry: ({ number }) => numbers.push(number) }).catch((error) => error.message);
  for (let i = 0; i < 10; i++) await pass(time, 60_000);
  assertEquals([await result, numbers], ["lost", [1, 2, 1, 2, 3]]);
});

Deno.test("a signal ends the wait, and no further call is made", async () => {
  using time = new FakeTime();
  const controller = new AbortController();
  const { signal } = controller;
  let calls = 0;
  const attempt = () => {
    calls++;
    return Promise.reject(lost());
  };
  const result = retry(attempt, { signal }).catch((error) => error.message);
  await pass(time, 500);
  controller.abort(new Error("stop"));
  assertEquals([await result, calls], ["stop", 1]);
  await assertRejects(() => retry(attempt, { signal }), Error, "stop");
  assertEquals(calls, 1);
  // So does one that onRetry itself aborts.
  const own = new AbortController();
  const onRetry = () => own.abort(new Error("own"));
  const ended = retry(attempt, { seconds: 60, signal: own.signal, onRetry });
  await assertRejects(() => ended, Error, "own");
});

Deno.test("arguments are checked", async () => {
  const attempt = () => Promise.resolve();
  const wrong = [{ retries: "3" }, { seconds: null }, { signal: {} }, { onRetry: 1 }, { delay: 2 }];
  for (const options of wrong) {
    const label = "delay" in options ? "options: " : `${Object.keys(options)}: must be `;
    await assertRejects(() => retry(attempt, options as RetryOptions), TypeError, label);
  }
  for (
    const options of [
      { retries: -1 },
      { retries: 1.5 },
      { seconds: 60.1 },
      { seconds: -1 },
      { seconds: NaN },
    ]
  ) {
    await assertRejects(
      () => retry(attempt, options),
      RangeError,
      `${Object.keys(options)}: must be `,
    );
  }
  const none = null as unknown as typeof attempt;
  await assertRejects(() => retry(none), TypeError, "attempt: must be ");
});

Deno.test("retries may be Infinity, and a retryAfter that is no number counts as none", async () => {
  class Late extends DeguError {
    readonly status = 503;
    readonly retryAfter = "soon" as never;
  }
  const waits: number[] = [];
  let calls = 0;
  const attempt = () => ++calls > 1500 ? Promise.resolve("done") : Promise.reject(new Late());
  const onRetry = ({ seconds }: RetryEvent) => void waits.push(seconds);
  const options = { retries: Infinity, seconds: 0, onRetry };
  const atOnce = (call: () => void) => void queueMicrotask(call);
  using _atOnce = patch(globalThis, "setTimeout", () => atOnce as unknown as typeof setTimeout);
  assertEquals(await retry(attempt, options), "done");
  assertEquals([calls, waits.every((seconds) => seconds === 0)], [1501, true]);
});

/** An error of a program for a status. */
class OwnError extends DeguError {
  constructor(readonly status: number) {
    super();
  }
}
const status = (status: number) => makeStatusError({ message: "", status, method: "GET" });

Deno.test("network errors are transient, and decisions of the other device are not", () => {
  const { ConnectionRefused, ConnectionReset, BrokenPipe, TimedOut, UnexpectedEof } = Deno.errors;
  const { NotFound, PermissionDenied, NotCapable } = Deno.errors;
  const network = [ConnectionRefused, ConnectionReset, BrokenPipe, TimedOut, UnexpectedEof];
  const transient = [
    ...network.map((Class) => new Class()),
    Object.assign(new Error(), { code: "EHOSTUNREACH" }),
    new EmptyPreambleError(),
    new DOMException("", "TimeoutError"),
    new ProtocolError("BODY_INCOMPLETE", ""),
    new TlsError("CLOSED", ""),
    ...[408, 429, 502, 503, 504].flatMap((code) => [status(code), new OwnError(code)]),
  ];
  const final = [
    ...[301, 400, 401, 403, 404, 405, 409, 412, 413, 500, 507].flatMap((code) => [
      status(code),
      new OwnError(code),
    ]),
    ...(["CHANGED", "DIGEST_MISMATCH", "IN_USE", "DISK_FULL", "BAD_LIST"] as const).map((code) =>
      new TransferError(code, "")
    ),
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
  for (const error of transient) assertEquals(isTransient(error), true, Deno.inspect(error));
  for (const error of final) assertEquals(isTransient(error), false, Deno.inspect(error));
});

for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"] as const) {
  const isSafe = method === "GET" || method === "HEAD";
  Deno.test(`a peer that hangs up in place of an answer to ${method} is ${isSafe ? "" : "not "}transient`, async () => {
    const body = method === "PUT" || method === "POST" ? "hello" : null;
    for (const answer of ["", "HTTP/1.1 200"]) {
      for (const bytesRead of ["all", "some"]) {
        using ends = await connect();
        const asked = catchRejection(
          ends.conn.request(method, "/", {}, body),
          "a request without an answer",
        );
        if (bytesRead === "all") await ends.peer.readPreamble();
        else await ends.peer.conn.read(new Uint8Array(1));
        if (answer !== "") await ends.peer.send(answer);
        ends.peer.close();
        assertEquals(isTransient(await asked), isSafe, `${answer}, ${bytesRead} read`);
      }
    }
  });
}

Deno.test("a close by the peer before a byte was sent is transient with any method", async () => {
  for (const method of ["GET", "PUT", "POST", "DELETE"] as const) {
    using ends = await connect();
    await ends.peer.closeWrite();
    await waitForTick();
    assertEquals(
      isTransient(
        await catchRejection(ends.conn.request(method, "/", {}, null), "a request after the end"),
      ),
      true,
    );
  }
});

Deno.test("an app that fails half-way in a PUT, POST or DELETE is not asked again", async () => {
  const asked: string[] = [];
  await using serving = serve(({ method }, session) => {
    asked.push(method);
    session.close();
    return [200, "OK", {}, null];
  });
  const client = serving.makeClient();
  for (const method of ["PUT", "POST", "DELETE"] as const) {
    await assertRejects(() => retry(() => client.request(method, "/"), { seconds: 0 }));
  }
  assertEquals(asked, ["PUT", "POST", "DELETE"]);
});

Deno.test("a time-out of a PUT is transient, and so is the reason of AbortSignal.timeout()", async () => {
  using server = new RawServer();
  const client = new Client(server.address, { timeout: 0.02 });
  assertEquals(
    isTransient(await catchRejection(client.request("PUT", "/"), "a late answer")),
    true,
  );
  const patient = new Client(server.address);
  let calls = 0;
  const late = () => {
    calls++;
    const options = { signal: AbortSignal.timeout(5) };
    return patient.request("GET", "/", {}, null, options);
  };
  await assertRejects(() => retry(late, { retries: 2, seconds: 0 }), DOMException);
  assertEquals(calls, 3);
});

Deno.test("uploads may be repeated: a peer that hangs up in their place is transient", async (t) => {
  await using dir = await createTempDir();
  await Deno.writeTextFile(`${dir.path}/a`, "hello");
  await using serving = serve((request, session) => {
    const found = { "upload-offset": "0", "file-stamp": "5,2020-02-29T12:34:56.789Z" };
    if (request.method === "HEAD") return [200, "OK", found, null];
    if (request.method === "GET") return [404, "Not Found", {}, ""];
    session.close();
    return [200, "OK", {}, null];
  });
  const client = serving.makeClient();
  const rows: [string, () => Promise<unknown>, boolean][] = [
    ["upload", () => upload(client, `${dir.path}/a`, "/a"), true],
    ["uploadTree", () => uploadTree(client, dir.path, "/"), true],
    ["deleteFile", () => deleteFile(client, "/a"), false],
  ];
  await testEachRow(t, rows, async (_name, call, expected) => {
    assertEquals(
      isTransient(await catchRejection(call(), "a transfer without an answer")),
      expected,
    );
  });
});

/** Retries a request to a server that responds with these statuses, repeating the last one. */
async function requestAgain(
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE",
  statuses: readonly number[],
  options: RetryOptions = {},
) {
  let requests = 0;
  await using serving = serve(() => {
    const status = statuses[Math.min(requests++, statuses.length - 1)]!;
    return [status, "xx", {}, status === 204 ? null : `body ${requests}`];
  });
  // A response that is tried again must have been discarded, else the next one waits for ever.
  await using pool = new ConnectionPool(serving.makeClient(), { maxConnections: 1 });
  const response = await retry(() => pool.request(method, "/"), {
    seconds: 0,
    ...options,
  });
  return [response.status, await response.text(), requests];
}

Deno.test("a response of a busy server is tried again, and the last one is returned as it came", async (t) => {
  const rows: [status: number, methods: string][] = [
    ...[408, 502, 504].map((status): [number, string] => [status, "GET HEAD"]),
    ...[429, 503].map((status): [number, string] => [status, "GET HEAD PUT POST DELETE"]),
    ...[301, 400, 404, 412, 500, 507].map((status): [number, string] => [status, ""]),
  ];
  for (const [status, methods] of rows) {
    await t.step(`${status}`, async () => {
      for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"] as const) {
        const isRetried = methods.split(" ").includes(method);
        const text = (n: number) => method === "HEAD" ? "" : `body ${n}`;
        assertEquals(
          await requestAgain(method, [status, 200]),
          isRetried ? [200, text(2), 2] : [status, text(1), 1],
          method,
        );
      }
    });
  }
  assertEquals(await requestAgain("GET", [503]), [503, "body 4", 4]);
  assertEquals(await requestAgain("GET", [503], { retries: 0 }), [503, "body 1", 1]);
});

Deno.test("when decides alone, and is asked of a response as of its StatusError", async () => {
  const asked: unknown[] = [];
  const when = (error: unknown) => {
    asked.push(error);
    return error instanceof StatusError && error.status === 404;
  };
  assertEquals(await requestAgain("POST", [404, 404, 503], { when }), [503, "body 3", 3]);
  assertEquals(
    asked.map((error) => error instanceof StatusError && [error.status, error.method, error.text]),
    [[404, "POST", ""], [404, "POST", ""], [503, "POST", ""]],
  );
  assertEquals(await requestAgain("GET", [204], { when: () => true }), [204, "", 1]);
  const own = new Error("own");
  let calls = 0;
  const attempt = () => ++calls < 3 ? Promise.reject(own) : Promise.resolve("done");
  assertEquals(await retry(attempt, { seconds: 0, when: (error) => error === own }), "done");
  const isTruthy = (() => 1) as unknown as () => boolean;
  await assertRejects(() => retry(() => Promise.reject(own), { when: isTruthy }), Error, "own");
  const wrong = { when: true } as unknown as RetryOptions;
  await assertRejects(() => retry(attempt, wrong), TypeError, "when: must be a function");
});

Deno.test("retry waits for the retry-after of a response, and tells of it", async () => {
  using time = new FakeTime();
  let requests = 0;
  const told: [unknown, number][] = [];
  const onRetry = ({ error, seconds }: RetryEvent) => void told.push([error, seconds]);
  const call = () => {
    const status = requests++ === 0 ? 503 : 200;
    return Promise.resolve(new Response(status, "xx", { "retry-after": "7" }, null));
  };
  const result = retry(call, { onRetry });
  await pass(time, 6999);
  assertEquals(requests, 1);
  await pass(time, 1);
  assertEquals((await result).status, 200);
  assertEquals(told.map(([error, seconds]) => [(error as StatusError).status, seconds]), [[
    503,
    7,
  ]]);
});

Deno.test("a cause does not count, and an error of a program's own may be transient by its symbol", () => {
  assertEquals(isTransient(new Error("wrapped", { cause: lost() })), false);
  assertEquals(isTransient(new DeguError("wrapped", { cause: lost() })), false);
  const own = Object.assign(new Error("own"), { [Symbol.for("degu.transient")]: true });
  assertEquals(isTransient(own), true);
});

Deno.test("errors and responses of another copy of the package are retried by this one, and described", async () => {
  await using copy = await loadCopy();
  assertEquals(copy.Client === Client, false);
  using server = new RawServer();
  const late = await catchRejection(
    new copy.Client(server.address, { timeout: 0.02 }).request("PUT", "/"),
    "it",
  );
  const theirs = [
    [late, true, { fault: "timed out", silentSeconds: 0.02 }],
    [new copy.EmptyPreambleError(), true, { fault: "broken" }],
    [new copy.ProtocolError("BODY_INCOMPLETE", ""), true, { fault: "broken" }],
    [new copy.ProtocolError("BAD_HEADER_NAME", ""), false, null],
    [new copy.TlsError("CLOSED", ""), true, { fault: "broken" }],
    [new copy.TlsError("UNTRUSTED", ""), false, null],
    [Object.assign(new copy.DeguError(""), { status: 503 }), true, null],
    [Object.assign(new copy.DeguError(""), { status: 404 }), false, null],
  ] as const;
  for (const [error, transient, expected] of theirs) {
    assertEquals([isTransient(error), copy.isTransient(error)], [transient, transient]);
    const found = describeConnectionError(error);
    const none = { address: null, isConnecting: false, missingBytes: null, unreadSeconds: null };
    assertEquals(found, expected && { ...none, silentSeconds: null, ...expected });
  }
  const unknown = await catchRejection(new copy.Client(["name.invalid", 80]).connect(), "it");
  assertEquals([describeConnectionError(unknown)?.fault, isTransient(unknown)], [
    "unknown name",
    true,
  ]);

  // A request that the server may have processed is never retried.
  using ends = new RawServer();
  const asking = catchRejection(new copy.Client(ends.address).request("POST", "/"), "it");
  const peer = await ends.accept();
  await peer.readPreamble();
  peer.close();
  assertEquals(isTransient(await asking), false);

  for (const [Using, again] of [[copy.Client, retry], [Client, copy.retry]] as const) {
    const status = { GET: 502, POST: 502 };
    for (const method of ["GET", "POST"] as const) {
      let requests = 0;
      await using serving = serve(() => [requests++ === 0 ? status[method] : 200, "xx", {}, "a"]);
      const client = new Using(serving.server.address);
      const response = await again(() => client.request(method, "/"), { seconds: 0 });
      assertEquals([response.status, requests], method === "GET" ? [200, 2] : [502, 1]);
      const failed = await catchRejection(
        copy.expectOk(new copy.Response(503, "xx", { "retry-after": "5" }, null)),
        "it",
      );
      assertEquals(isTransient(failed), true);
    }
  }
  let hangUps = 0;
  const hangUp = () => (hangUps++, Promise.reject(new copy.EmptyPreambleError()));
  await assertRejects(() => retry(hangUp, { seconds: 0 }), copy.EmptyPreambleError);
  assertEquals(hangUps, 2);
});

Deno.test("an error of an argument is described, also that of another copy", async () => {
  await using copy = await loadCopy();
  for (const make of [Client, copy.Client]) {
    const rows: [options: object, argument: string, problem: string][] = [
      [{ timeout: "5" }, "timeout", "must be a number of seconds, or null; got string"],
      [
        { timeout: -1 },
        "timeout",
        "must be a number of seconds above 0 and at most 3600, or null for no limit; got -1",
      ],
    ];
    for (const [options, argument, problem] of rows) {
      const error = catchThrown(() => Reflect.construct(make, [["a", 80], options]), "it");
      assertEquals((error as Error).message, `${argument}: ${problem}`);
      assertEquals(describeArgumentError(error), { argument, problem });
      assertEquals(Object.keys(error as Error), []);
    }
  }
  for (const other of [null, new TypeError("timeout: must be"), new RangeError()]) {
    assertEquals(describeArgumentError(other), null);
  }
});

Deno.test("a thrown value that does not let itself be looked at is thrown by retry as it is", async () => {
  const throwing = (key: PropertyKey, more: object = {}) =>
    Object.defineProperty(Object.assign(new Error("first"), more), key, {
      get() {
        throw new Error("of the getter");
      },
    });
  const get = () => {
    throw new Error("of the proxy");
  };
  const values = [
    ...["degu.transient", "degu.connection", "degu.argument"].map((name) =>
      throwing(Symbol.for(name))
    ),
    throwing("code"),
    throwing("retryAfter", { [Symbol.for("degu.transient")]: true }),
    new Proxy(new Error("first"), { get }),
  ];
  for (const value of values) {
    let thrown: unknown;
    await retry(() => Promise.reject(value), { retries: 1, seconds: 0 }).catch((error) => {
      thrown = error;
    });
    assert(thrown === value);
    assertEquals([describeConnectionError(value), describeArgumentError(value)], [null, null]);
  }
});

Deno.test("a body that was made before the attempts is sent once: the error has advice, and the first error", async () => {
  const client = new Client(["127.0.0.1", 1]); // where nothing listens
  const make = () => new Body(new Blob(["abc"]).stream(), 3);
  const body = make();
  const again = () => retry(() => client.put("/", {}, body), { retries: 1, seconds: 0 });
  const error = await assertRejects(again, BodyError, "make a new one for each message");
  assertEquals(error.problem, "body: has been used before");
  assertEquals(describeConnectionError(error.cause)?.fault, "refused");
  const anew = () => retry(() => client.put("/", {}, make()), { retries: 1, seconds: 0 });
  await assertRejects(anew, Deno.errors.ConnectionRefused);
});
