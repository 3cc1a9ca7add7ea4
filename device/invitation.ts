/**
 * Invitations.
 *
 * @module
 */

import { ConnectionClosedError, DeguError, typeName } from "../base/errors.ts";
import { copyOptions } from "../base/checks.ts";
import type { Address, HostAddress } from "../base/address_rules.ts";
import { encodeLine, lineAddress, MAX_ADDRESSES } from "./invitation_line.ts";
import { Inviter } from "./inviter.ts";
import { isWildcard, ownAddresses, withoutWildcards } from "./own_addresses.ts";
import type { DeviceParts } from "./parts.ts";
import type { Peer } from "./peer.ts";
import { addressesToSend, checkListen, checkServing } from "./received_addresses.ts";

/** Options of an invitation. */
export interface InviteOptions {
  /**
   * Where to listen for the other device: 1 to 6 IP addresses with a port, 0 for a free one. With a
   * wildcard the line has the addresses of this machine.
   *
   * @default {up to six addresses of this machine that a peer can use, port 0}
   */
  listen?: readonly Address[] | undefined;
  /**
   * Where this device can be reached later: up to 6 addresses, which the other device stores.
   *
   * @default {where servers of this directory listen when the other device joins}
   */
  serving?: readonly Address[] | undefined;
  /**
   * Seconds until it expires, from 1 to 86,400.
   *
   * @default {600}
   */
  seconds?: number | undefined;
  /** What to name the other device here, instead of its own name. */
  peerName?: string | undefined;
}

const OPTIONS = ["listen", "serving", "seconds", "peerName"];
const DEFAULT_SECONDS = 600;
const MAX_SECONDS = 86_400;

/** Creates an invitation from an inviter that listens. */
let makeInvitation: (line: string, expires: Date, inviter: Inviter) => Invitation;

/**
 * An open invitation, made by `device.invite()`: one device that has its line can be paired with this one,
 * until it expires.
 */
export class Invitation implements AsyncDisposable {
  /** When it expires. Setting the clock does not change how long that takes. */
  readonly expires: Date;
  /**
   * The other device, once the two are paired. Rejects with `Deno.errors.TimedOut` when the invitation
   * expires and with `ConnectionClosedError` when it is closed. Awaiting it is optional.
   */
  readonly paired: Promise<Peer>;
  readonly #line: string;
  readonly #inviter: Inviter;

  private constructor(line: string, expires: Date, inviter: Inviter) {
    this.#line = line;
    this.expires = expires;
    this.paired = inviter.paired;
    this.#inviter = inviter;
  }

  /**
   * The text that the other device needs to join. Any device that has it can be paired with this one, so
   * keep it secret, and deliver it unchanged. White space in it is ignored.
   */
  get line(): string {
    return this.#line;
  }

  /**
   * Ends the invitation and frees its ports. A pairing that is being stored at that moment is completed
   * first. Calling it again has no effect.
   */
  close(): Promise<void> {
    return this.#inviter.close(new ConnectionClosedError("the invitation was closed"));
  }

  /** Ends the invitation, as {@linkcode Invitation.prototype.close} does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  static {
    makeInvitation = (line, expires, inviter) => new Invitation(line, expires, inviter);
  }
}

/** Opens an invitation: what `Device.invite()` does. */
export async function openInvitation(
  parts: DeviceParts,
  options: InviteOptions = {},
): Promise<Invitation> {
  const { listen, serving, seconds = DEFAULT_SECONDS, peerName } = copyOptions(options, OPTIONS);
  checkSeconds(seconds);
  const waiting = listen === undefined ? null : checkListen(listen);
  const findAddresses = addressFinder(parts, serving);
  if (peerName !== undefined) await parts.peers.checkFree(peerName);
  const inviter = new Inviter(parts, { peerName, findAddresses });
  try {
    parts.closing.throwIfAborted();
    const bound = waiting === null ? await openOwn(inviter) : await openAll(inviter, waiting);
    parts.closing.throwIfAborted();
    const expires = endLater(parts, inviter, seconds);
    const line = encodeLine({
      authority: parts.authority.der,
      addresses: lineAddresses(bound),
      secret: inviter.secret,
      expires,
    });
    return makeInvitation(line, expires, inviter);
  } catch (error) {
    await inviter.close(error);
    throw error;
  }
}

/**
 * Returns a function that finds the addresses to send: those given, or those at which servers of the device
 * listen when it is called.
 *
 * @throws {TypeError} or `RangeError` if `serving` is not valid.
 * @throws {Deno.errors.NotCapable} if `serving` has a wildcard, and `--allow-sys=networkInterfaces` is
 * missing.
 */
export function addressFinder(
  { peers, logger }: DeviceParts,
  serving: readonly Address[] | undefined,
): () => Promise<HostAddress[]> {
  if (serving !== undefined) {
    const given = checkServing(serving);
    addressesToSend(given);
    return () => Promise.resolve(addressesToSend(given));
  }
  return async () => {
    const addresses = await peers.servingAddresses();
    try {
      return addressesToSend(addresses);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      logger.warn(
        "pairing: a server listens on a wildcard address, which can't be resolved without " +
          "--allow-sys=networkInterfaces, so it was not sent: set `serving` to its addresses",
      );
      return addressesToSend(addresses.filter((address) => !isWildcard(address)));
    }
  };
}

function checkSeconds(seconds: number): void {
  if (typeof seconds !== "number") {
    throw new TypeError(`seconds: must be a number; got ${typeName(seconds)}`);
  }
  if (seconds >= 1 && seconds <= MAX_SECONDS) return;
  throw new RangeError(`seconds: must be from 1 to ${MAX_SECONDS}; got ${seconds}`);
}

async function openAll(inviter: Inviter, addresses: readonly Address[]): Promise<Address[]> {
  return withoutWildcards(await Promise.all(addresses.map((address) => inviter.open(address))));
}

/** An address may have just disappeared, or not be ready yet; a single one that can be bound is enough. */
async function openOwn(inviter: Inviter): Promise<Address[]> {
  const addresses = ownAddresses().slice(0, MAX_ADDRESSES);
  const opened = await Promise.allSettled(addresses.map((address) => inviter.open(address)));
  const bound = opened.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
  if (bound.length > 0) return bound;
  const causes = opened.map((each) => each.status === "rejected" ? each.reason : null);
  const denied = causes.find((cause) => cause instanceof Deno.errors.NotCapable);
  if (denied !== undefined) throw denied;
  throw new DeguError("can't listen on any address of this machine: set `listen`", {
    cause: new AggregateError(causes),
  });
}

function lineAddresses(bound: readonly Address[]): HostAddress[] {
  const lines = new Map(bound.map(lineAddress).map((address) => [address.join(" "), address]));
  if (lines.size > 0) return [...lines.values()].slice(0, MAX_ADDRESSES);
  throw new DeguError("listen: this machine has no address of the family of the wildcard");
}

/** Ends the invitation when its time is over, by a timer and not by the clock, or the device is closed. */
function endLater({ closing }: DeviceParts, inviter: Inviter, seconds: number): Date {
  const expires = new Date(Date.now() + seconds * 1000);
  const expire = () => {
    const message = `the invitation expired at ${expires.toISOString()}`;
    inviter.close(new Deno.errors.TimedOut(message));
  };
  const timer = setTimeout(expire, seconds * 1000);
  const close = () => inviter.close(closing.reason);
  closing.addEventListener("abort", close);
  const settled = () => {
    clearTimeout(timer);
    closing.removeEventListener("abort", close);
  };
  inviter.paired.then(settled, settled);
  return expires;
}
