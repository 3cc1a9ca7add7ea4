/**
 * The errors of joining a device.
 *
 * @module
 */

import { DeguError, EmptyPreambleError, ProtocolError } from "../base/errors.ts";
import { parseCertificate } from "../net/tls/certificate.ts";
import { isUnreachable, systemCode } from "../net/thrown.ts";
import type { Authority } from "./authority.ts";
import { isDeviceName } from "./device_name.ts";
import { isCut } from "./pairing_client.ts";

/** Creates the errors of one attempt to join. */
export class JoinFailure {
  /** The name of the other device; empty while it is unknown. */
  name: string;
  readonly #id: string;
  readonly #signal: AbortSignal;

  /**
   * Creates the errors for the device with this authority.
   *
   * @param signal Its reason takes precedence over the error that aborting it has caused.
   */
  constructor({ der, id }: Authority, signal: AbortSignal) {
    this.name = nameOf(der);
    this.#id = id;
    this.#signal = signal;
  }

  get #who(): string {
    return this.name === "" ? `the device ${this.#id}` : `${this.name} (${this.#id})`;
  }

  /** Runs a step; if it fails, the line may have been used by another device, and the error says so. */
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
    return new DeguError(this.#say(errors), { cause });
  }

  #say(errors: readonly unknown[]): string {
    if (errors.some(isCut)) return this.#overloaded();
    return errors.every(isSilent) ? this.#unreachable() : this.#notOpen();
  }

  /** A port that is crowded by strangers is more likely than one that another program now uses. */
  #overloaded(): string {
    return `${this.#who} closes connections before they are encrypted, each time it was tried: its ` +
      "port is overloaded, or something in between closes them; try again, and if that doesn't help, " +
      this.#notOpen();
  }

  /** An invitation that has ended can look like this, too. */
  #unreachable(): string {
    return `${this.#who} can't be reached at an address of the line: check that the two are on the same ` +
      `network; if they are, ${this.#notOpen()}`;
  }

  #notOpen(): string {
    return "this line is not open any more: it has expired, was closed, or another device has used it; " +
      `check the peers of ${this.#who}, and forget any that you don't recognize`;
  }

  /** The error for a response that rejects what this device sent. */
  refused(): DeguError {
    return new DeguError(
      `${this.#who} has refused what this device sent; its log says why`,
    );
  }

  /** The error for a response that breaks the protocol. */
  badAnswer(cause: unknown): DeguError {
    const what = cause instanceof Error ? `: ${cause.message}` : "";
    return new DeguError(`the answer of ${this.#who} is not valid${what}`, { cause });
  }

  /** The error if the other device may or may not have stored this one. */
  lostAnswer(cause: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    return new DeguError(
      `the last answer of ${this.#who} did not arrive: the invitation has ended, or that device has stored ` +
        "this one, which has not stored it; join again with a new invitation",
      { cause },
    );
  }
}

/** True if nobody can have refused this device; a refused connection may be an invitation that has ended. */
function isSilent(error: unknown): boolean {
  // A link-local address that was tried at an interface without such addresses.
  return isUnreachable(error) || systemCode(error) === "EINVAL";
}

/** True if the device of the line has answered, but not by the protocol. */
function isAgainstTheRules(error: unknown): boolean {
  if (error instanceof EmptyPreambleError) return false;
  return error instanceof ProtocolError || error instanceof RangeError;
}

/** The name that the device had when its authority was made; empty if that can't be read. */
function nameOf(der: Uint8Array): string {
  const [, name = ""] = /^O=(.*)$/m.exec(parseCertificate(der).subject) ?? [];
  return isDeviceName(name) ? name : "";
}
