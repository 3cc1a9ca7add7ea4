/** How the end of a session is logged: level and message. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { ProtocolError, Request, Session } from "@degu/degu";
import { SessionLog } from "@degu/internal/net/server_connection.ts";
import { type Level, RecordingLogger } from "@degu/testing/serving.ts";

const GONE = "the peer closed the connection before the first byte of a message";

function open() {
  const session = new Session("name", null, 1);
  const logger = new RecordingLogger();
  return { session, logger, log: new SessionLog(session, logger) };
}

const rows: readonly (readonly [
  what: string,
  report: (log: SessionLog) => void,
  level: Level,
  message: string,
  line?: string,
])[] = [
  ["ended", (log) => log.ended("a response"), "debug", "a response", "ended after a response"],
  ["refused", (log) => log.refused("UNTRUSTED"), "info", "UNTRUSTED"],
  ["closed", (log) => log.closed("by the server"), "debug", "by the server"],
  ["a reset", (log) => log.broken(new Deno.errors.ConnectionReset("x"), undefined), "debug", "x"],
  [
    "the end",
    (log) => log.endedByPeer(),
    "debug",
    `EmptyPreambleError: ${GONE}`,
    `name: ended: ${GONE}`,
  ],
  ["an abandoned response", (log) => log.peerLeft(new Error("no more")), "debug", "no more"],
  ["a long body", (log) => log.tooLong(new RangeError("long")), "info", "RangeError: long; to"],
  ["bytes", (log) => log.broken(new ProtocolError("EXCESS_BYTES", "z"), undefined), "info", "z"],
  ["time-out", (log) => log.broken(new Deno.errors.TimedOut("late"), undefined), "info", "late"],
];

for (const [what, report, level, message, line = message] of rows) {
  Deno.test(`${what} is logged at level ${level}`, () => {
    const { session, logger, log } = open();
    report(log);
    assertStringIncludes(`${session.message}`, message);
    assertEquals(logger.lines.map(([at]) => at), [level]);
    assertStringIncludes(logger.lines[0]![1], "name: ");
    assertStringIncludes(logger.lines[0]![1], line);
  });
}

Deno.test("an exception of the app is logged as an error with its stack and the request", () => {
  const { session, logger, log } = open();
  const error = new Error("wrong");
  log.appFailed(error, "the app", new Request("GET", "/a?b", {}, null, [], ["a"], "b"));
  assertEquals(session.message, "an error of the app: Error: wrong");
  const [line] = logger.at("error");
  assertStringIncludes(line!, `name: an error of the app: ${error.stack}`);
  assertStringIncludes(line!, 'for GET "/a?b"');
  log.appFailed(error, "onConnect");
  assertEquals(logger.at("error")[1], `name: an error of onConnect: ${error.stack}`);
});

Deno.test("only a timeout is explained by the expectation of the request", () => {
  const failures = [
    [new Deno.errors.TimedOut("late"), true],
    [new ProtocolError("EXCESS_BYTES", "bytes"), false],
    [new Deno.errors.ConnectionReset("reset"), false],
  ] as const;
  for (const [failure, isExplained] of failures) {
    const { session, log } = open();
    log.broken(failure, "100-continue");
    assertEquals(`${session.message}`.includes('expect: "100-continue"'), isExplained);
  }
});

Deno.test("a session keeps the first reason, and every one is logged", () => {
  const { session, logger, log } = open();
  log.closed("first");
  log.refused("second");
  assertEquals(session.message, "first");
  assertEquals(logger.lines, [["debug", "name: first"], ["info", "name: second"]]);
});
