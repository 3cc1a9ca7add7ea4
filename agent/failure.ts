/**
 * This module imports no module of the library, so that a wrong command line is refused at once.
 */

export const FAILED = 1;
export const USAGE = 2;
export const REFUSED = 3;
export const INTERRUPTED = 130;

export const EXIT_CODES = {
  USAGE,
  NOT_PAIRED: REFUSED,
  REFUSED,
  NO_ADDRESS: FAILED,
  TIMED_OUT: FAILED,
  NOT_FOUND: FAILED,
  ALREADY_EXISTS: FAILED,
  NOT_PERMITTED: FAILED,
  FULL: FAILED,
  CHANGED: FAILED,
  BAD_NAME: FAILED,
  IN_USE: FAILED,
  FAILED,
  INTERRUPTED,
} as const;

export type ErrorCode = keyof typeof EXIT_CODES;

export interface FailureOptions extends ErrorOptions {
  readonly path?: string | undefined;
  readonly peer?: string | undefined;
  /** More fields of the error in JSON. */
  readonly fields?: Readonly<Record<string, unknown>> | undefined;
}

export class Failure extends Error {
  /** `null` if `codeOf()` finds the code by the cause. */
  readonly code: ErrorCode | null;
  readonly path: string | undefined;
  readonly peer: string | undefined;
  readonly fields: FailureOptions["fields"];

  constructor(message: string, code: ErrorCode | null = null, options: FailureOptions = {}) {
    super(message, options);
    this.code = code;
    this.path = options.path;
    this.peer = options.peer;
    this.fields = options.fields;
  }
}

export class InterruptedError extends Error {
  override readonly message = "interrupted";
}
