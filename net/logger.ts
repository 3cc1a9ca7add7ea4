/**
 * Loggers: the standard one, which a peer can't fill, and a wrapper of a user's, which may fail.
 */

import { type Session, tellServer } from "../base/app/session.ts";
import { checkMethods } from "../internal/checks.ts";
import { printable } from "../internal/printable.ts";
import { type Interval, unref } from "./deadline.ts";

/** The logger of a server; `console` works. */
export interface Logger {
  /**
   * Connections that have ended or were reset, also during a response, and handshakes that were
   * cut.
   */
  debug(message: string): void;
  /**
   * Errors of peers: invalid bytes, time-outs, refused handshakes, refused connections, bodies
   * that are too long to be read at once, and requests that an app could not fulfill.
   */
  info(message: string): void;
  /** Security concerns, and failures to accept. */
  warn(message: string): void;
  /** Exceptions of the app, answers that are not allowed, and bugs of this package. */
  error(message: string): void;
}

export const LEVELS = ["debug", "info", "warn", "error"] as const;

/**
 * The kinds of what peers can cause as often as they like: invalid bytes, long waits, refused
 * connections, bodies that the app leaves unread, failed handshakes, a lack of slots, requests that
 * an app could not fulfill; and the rest.
 */
export type Kind =
  | "bytes"
  | "waits"
  | "refusals"
  | "bodies"
  | "handshakes"
  | "slots"
  | "apps"
  | "other";

/** What a line of level `info` tells, as data: who has gone or was refused, and the error. */
export interface LoggedEnd {
  readonly who: string;
  readonly error: unknown;
}

/** A logger that is told of what kind a line is. Its methods never throw. */
export interface KindLogger extends Logger {
  info(message: string, kind?: Kind, end?: LoggedEnd): void;
}

/** The least time between two lines of one kind. */
const LINE_MILLISECONDS = 1000;

/** Lets a line a second through: the first at once, then the last of those that came meanwhile. */
export class LineLimit {
  readonly #print: (last: string, count: number) => void;
  #last = "";
  /** The number of lines since the one that was printed last. */
  #count = 0;
  /** Runs for a second after each line; `null` once this limit is closed. */
  #timer: Interval | undefined | null;

  /** @param print Gets the last line, and the number of lines that it stands for. */
  constructor(print: (last: string, count: number) => void) {
    this.#print = print;
  }

  add(line: string): void {
    this.#last = line;
    this.#count++;
    if (this.#timer === undefined) this.#tell();
  }

  #tell(): void {
    this.#timer = undefined;
    if (this.#count === 0) return;
    this.#timer = unref(setTimeout(() => this.#tell(), LINE_MILLISECONDS));
    this.#printLast();
  }

  #printLast(): void {
    const count = this.#count;
    this.#count = 0;
    if (count > 0) this.#print(this.#last, count);
  }

  /** Prints what was left out, and nothing any more. */
  close(): void {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#printLast();
  }
}

/** The loggers that limit the lines of each kind: the standard ones. */
const limitingLoggers = new WeakSet<object>();

/** Prints a line; the level tells how. */
type Print = (message: string, level: "info" | "warn" | "error") => void;

// deno-lint-ignore no-console
const toStderr: Print = (message, level) => console[level === "error" ? level : "warn"](message);

/**
 * Makes a logger that prints to stderr, all but level `debug`. Of each kind of level `info` it
 * prints a line a second; the last of the others follows a second later, with their number.
 *
 * @param to Prints a line in another way.
 * @param reword Says a line in other words; must not throw.
 */
export function makeStandardLogger(
  to: Print = toStderr,
  reword: (message: string, end?: LoggedEnd) => string = (message) => message,
): KindLogger & { close(): void } {
  const print: Print = (message, level) => {
    try {
      to(message, level);
    } catch {
      // A failure of the logger can't be logged.
    }
  };
  const limits = new Map<Kind, LineLimit>();
  let closed = false;
  const makeLimit = () =>
    new LineLimit((last, count) => {
      print(count > 1 ? `${last} (and ${count - 1} more of this kind)` : last, "info");
    });
  const logger = {
    debug() {},
    info(message: string, kind: Kind = "other", end?: LoggedEnd) {
      const line = reword(message, end);
      if (closed) return print(line, "info");
      const limit = limits.get(kind) ?? makeLimit();
      limits.set(kind, limit);
      limit.add(line);
    },
    warn: (message: string) => print(reword(message), "warn"),
    error: (message: string) => print(reword(message), "error"),
    /** Prints what was left out; from now on nothing is. */
    close() {
      closed = true;
      for (const limit of limits.values()) limit.close();
    },
  };
  limitingLoggers.add(logger);
  return logger;
}

/** The logger of what has no server. */
export const standardLogger: Logger = makeStandardLogger();

/** Adapts a logger: the standard one gets the kinds of lines, any other one only their texts. */
export function makeKindLogger(logger: Logger): KindLogger {
  return limitingLoggers.has(logger) ? logger : makeSafeLogger(logger, LEVELS);
}

/**
 * Wraps a logger, which must have a method for each level, so that its failures (a full disk, say)
 * don't reach the caller: exceptions and rejections are dropped.
 */
export function makeSafeLogger<Level extends string>(
  logger: Readonly<Record<Level, (message: string) => void>>,
  levels: readonly Level[],
): Record<Level, (message: string) => void> {
  checkMethods("logger", logger, levels);
  const log = (level: Level) => (message: string) => {
    try {
      const returned: unknown = logger[level](message);
      // The types also allow async methods, whose promises nothing else awaits.
      if (returned !== undefined) Promise.resolve(returned).catch(() => {});
    } catch {
      // A failure of the logger can't be logged.
    }
  };
  const entries = levels.map((level) => [level, log(level)] as const);
  // `fromEntries` doesn't know that each level has an entry.
  return Object.fromEntries(entries) as Record<Level, (message: string) => void>;
}

/**
 * Writes a line that a peer has caused, which may quote what the peer has chosen, to the logger of
 * an app, or if it has none to the log of the server, where lines of this kind are limited.
 */
export function warnAbout(
  session: Session | undefined,
  logger: Pick<Logger, "warn"> | null,
  text: string,
): void {
  const line = printable(text);
  if (logger !== null) logger.warn(line);
  else if (session !== undefined) tellServer(session, line);
}
