/** A logger that fails does not affect the caller. */
import { assertEquals, assertThrows } from "@std/assert";
import { makeSafeLogger } from "@degu/internal/base/safe_logger.ts";
import { turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { unhandledRejections } from "@degu/testing/rejections.ts";

type Log = (message: string) => void;

const failing: Record<string, Log> = {
  "throws an error": () => {
    throw new Error("the disk is full");
  },
  "throws nothing at all": () => {
    throw undefined;
  },
  "rejects": () => Promise.reject(new Error("the disk is full")),
  "returns a thenable that throws": () => ({
    then() {
      throw new Error("the disk is full");
    },
  }),
};

Deno.test("nothing throws or rejects, whatever a logger's method does", async (t) => {
  for (const [what, warn] of Object.entries(failing)) {
    await t.step(what, async () => {
      using rejections = unhandledRejections();
      makeSafeLogger({ warn }, ["warn"]).warn("message");
      await turnOfEventLoop();
      assertEquals(rejections.reasons, []);
    });
  }
});

Deno.test("a method that is missing at the start is a TypeError that names it", () => {
  for (const logger of [{}, { warn: 1 }, { warn: null }]) {
    assertThrows(
      () => makeSafeLogger(logger as { warn: Log }, ["warn"]),
      TypeError,
      "logger: must be an object with the method warn",
    );
  }
});

Deno.test("a method that is removed later, or whose getter then throws, is ignored", () => {
  let isBroken = false;
  const logger: { warn: Log } = {
    get warn(): Log {
      if (isBroken) throw new Error("no");
      return () => {};
    },
  };
  const other: { warn?: Log } = { warn: () => {} };
  const safe = [makeSafeLogger(logger, ["warn"]), makeSafeLogger(other as typeof logger, ["warn"])];
  isBroken = true;
  delete other.warn;
  for (const { warn } of safe) warn("message");
});

Deno.test("each message is logged at its level, with the logger as `this`, and the method is looked up each time", () => {
  const told: string[] = [];
  class Logger {
    prefix = "1";
    warn(message: string) {
      told.push(`${this.prefix} warn ${message}`);
    }
    error(message: string) {
      told.push(`${this.prefix} error ${message}`);
    }
  }
  const logger = new Logger();
  const { warn, error } = makeSafeLogger(logger, ["warn", "error"]);
  warn("a");
  logger.prefix = "2";
  error("b");
  logger.error = (message) => told.push(`other ${message}`);
  error("c");
  assertEquals(told, ["1 warn a", "2 error b", "other c"]);
});
