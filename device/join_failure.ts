/**
 * Why a device could not be joined, as its user is told.
 *
 * @module
 */

import { DeguError, EmptyPreambleError, ProtocolError } from "../base/errors.ts";
import { parseCertificate } from "../net/tls/certificate.ts";
import type { Authority } from "./authority.ts";
import { isDeviceName } from "./device_name.ts";

/** What the network says where nobody is there who could turn anybody away. */
const UNREACHABLE: readonly (new (message: string) => Error)[] = [
  Deno.errors.TimedOut,
  Deno.errors.NetworkUnreachable,
  Deno.errors.AddrNotAvailable,
];
/** Errors that have no class of their own. */
const UNREACHABLE_CODES: readonly unknown[] = ["EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN", "EINVAL"];

/** Makes the errors of one attempt to join. */
export class JoinFailure {
  /** What the other device is called, as far as that is known. */
  name: string;
  readonly #id: string;
  readonly #signal: AbortSignal;

  /**
   * Makes the errors for the device that has an authority.
   *
   * @param signal Whoever has aborted this is told their own reason.
   */
  constructor({ der, id }: Authority, signal: AbortSignal) {
    this.name = nameOf(der);
    this.#id = id;
    this.#signal = signal;
  }

  get #who(): string {
    return this.name === "" ? `the device ${this.#id}` : `${this.name} (${this.#id})`;
  }

  /** Runs a step whose failure looks like that of a line which somebody else has used. */
  async turnedAway<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      this.#signal.throwIfAborted();
      throw this.#explain(error);
    }
  }

  #explain(cause: unknown): unknown {
    const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
    const denied = errors.find((error) => error instanceof Deno.errors.NotCapable);
    if (denied !== undefined) return denied;
    if (errors.some(isAgainstTheRules)) return this.badAnswer(cause);
    return new DeguError(errors.every(isUnreachable) ? this.#unreachable() : this.#notOpen(), {
      cause,
    });
  }

  /** Nobody has said no, but an invitation that has ended can look like this, too. */
  #unreachable(): string {
    return `${this.#who} can't be reached at an address of the line: check that the two are in one ` +
      `network; if they are, ${this.#notOpen()}`;
  }

  #notOpen(): string {
    return "this line is not open any more: it has expired, was closed, or another device has used it; " +
      `look at the peers of ${this.#who} and forget what you do not know`;
  }

  /** The error for a device that does not take what this one has sent. */
  refused(): DeguError {
    return new DeguError(
      `${this.#who} has refused what this device has told of itself; its log says why`,
    );
  }

  /** The error for an answer that is none. */
  badAnswer(cause: unknown): DeguError {
    const what = cause instanceof Error ? `: ${cause.message}` : "";
    return new DeguError(`the answer of ${this.#who} is against the rules${what}`, { cause });
  }

  /** The error where the other device may have written the pairing down, or not. */
  lostAnswer(cause: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    return new DeguError(
      `the last answer of ${this.#who} has not arrived: the invitation has ended, or this device is among ` +
        "the peers there but not the other way round; join again with a new invitation",
      { cause },
    );
  }
}

function isUnreachable(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return UNREACHABLE.some((each) => error instanceof each) || UNREACHABLE_CODES.includes(code);
}

/** A device that the line is from has spoken, but not as it should. */
function isAgainstTheRules(error: unknown): boolean {
  if (error instanceof EmptyPreambleError) return false;
  return error instanceof ProtocolError || error instanceof RangeError;
}

/** What the device was called when its authority was made. */
function nameOf(der: Uint8Array): string {
  const [, name = ""] = /^O=(.*)$/m.exec(parseCertificate(der).subject) ?? [];
  return isDeviceName(name) ? name : "";
}
