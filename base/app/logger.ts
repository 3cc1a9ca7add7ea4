import { DeguError } from "../errors.ts";
import type { Session } from "./session.ts";
import { checkBoolean, checkFunction, checkMethods, copyOptions } from "../../internal/checks.ts";
import { makeLinesPrintable, printable } from "../../internal/printable.ts";
import { LineRateLimiter } from "../../internal/line_rate_limiter.ts";

/** The details of a log line, as data. */
export interface LogDetails {
  /**
   * The kind of the line:
   *
   * - `"protocol"`: a peer sent bytes that break the rules of HTTP
   * - `"timeout"`: a peer kept the connection waiting for too long
   * - `"refusal"`: `onConnect` refused a peer, or its authority is not trusted any more
   * - `"body"`: an app left the body of a request unread or could not read its content, or the body
   *   was too long for the app
   * - `"handshake"`: a TLS handshake failed, or an accepted peer sent a fatal alert
   * - `"slot"`: no slot of the server became free, or accepting connections fails
   * - `"app"`: an app or a callback threw, an app returned a value that can't be sent, or could not
   *   fulfill a request
   * - `"other"`: every other line
   */
  readonly kind:
    | "protocol"
    | "timeout"
    | "refusal"
    | "body"
    | "handshake"
    | "slot"
    | "app"
    | "other";
  /**
   * The name of the session, `${session}`, which includes its user, or of the peer in a handshake:
   * `127.0.0.1:51056`; `null` if the line is about no peer.
   */
  readonly who: string | null;
  /** The error that the line reports; `undefined` if there is none. */
  readonly error: unknown;
}

/** The logger of a server; `console` works. */
export interface Logger {
  /**
   * Connections that have ended or were reset, also during a response, and interrupted handshakes.
   */
  debug(message: string): void;
  /**
   * Errors of peers: invalid bytes, time-outs, refused handshakes, refused connections, bodies
   * that are too long to be read at once, and requests that an app could not fulfill.
   */
  info(message: string): void;
  /** Security concerns, and failures to accept. */
  warn(message: string): void;
  /** Exceptions of the app, responses that are not allowed, and bugs of this package. */
  error(message: string): void;
  /**
   * Called in place of the other four methods if a logger has it: for a logger that writes objects,
   * chooses lines by their kind, or words them differently.
   *
   * @param level The name of the method that is not called.
   * @param message The line. Lines are for reading, and may change in any version.
   * @param details The kind of the line, the peer and the error, as data.
   */
  record?(
    level: "debug" | "info" | "warn" | "error",
    message: string,
    details: LogDetails,
  ): void;
}

/** The level of a log line. */
export type LogLevel = Parameters<Required<Logger>["record"]>[0];

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

type LogMethod = (message: string, details?: Partial<LogDetails>) => void;

export type SafeLogger<Level extends LogLevel = LogLevel> =
  & Readonly<Record<Level, LogMethod>>
  & Pick<Logger, "record">;

// deno-lint-ignore no-console
const printToStderr = (line: string, level: LogLevel) =>
  console[level === "error" ? level : "warn"](line);

/** The methods `record` of loggers that can drop debug lines, and whether they do. */
const debugDroppers = new WeakMap<object, () => boolean>();

/** Reports whether the logger drops lines of level `debug`, so that they need not be made. */
export function dropsDebug({ record }: Pick<Logger, "record">): boolean {
  return record !== undefined && debugDroppers.get(record)?.() === true;
}

/**
 * Makes a logger like the default logger of a server, whose output peers can't flood. Of the lines
 * that peers can cause (all but `warn` and `error` of the kind `"other"`), it prints each at most
 * once per second, the latest repetition with the number of the others, and at most 32 lines per
 * second of each level and kind.
 *
 * Dispose of the logger at the end of the program, after the servers: it then prints the withheld
 * lines. The logger doesn't keep the process alive. Lines after the disposal are printed at once.
 *
 * @param options How lines are printed, and whether those of level `debug` are.
 * @throws {TypeError} if an option is of a wrong type or unknown.
 *
 * @example Lines as objects, in a file of their own
 * ```ts
 * import { Server, standardLogger } from "@degu/degu/server";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * using logger = standardLogger({
 *   print: (line, level) => void lines.push(JSON.stringify({ level, line })),
 * });
 * const app = () => [204, "No Content", {}, null] as const;
 * await using server = await Server.start(["127.0.0.1", 0], app, { logger });
 * logger.warn("started");
 * assertEquals(lines, ['{"level":"warn","line":"started"}']);
 * ```
 */
