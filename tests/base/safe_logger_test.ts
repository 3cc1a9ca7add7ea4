/** A logger that fails is not the caller's problem. */
import { assertEquals } from "@std/assert";
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

Deno.test("whatever a method of a logger does, nothing is thrown and nothing rejects", async (t) => {
  for (const [what, warn] of Object.entries(failing)) {
    await t.step(what, async () => {
      using rejections = unhandledRejections();
      makeSafeLogger({ warn }, ["warn"]).warn("message");
      await turnOfEventLoop();
      assertEquals(rejections.reasons, []);
    });
  }
});

Deno.test("a method that is not there, or a getter that throws, is no error either", () => {
  const logger = {
    get warn(): Log {
      throw new Error("no");
    },
  };
  makeSafeLogger(logger, ["warn"]).warn("message");
  makeSafeLogger({} as { warn: Log }, ["warn"]).warn("message");
});

Deno.test("each message reaches its level, with the logger as `this`, looked up at that moment", () => {
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
