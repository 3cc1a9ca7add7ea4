/** Loggers: the data of each line, programs that adapt a logger, and values that can't be printed. */
import { type App, ProxyApp, reply, ResponseError, routes, Server, TlsError } from "@degu/degu";
import { Body, ConnectionError, EmptyPreambleError, ProtocolError } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import {
  type LogDetails,
  type Logger,
  type ServerOptions,
  type Session,
  SSLServer,
  standardLogger,
} from "@degu/degu/server";
import { callWith } from "@degu/testing/expectations.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { exchange, RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { type LogLevel, serve } from "@degu/testing/serving.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { callApp, mkreq } from "@degu/degu/misc";
import { recordUnhandledRejections } from "@degu/testing/rejections.ts";

interface RecordedLine extends LogDetails {
  readonly level: LogLevel;
  readonly message: string;
}

/** A logger that fails if another method than `record` is called. */
class RecordLogger implements Required<Logger> {
  readonly lines: RecordedLine[] = [];
  #onLine: (() => void) | null = null;

  readonly debug = this.#refuse;
  readonly info = this.#refuse;
  readonly warn = this.#refuse;
  readonly error = this.#refuse;

  #refuse(message: string): never {
    throw new Error(`not by record: ${message}`);
  }

  record(level: LogLevel, message: string, details: LogDetails): void {
    this.lines.push({ level, message, ...details });
    this.#onLine?.();
  }

  /** Resolves to the first line of a kind. */
  async waitFor(kind: LogDetails["kind"]): Promise<RecordedLine> {
    for (;;) {
      const line = this.lines.find((recorded) => recorded.kind === kind);
      if (line !== undefined) return line;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onLine = resolve;
      await withTimeout(promise, `a line of the kind ${kind}; got ${Deno.inspect(this.lines)}`);
    }
  }
}

const GET = "GET / HTTP/1.1\r\n\r\n";
const PUT = "PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\n";
const respondEmpty: App = () => [200, "OK", {}, null];
const failingApp: App = () => {
  throw new SyntaxError("a bug");
};