export function standardLogger(
  options: {
    /**
     * Prints a line in another way. An error that the function throws is ignored.
     *
     * @default {`console.error` for the level `error`, otherwise `console.warn`: all to stderr}
     */
    print?: ((line: string, level: "debug" | "info" | "warn" | "error") => void) | undefined;
    /**
     * Whether lines of the level `debug` are also printed.
     *
     * @default {false}
     */
    debug?: boolean | undefined;
  } = {},
): Required<Logger> & Disposable {
  const { print = printToStderr, debug = false } = copyOptions(options, ["print", "debug"]);
  checkFunction("print", print);
  checkBoolean("debug", debug);
  const limitersByKind = new Map<string, Map<string, LineRateLimiter>>();
  let isClosed = false;
  const write = (line: string, level: LogLevel) => ignoreFailure(() => print(line, level));
  const makeLimiter = (level: LogLevel) =>
    new LineRateLimiter((latestLine, count) => {
      write(count > 1 ? `${latestLine} (and ${count - 1} more of this kind)` : latestLine, level);
    });
  const record = (
    level: LogLevel,
    message: string,
    { kind = "other", who, error }: Partial<LogDetails> = {},
  ) => {
    if (level === "debug" && !debug) return;
    // An app can fail because of a request, which a peer can repeat.
    const isCausedByPeer = level === "debug" || level === "info" || kind !== "other";
    if (!isCausedByPeer || isClosed) return write(message, level);
    const limiters = limitersByKind.getOrInsertComputed(`${level} ${kind}`, () => {
      return new Map([[OTHER_CAUSES, makeLimiter(level)]]);
    });
    const prefix = `${who}: `;
    const text = message.startsWith(prefix) ? message.slice(prefix.length) : message;
    // A peer can choose the words of its errors, but has few codes.
    const cause = level === "info" && error instanceof DeguError && error.code || text;
    const key = limiters.has(cause) || hasRoom(limiters) ? cause : OTHER_CAUSES;
    limiters.getOrInsertComputed(key, () => makeLimiter(level)).add(message);
  };
  debugDroppers.set(record, () => !debug);
  return {
    debug: (message) => record("debug", message),
    info: (message) => record("info", message),
    warn: (message) => record("warn", message),
    error: (message) => record("error", message),
    record,
    [Symbol.dispose]: () => {
      isClosed = true;
      for (const limiters of limitersByKind.values()) {
        for (const limiter of limiters.values()) limiter.close();
      }
    },
  };
}

/** The lines of a level and kind that are printed in a second. */
const MAX_LINES = 32;
/** The causes beyond the limit share a limiter. No cause is empty. */
const OTHER_CAUSES = "";

function hasRoom(limiters: Map<string, LineRateLimiter>): boolean {
  if (limiters.size < MAX_LINES) return true;
  for (const [cause, limiter] of limiters) {
    if (limiter.isIdle && cause !== OTHER_CAUSES) limiters.delete(cause);
  }
  return limiters.size < MAX_LINES;
}

/** The logger of functions without a server. */
export const processLogger: Logger = makeSafeLogger(standardLogger());

export function checkLogger(logger: Partial<Logger>, levels: readonly LogLevel[]): void {
  checkMethods("logger", logger, levels);
  if (logger.record !== undefined) checkMethods("logger", logger, ["record"]);
}

/**
 * Wraps a logger so that its failures (a full disk, say) don't reach the caller: exceptions and
 * rejections are dropped. Lines are escaped, since errors of apps can quote text that a peer has
 * sent.
 */
export function makeSafeLogger<Level extends LogLevel = LogLevel>(
  logger: Pick<Logger, Level | "record">,
  // Without `levels`, `Level` is `LogLevel`.
  levels: readonly Level[] = LOG_LEVELS as readonly LogLevel[] as readonly Level[],
): SafeLogger<Level> {
  checkLogger(logger, levels);
  const record = (level: Level, text: string, details?: Partial<LogDetails>) => {
    ignoreFailure(() => {
      const message = makeLinesPrintable(text);
      if (logger.record === undefined) return logger[level](message);
      const completeDetails = { kind: "other", who: null, error: undefined, ...details } as const;
      return logger.record(level, message, completeDetails);
    });
  };
  debugDroppers.set(record, () => {
    try {
      return dropsDebug(logger);
    } catch {
      return false;
    }
  });
  const entries = levels.map((level) => [level, record.bind(null, level)] as const);
  // `fromEntries` doesn't know that each level has an entry.
  return { ...Object.fromEntries(entries) as Record<Level, LogMethod>, record };
}

function ignoreFailure(call: () => unknown): void {
  try {
    const result = call();
    // The types also allow async methods, whose promises are not awaited.
    if (result !== undefined) Promise.resolve(result).catch(() => {});
  } catch {
    // The failure can't be logged.
  }
}

/**
 * Logs a line that a peer has caused: to the logger of the app, or else to the server's logger,
 * which limits such lines.
 */
export function logPeerWarning(
  session: Session,
  logger: SafeLogger<"warn"> | null,
  text: string,
  error?: unknown,
): void {
  if (logger === null) session.warn(text, error);
  else logger.warn(printable(text), { kind: "app", who: `${session}`, error });
}
