/** Access log lines, which no peer can end or forge. */
import { accessLog } from "@degu/degu";
import { mkreq } from "@degu/degu/misc";
import type { Exchange } from "@degu/degu/server";
import { makeTextArbitrary } from "@degu/testing/arbitraries.ts";
import { makeSession } from "@degu/testing/calling.ts";
import { RawPeer, withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import fc from "fast-check";

/** Returns the log line for any request target, also invalid ones, and a user. */
type Options = Parameters<typeof accessLog>[0];

function formatLine(target: string, options?: Partial<Options>): string {
  const lines: string[] = [];
  const session = makeSession({ name: "a session", address: ["::1", 80, 0, 0] });
  const figures = {
    requestBytes: 1,
    responseBytes: 2,
    firstByteSeconds: 1,
    totalSeconds: 1,
    error: null,
  };
  const request = mkreq("GET", "/");
  const parts = { session, request, method: "GET", uri: target, status: 200 } as const;
  const exchange: Exchange = { ...parts, ...figures };
  accessLog({ print: (line) => lines.push(line), ...options })(exchange);
  assertEquals(lines.length, 1);
  return lines[0]!;
}

/** Asserts that the log entry for a target is one line with the target. */
function assertLogged(target: string): void {
  const { request, status, bytes } = readAccessLine(formatLine(target)) ?? {};
  assertEquals([request, status, bytes], [`GET ${target} HTTP/1.1`, 200, 2]);
}

const specials = ['"', "\\", "\n", "\r", "\0", "\x1b[2J", "\u2028", "\u202e", "é", "x", " "];
const specialText = fc.string({ unit: fc.constantFrom(...specials) });

Deno.test("a user's name can't end its field, or look like another name", () => {
  fc.assert(fc.property(fc.oneof(makeTextArbitrary(), specialText), (user) => {
    const { host, user: loggedUser, request } = readAccessLine(formatLine("/", {
      user: () => user,
    })) ??
      {};
    const expected = user === "" || user === "-" ? null : user;
    assertEquals([host, loggedUser, request], ["::1", expected, "GET / HTTP/1.1"]);
  }));
});

Deno.test("the server logs the error of an async print", async () => {
  const print = () => Promise.reject(new Error("the disk is full"));
  await using serving = serve(() => [200, "OK", {}, null], { onExchange: accessLog({ print }) });
  await serving.makeClient().get("/");
  const [line] = await serving.logger.waitFor("error");
  assertStringIncludes(line!, "an error of onExchange: Error: the disk is full");
});

Deno.test("a session without a user is logged with a dash", () => {
  for (const options of [undefined, {}, { user: undefined }, { user: () => null }]) {
    assertMatch(formatLine("/", options), /^::1 - - \[/);
  }
});

Deno.test("a line has the time in whole seconds, in UTC", () => {
  const rows = {
    "2026-01-02T03:04:05.999Z": "02/Jan/2026:03:04:05",
    "1999-12-31T23:59:59Z": "31/Dec/1999:23:59:59",
  };
  for (const [iso, time] of Object.entries(rows)) {
    using _time = new FakeTime(new Date(iso));
    assertStringIncludes(formatLine("/"), ` [${time} +0000] `);
  }
});

Deno.test("a request target can't end a line, its quotes or an escape", () => {
  fc.assert(fc.property(fc.oneof(makeTextArbitrary(), specialText), (target) => {
    assertLogged(target);
  }));
});

Deno.test("a line has the figures of an exchange over a socket, and a dash for each missing figure", async () => {
  const lines: string[] = [];
  const wait = Promise.withResolvers<void>();
  const onExchange = accessLog({
    print: (line) => {
      if (lines.push(line) === 3) wait.resolve();
    },
  });
  const app = (request: { uri: string }) => {
    if (request.uri === "/throws") throw new Error("no");
    return [200, "OK", {}, request.uri === "/five" ? new Uint8Array(5) : null] as const;
  };
  await using serving = serve(app, { onExchange });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(...["/five", '/?a="\\', "/throws"].map((path) => `GET ${path} HTTP/1.1\r\n\r\n`));
  await withTimeout(wait.promise, "three lines");
  assertEquals(lines.map((line) => line.replace(/\[.*?\]/, "[]")), [
    '127.0.0.1 - - [] "GET /five HTTP/1.1" 200 5',
    '127.0.0.1 - - [] "GET /?a=\\x22\\x5c HTTP/1.1" 200 -',
    '127.0.0.1 - - [] "GET /throws HTTP/1.1" 500 -',
  ]);
});

Deno.test("accessLog refuses invalid arguments", () => {
  const log = (options: unknown) => accessLog(options as Options);
  assertThrows(() => log({ print: 7 }), TypeError, "print: must be a function; got number");
  assertThrows(() => log({}), TypeError, "print: must be a function; got undefined");
  assertThrows(() => log(console.log), TypeError, "options");
  assertThrows(() => log({ print() {}, user: "me" }), TypeError, "user: must be a function");
  assertThrows(() => log({ users: () => "me" }), TypeError, 'unknown option "users"');
  assertThrows(() => log(null), TypeError, "options");
});

/** Matches a log line as strictly as a program that analyzes logs. */
const LINE = new RegExp(
  [
    /^(?<host>[^ ]+) - (?<user>(?:[!#-[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})+) /,
    /\[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] /,
    /"(?<request>(?:[ !#-[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})*)" /,
    /(?<status>\d{3}|-) (?<bytes>\d+|-)$/,
  ].map(({ source }) => source).join(""),
);

/** Parses a log line, and undoes its escapes; `null` for an invalid line. */
function readAccessLine(line: string) {
  const { host, user, request, status, bytes } = LINE.exec(line)?.groups ?? {};
  if (host === undefined || user === undefined || request === undefined) return null;
  return {
    host,
    /** `null` for a dash. */
    user: user === "-" ? null : unescape(user),
    request: unescape(request),
    status: status === "-" ? null : Number(status),
    bytes: bytes === "-" ? 0 : Number(bytes),
  };
}

function unescape(text: string): string {
  return text.replace(
    /\\(?:x(..)|u(....))/g,
    (_, byte, codeUnit) => String.fromCharCode(parseInt(byte ?? codeUnit, 16)),
  );
}