Deno.test("record gets each line instead of the four methods, with its kind, the peer, and the error", async (t) => {
  const upstream = new Client(["127.0.0.1", await findUnusedPort()]);
  const refusingApp: App = { onConnect: () => false, handle: () => [200, "OK", {}, null] };
  type Row = [
    kind: LogDetails["kind"],
    level: LogLevel,
    sent: string,
    app: App,
    error: (new (...args: never[]) => Error) | undefined,
    options?: ServerOptions,
  ];
  const rows: Row[] = [
    ["protocol", "info", "BREW / HTTP/1.1\r\n\r\n", respondEmpty, ProtocolError],
    ["timeout", "info", "GET", respondEmpty, ConnectionError, { timeout: 0.05 }],
    ["refusal", "info", GET, refusingApp, undefined],
    ["body", "info", PUT, respondEmpty, undefined],
    ["app", "error", GET, failingApp, SyntaxError],
    ["app", "info", GET, new ProxyApp(upstream), ConnectionError],
    ["other", "debug", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n", respondEmpty, undefined],
  ];
  for (const [kind, level, sent, app, Class, options] of rows) {
    await t.step(`${kind} ${level}`, async () => {
      const logger = new RecordLogger();
      await using server = await Server.start(["127.0.0.1", 0], app, { logger, ...options });
      using _peer = await RawPeer.connect(server.address, sent);
      const line = await logger.waitFor(kind);
      assertEquals(line.level, level, line.message);
      assertMatch(line.who ?? "", /^127\.0\.0\.1:\d+$/);
      assert(line.message.startsWith(`${line.who}: `), line.message);
      if (Class === undefined) assertEquals(line.error, undefined);
      else assertInstanceOf(line.error, Class);
    });
  }
});

Deno.test("record gets a failed handshake, and a connection without a slot", async () => {
  const logger = new RecordLogger();
  const { serverSslconfig } = await openSharedPki();
  {
    await using tls = await SSLServer.start(serverSslconfig, ["127.0.0.1", 0], respondEmpty, {
      logger,
    });
    await exchange(tls.address, GET);
    const { level, who, error } = await logger.waitFor("handshake");
    assertEquals([level, (error as TlsError).code], ["info", "NOT_TLS"]);
    assertMatch(who ?? "", /^127\.0\.0\.1:\d+$/);
  }
  const appCalled = Promise.withResolvers<void>();
  const app: App = () => {
    appCalled.resolve();
    return new Promise(() => {});
  };
  const options = { logger, maxConnections: 1, timeout: 1 };
  await using server = await Server.start(["127.0.0.1", 0], app, options);
  using _holder = await RawPeer.connect(server.address, GET);
  await appCalled.promise;
  using _waiting = await RawPeer.connect(server.address, GET);
  const { level, who, message } = await logger.waitFor("slot");
  assertEquals([level, message], ["info", `${who}: closed, because no slot became free`]);
});

Deno.test("a peer can't forge a line or control a terminal with text that the error of an app quotes", async (t) => {
  const sent = "x\n2026 FAKE\r\x1b[2J\u202e";
  const failures: Record<string, (text: string, session: Session) => unknown> = {
    "the message of an error": (text) => JSON.parse(text),
    "a message with a cause": (text) => {
      throw new RangeError(`not allowed: ${text}`, { cause: new Error(text) });
    },
    "an error in an object": (text) => {
      throw { error: new Error(text) };
    },
    "the reason of the end of a session": (text, session) => session.close(new Error(text)),
  };
  await testEachRow(t, Object.entries(failures), async (_name, fail) => {
    const logger = new RecordLogger();
    const app: App = async (request, session) => {
      fail(await request.text(), session);
      return [200, "OK", {}, null];
    };
    await using server = await Server.start(["127.0.0.1", 0], app, { logger });
    await new Client(server.address).request("PUT", "/", {}, sent).catch(() => {});
    await server.shutdown();
    const line = logger.lines.find(({ message }) => message.includes("FAKE"));
    assert(line !== undefined, Deno.inspect(logger.lines));
    assertMatch(line.message, /^[^\n]+(\n {4}[^\n]*)+$/);
    assertEquals(line.message.match(/[^\n\P{C}]/gu), null);
  });
});

Deno.test("a line is shortened if the error of an app quotes a whole body", async () => {
  const logger = new RecordLogger();
  const app: App = async (request) => {
    throw new Error(await request.text());
  };
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  const sent = "\x1b".repeat(4_000_000);
  await (await new Client(server.address).request("PUT", "/", {}, sent)).discard();
  const { message } = await logger.waitFor("app");
  assert(message.length < 17_000 * "\\u{1b}".length, `${message.length}`);
  assertMatch(message, /: an error of the app: Error: .*… \(\d+ in all\)$/);
});

/** Returns a function that logs lines of this kind with the standard logger. */
const recordWith = (logger: Required<Logger>, kind: LogDetails["kind"]) => (line: string) => {
  logger.record("info", line, { kind, who: null, error: undefined });
};

Deno.test("standardLogger prints with options.print, with the same limit, and prints debug lines only on request", async (t) => {
  const withDebug = { debug: true } as const;
  const rows: [rule: string, options: object, printed: string[]][] = [
    ["usual", {}, ["info", "warn", "warn", "error", "error", "info"]],
    ["with debug", withDebug, [
      ...["debug", "info", "warn", "warn", "error", "error", "debug", "info"],
    ]],
  ];
  await testEachRow(t, rows, (_rule, options, expected) => {
    using _time = new FakeTime();
    const printed: string[] = [];
    const print = (line: string, level: LogLevel) => {
      assertEquals(line, level);
      printed.push(line);
    };
    {
      using logger = standardLogger({ print, ...options });
      for (const level of ["debug", "info", "warn", "error"] as const) {
        for (let n = 0; n < 2; n++) logger[level](level);
      }
    }
    assertEquals(printed, expected);
    return Promise.resolve();
  });
});

Deno.test("a logger that takes the place of a standard logger gets the debug lines of a server", async (t) => {
  const rows: [rule: string, replace: (standard: Required<Logger>, own: Logger) => Logger][] = [
    ["a copy with its own record", (standard, { record }) => ({ ...standard, record: record! })],
    ["a copy without record", (standard, own) => {
      const { record: _, ...methods } = standard;
      return { ...methods, debug: (message) => own.debug(message) };
    }],
    ["a record that is replaced later", (standard, { record }) => {
      queueMicrotask(() => standard.record = record!);
      return standard;
    }],
  ];
  await testEachRow(t, rows, async (_rule, replace) => {
    using standard = standardLogger({ print: () => {} });
    const { promise, resolve } = Promise.withResolvers<string>();
    const { info, warn, error } = console;
    const record = (_level: LogLevel, message: string) => resolve(message);
    const logger = replace(standard, { debug: resolve, info, warn, error, record });
    await using server = await Server.start(["127.0.0.1", 0], () => reply(204), { logger });
    await new Client(server.address).get("/");
    assertMatch(await withTimeout(promise, "a line"), /^127\.0\.0\.1:\d+: ended: /);
  });
});

Deno.test("an error of print is ignored, and a line after disposal is printed at once", () => {
  const lines: string[] = [];
  const logger = standardLogger({
    print: (line) => {
      lines.push(line);
      throw new Error("the disk is full");
    },
  });
  const logBodyLine = recordWith(logger, "body");
  logBodyLine("1");
  logger[Symbol.dispose]();
  logBodyLine("2");
  logBodyLine("3");
  logger[Symbol.dispose]();
  assertEquals(lines, ["1", "2", "3"]);
});

Deno.test("standardLogger refuses invalid options", () => {
  const invalidOptions = [
    { print: "stderr" },
    { level: "warn" },
    null,
  ];
  for (const options of invalidOptions) {
    assertThrows(() => callWith(standardLogger, options), TypeError);
  }
});

// ───────────────────────── session.warn()

Deno.test("warn logs an escaped line of level info with the error, its kind, its session and the error as data", async () => {
  const lines: [level: string, message: string, details: LogDetails][] = [];
  const { debug, info, warn, error } = console;
  const record = (...line: typeof lines[number]) => void lines.push(line);
  const logger = { debug, info, warn, error, record };
  const reason = new Error("no lamp");
  let name = "";
  await using serving = serve((_request, session) => {
    name = `${session}`;
    session.warn("a lamp\r\n\x1b[2Jadmin: b", reason);
    return reply(404);
  }, { logger });
  await serving.makeClient().request("GET", "/");
  const [level, message, details] = lines.find(([, message]) => message.includes("lamp"))!;
  assertEquals([level, message], ["info", "a lamp\\u{d}\\u{a}\\u{1b}[2Jadmin: b: Error: no lamp"]);
  assertEquals([details.kind, details.who, details.error], ["app", name, reason]);
});

Deno.test("warn doesn't repeat an error whose message is in the text", async () => {
  await using serving = serve((_request, session) => {
    session.warn("the lamp is off: no power", new Error("no power"));
    return reply(204);
  });
  await serving.makeClient().request("GET", "/");
  assertEquals(await serving.logger.waitFor("info"), ["the lamp is off: no power"]);
});

Deno.test("warn has no effect without a server, and for a wrapper of a session", async () => {
  const app: App = (_request, session) => {
    session.warn("a line");
    (Object.create(session) as Session).warn("a line");
    new Proxy(session, {}).warn("a line");
    return reply(204);
  };
  assertEquals((await callApp(app, mkreq("GET", "/"))).status, 204);
});

// ───────────────────────── values that are thrown

Deno.test("a logger that throws or rejects ends neither the server nor the process, and doesn't reach the peer", async () => {
  using unhandled = recordUnhandledRejections();
  const failure = new Error("the log server is gone");
  const ways: Record<string, () => unknown> = {
    "throws": () => {
      throw failure;
    },
    "rejects": () => Promise.resolve().then(() => Promise.reject(failure)),
  };
  for (const [label, fail] of Object.entries(ways)) {
    const calls: string[] = [];
    const makeLogMethod = (name: string) => () => (calls.push(name), fail()) as undefined;
    const levels = ["debug", "info", "warn", "error"];
    const logger: unknown = Object.fromEntries(levels.map((name) => [name, makeLogMethod(name)]));
    const app: App = ({ uri }) => {
      if (uri === "/bad") throw new Error("no");
      return [200, "OK", {}, null];
    };
    await using serving = serve(app, { logger: logger as Logger });
    for (const request of ["GET /bad HTTP/1.1\r\n\r\n", "NONSENSE\r\n\r\n", "GET / HTTP/1.1"]) {
      using peer = await RawPeer.connect(serving.address, request);
      await peer.closeWrite();
      await peer.readToEnd();
    }
    assertEquals((await serving.makeClient().request("GET", "/")).status, 200);
    assertEquals(calls.slice(0, 2), ["error", "info"], label);
    await waitForTick();
  }
  assertEquals(unhandled.reasons, []);
});

Deno.test("a logger whose record can't be read any more ends no session with an error", async () => {
  using unhandled = recordUnhandledRejections();
  let isBroken = false;
  const logger: Logger = {
    ...console,
    get record(): NonNullable<Logger["record"]> {
      if (isBroken) throw new Error("the log server is gone");
      return () => {};
    },
  };
  await using serving = serve(() => reply(204), { logger });
  isBroken = true;
  for (let count = 0; count < 2; count++) {
    using peer = await RawPeer.connect(serving.address, "GET / HTTP/1.1\r\n\r\n");
    await peer.closeWrite();
    assertMatch((await peer.readToEnd()).received, /^HTTP\/1.1 204 /);
  }
  await waitForTick();
  assertEquals(unhandled.reasons, []);
});

function makeRevokedProxy(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function throwTrapError(): never {
  throw new Error("of a trap");
}

const unreadableErrors: readonly (readonly [name: string, makeError: () => unknown])[] = [
  ["a revoked proxy", () => makeRevokedProxy({})],
  [
    "an error whose properties throw a revoked proxy",
    () =>
      Object.defineProperty(new Error(), "code", {
        get() {
          throw makeRevokedProxy({});
        },
      }),
  ],
  ...[new EmptyPreambleError(), new DOMException()].map((error) => {
    const makeError = () => new Proxy(error, { get: throwTrapError });
    return [
      `a proxy of ${error.constructor.name} whose properties can't be read`,
      makeError,
    ] as const;
  }),
];

async function* yieldAndThrow(error: unknown) {
  yield new Uint8Array(3);
  throw error;
}

for (const [name, makeError] of unreadableErrors) {
  const error = makeError();
  const reject = () => Promise.reject(error);
  const fail = () => {
    throw error;
  };
  Deno.test(`an app that throws ${name} ends only its own connection`, async () => {
    const apps: App[] = [
      fail,
      reject,
      routes({ "GET /": fail }),
      () => [200, "OK", {}, yieldAndThrow(error)],
      () => [200, "OK", {}, new Body({ read: reject }, 5)],
      () => [200, "OK", {}, error as string],
      (_, session) => {
        session.close(error);
        return reply(200);
      },
      (_, session) => {
        session.store.set("sync", { [Symbol.dispose]: fail });
        session.store.set("async", { [Symbol.asyncDispose]: reject });
        return reply(200);
      },
      () => Promise.reject(Object.assign(new ResponseError(reply(200)), { response: error })),
      new ProxyApp({ request: reject }),
      new ProxyApp({ connect: reject }),
      { onConnect: fail, handle: () => reply(200) },
    ];
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    for (const app of apps) {
      await using server = await Server.start(["127.0.0.1", 0], app, { logger });
      for (let i = 0; i < 2; i++) {
        await new Client(server.address).request("GET", "/").then((response) => response.text())
          .catch(() => {});
      }
      (await new Client(server.address).connect()).close();
    }
  });
}

// ───────────────────────── the standard logger

/** Returns the number of the printed and the withheld lines. */
function countLogged(lines: readonly string[]): number {
  const withheldCounts = lines.map((line) =>
    Number(/\(and (\d+) more of this kind\)$/.exec(line)?.[1] ?? 0)
  );
  return lines.length + withheldCounts.reduce((sum, count) => sum + count, 0);
}

/** Records the lines that are printed to stderr, until disposed of. */
function recordPrintedLines() {
  const lines: string[] = [];
  const { warn, error } = console;
  console.warn = console.error = (line: string) => void lines.push(line);
  return { lines, [Symbol.dispose]: () => void Object.assign(console, { warn, error }) };
}

Deno.test("a cause is printed once per second, except other lines of warn and error; its latest withheld line follows a second later, with a count", () => {
  using time = new FakeTime();
  using output = recordPrintedLines();
  const logger = standardLogger();
  const logInfo = (who: string, kind: LogDetails["kind"]) => {
    logger.record("info", `${who}: bad bytes`, { kind, who, error: undefined });
  };
  const takeLines = () => output.lines.splice(0);
  for (let n = 1; n <= 5; n++) logInfo(`peer ${n}`, "protocol");
  logInfo("another kind", "slot");
  logger.debug("never");
  assertEquals(takeLines(), ["peer 1: bad bytes", "another kind: bad bytes"]);
  time.tick(999);
  assertEquals(takeLines(), []);
  time.tick(1);
  assertEquals(takeLines(), ["peer 5: bad bytes (and 3 more of this kind)"]);
  // That line also starts its second.
  logInfo("peer 6", "protocol");
  logInfo("free again", "slot");
  time.tick(999);
  assertEquals(takeLines(), ["free again: bad bytes"]);
  time.tick(1);
  assertEquals(takeLines(), ["peer 6: bad bytes"]);
  time.tick(1000);
  for (const level of ["warn", "error"] as const) {
    for (let n = 0; n < 3; n++) logger[level](level);
  }
  assertEquals(takeLines(), [...Array(3).fill("warn"), ...Array(3).fill("error")]);
  for (const level of ["warn", "error"] as const) {
    for (let n = 1; n <= 3; n++) {
      logger.record(level, `${n}: ${level}`, { kind: "app", who: `${n}`, error: undefined });
    }
  }
  assertEquals(takeLines(), ["1: warn", "1: error"]);
  time.tick(1000);
  assertEquals(
    takeLines(),
    ["warn", "error"].map((level) => `3: ${level} (and 1 more of this kind)`),
  );
  time.tick(1000);
  logInfo("peer 7", "protocol");
  logInfo("peer 8", "protocol");
  logger[Symbol.dispose]();
  assertEquals(takeLines(), ["peer 7: bad bytes", "peer 8: bad bytes"]);
  time.tick(5000);
  assertEquals(takeLines(), []);
});

Deno.test("of each kind, 31 different causes are printed per second, and one line for all others", () => {
  using time = new FakeTime();
  using output = recordPrintedLines();
  using logger = standardLogger();
  const takeLines = () => output.lines.splice(0);
  const logCauses = (kind: LogDetails["kind"], from: number, to: number) => {
    for (let n = from; n <= to; n++) {
      logger.record("error", `cause ${n}`, { kind, who: null, error: undefined });
    }
  };
  const causes = Array.from({ length: 32 }, (_, i) => `cause ${i + 1}`);
  logCauses("app", 1, 100);
  logCauses("body", 1, 3);
  assertEquals(takeLines(), [...causes, ...causes.slice(0, 3)]);
  time.tick(1000);
  assertEquals(takeLines(), ["cause 100 (and 67 more of this kind)"]);
  // The other causes are printed again, also beside new ones.
  logCauses("app", 101, 131);
  assertEquals(takeLines(), Array.from({ length: 31 }, (_, i) => `cause ${i + 101}`));
  logCauses("app", 132, 140);
  time.tick(1000);
  assertEquals(takeLines(), ["cause 140 (and 8 more of this kind)"]);
});

Deno.test("the words of a peer's error don't make another cause, if the error has a code", () => {
  using time = new FakeTime();
  using output = recordPrintedLines();
  using logger = standardLogger();
  for (let n = 1; n <= 100; n++) {
    const details = { kind: "handshake", who: null } as const;
    const [refused, untrusted] = [`received fatal alert: ${n}`, `the clock says ${n}`];
    logger.record("info", refused, { ...details, error: new TlsError("REFUSED_BY_PEER", refused) });
    logger.record("info", untrusted, { ...details, error: new TlsError("UNTRUSTED", untrusted) });
  }
  time.tick(1000);
  assertEquals(output.lines, [
    ...["received fatal alert: 1", "the clock says 1"],
    "received fatal alert: 100 (and 98 more of this kind)",
    "the clock says 100 (and 98 more of this kind)",
  ]);
});

Deno.test("three different errors of an app within a second are printed", async () => {
  using output = recordPrintedLines();
  await using server = await Server.start(["127.0.0.1", 0], ({ uri }) => {
    throw new Error(`broken at ${uri}`);
  });
  const uris = ["/first", "/second", "/third"];
  for (const uri of uris) {
    assertEquals((await new Client(server.address).get(uri)).status, 500);
  }
  assertEquals(
    output.lines.map((line) => /: Error: broken at (.*)/.exec(line)?.[1]),
    uris,
  );
});

Deno.test("errors of an app, of its callbacks and of its upstreams print few lines, the first with its stack, and a logger that fails has no effect", async () => {
  using output = recordPrintedLines();
  const fail = () => {
    throw new Error("the application broke");
  };
  await using upstream = serve(() => [200, "OK", {}, new Body(ReadableStream.from([]), 5)]);
  const failOften = async (app: App, options: ServerOptions = {}) => {
    await using server = await Server.start(["127.0.0.1", 0], app, options);
    for (let n = 0; n < 20; n++) {
      // A client that closes its writing side would count as disconnected.
      using peer = await RawPeer.connect(
        server.address,
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
      );
      await peer.readToEnd();
    }
  };
  const rows: [line: RegExp, app: App, options?: ServerOptions][] = [
    [/^127.*an error of the app: Error: the application broke\n +at fail[^]+ for GET "\/"$/, fail],
    [
      /^an error of onExchange: Error: the application broke\n/,
      () => [204, "No Content", {}, null],
      { onExchange: fail },
    ],
    [/^127.*an error of onConnect: Error: the application broke\n/, {
      onConnect: fail,
      handle: () => [204, "No Content", {}, null],
    }],
    [/^127.*the source of a response's body broke off: /, new ProxyApp(upstream.makeClient())],
    [/^127.*the app failed: Error: no descriptor$/, () => {
      throw Object.assign(new Error("no descriptor"), { code: "EMFILE" });
    }],
  ];
  for (const [firstLine, app, options] of rows) {
    await failOften(app, options);
    const lines = output.lines.splice(0);
    assertMatch(lines[0]!, firstLine);
    assert(lines.length < 6, lines.join("\n"));
    assertEquals(countLogged(lines), 20);
  }
  await using server = await Server.start(["127.0.0.1", 0], fail);
  console.error = () => {
    throw new Error("the terminal is gone");
  };
  assertMatch((await exchange(server.address, GET)).received, /^HTTP\/1\.1 500 /);
  await waitForTick();
});
