/**
 * The end of a pairing that invites: the invitation, what it answers, and its port, which strangers can connect to, but
 * can't keep busy.
 *
 * @module
 */

import type { Address, HostAddress } from "../base/address_rules.ts";
import type { AppFunction, Socket } from "../base/app/app.ts";
import type { Request, ResponseTuple } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { checkNumber, copyOptions } from "../base/checks.ts";
import { ConnectionClosedError, DeguError } from "../base/errors.ts";
import { type Authority, hasSigned, readAuthority } from "../identity/authority.ts";
import type { DeviceIdentity } from "../identity/device_identity.ts";
import type { Logger } from "../net/standard_logger.ts";
import { plainMessageOf } from "../net/thrown.ts";
import { ContextInForce } from "../net/tls/context.ts";
import { TlsListener } from "../net/tls/listener.ts";
import { Server } from "../server.ts";
import type { DeviceServices } from "./device_services.ts";
import { encodeLine, lineAddress, MAX_ADDRESSES } from "./invitation_line.ts";
import {
  addressFinder,
  checkListen,
  ownAddresses,
  scopeOfConnection,
  withoutWildcards,
  withScope,
} from "./pairing_addresses.ts";
import {
  type Answer,
  decodeIntroduction,
  decodeSecret,
  decodeValue,
  encodeAnswer,
  type Introduction,
  isSameSecret,
  makeRandom,
  MAX_MESSAGE_BYTES,
  PAIRING_PROTOCOL,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import type { Peer } from "./peer.ts";

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
  services: DeviceServices,
  options: InviteOptions = {},
): Promise<Invitation> {
  const { listen, serving, seconds = DEFAULT_SECONDS, peerName } = copyOptions(options, OPTIONS);
  checkNumber("seconds", seconds);
  if (!(seconds >= 1 && seconds <= MAX_SECONDS)) {
    throw new RangeError(`seconds: must be from 1 to ${MAX_SECONDS}; got ${seconds}`);
  }
  const waiting = listen === undefined ? null : checkListen(listen);
  const findAddresses = addressFinder(services, serving);
  if (peerName !== undefined) await services.peers.checkFree(peerName);
  const inviter = new Inviter(services, peerName, findAddresses);
  try {
    services.closing.throwIfAborted();
    const bound = waiting === null
      ? await openOwn(inviter)
      : withoutWildcards(await Promise.all(waiting.map((address) => inviter.open(address))));
    services.closing.throwIfAborted();
    const expires = endLater(services, inviter, seconds);
    const line = encodeLine({
      authority: services.identity.authority.der,
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
function endLater({ closing }: DeviceServices, inviter: Inviter, seconds: number): Date {
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

/** How long the joiner may keep its connection open after the last answer. */
const LAST_MILLISECONDS = 2000;

/** The device that sent the right secret. */
interface Joiner {
  readonly authority: Authority;
  readonly introduction: Introduction;
  /** The answer to the first request, with the value that the second one must carry. */
  readonly answer: Answer;
}

/**
 * How far the pairing is: nobody has sent the secret; somebody has, and what came with it is being checked; that device
 * has the answer, and may come back with its certificate; it did, and nobody else can be paired any more.
 */
type Stage = "open" | "claimed" | Joiner | "storing";

/**
 * Pairs with the first device that has the line, in two steps. In the first the joiner sends the secret and
 * its authority, in the second it connects with a certificate of that authority, so every certificate is
 * verified by the TLS library. Nothing is stored before the second.
 */
export class Inviter {
  /** The secret in the line. */
  readonly secret: Uint8Array = makeRandom();
  /** The paired device. Awaiting it is optional: a rejection is never unhandled. */
  readonly paired: Promise<Peer>;
  readonly #services: DeviceServices;
  readonly #peerName: string | undefined;
  readonly #findAddresses: () => Promise<HostAddress[]>;
  readonly #port: PairingPort;
  readonly #wrong: LimitedWarning;
  readonly #late: LimitedWarning;
  readonly #refused: LimitedWarning;
  readonly #outcome = Promise.withResolvers<Peer>();
  #stage: Stage = "open";
  #ending: Promise<void> | null = null;

  /**
   * Creates an inviter that listens nowhere yet.
   *
   * @param peerName What the user calls the other device.
   * @param findAddresses Returns the addresses of this device that the answer carries.
   */
  constructor(
    services: DeviceServices,
    peerName: string | undefined,
    findAddresses: () => Promise<HostAddress[]>,
  ) {
    this.#services = services;
    this.#peerName = peerName;
    this.#findAddresses = findAddresses;
    const warning = (format: (last: string, count: number) => string) =>
      new LimitedWarning(services.logger, (last, count) => `invitation: ${format(last, count)}`);
    this.#wrong = warning((who, count) =>
      `wrong secret from ${who}; ${count} wrong so far; it stays open`
    );
    this.#late = warning((who) =>
      `${who} has the right secret, but another device was first: somebody else may have seen the line; ` +
      "check which device this one is paired with now"
    );
    this.#refused = warning((what, count) =>
      `the right secret, but refused: ${what}; ${count} refused so far; it stays open`
    );
    this.#port = new PairingPort(
      services.identity,
      (request, visit) => this.#answer(request, visit),
      services.logger,
    );
    this.paired = this.#outcome.promise;
    this.paired.catch(() => {});
  }

  /** Listens on an address; resolves to that address with its port. */
  open(address: Address): Promise<Address> {
    return this.#port.open(address);
  }

  /**
   * Closes the ports and rejects {@linkcode paired} with the reason; a pairing that is being stored is
   * completed first. Resolves when the ports are free.
   */
  async close(reason: unknown): Promise<void> {
    // A stored entry can't be taken back: the other device may have the answer already.
    if (this.#stage === "storing") await this.paired.catch(() => {});
    await this.#end(() => this.#outcome.reject(reason));
  }

  #end(settle: () => void): Promise<void> {
    // Not at once: closing the port ends sessions, and that may call this again.
    this.#ending ??= Promise.resolve().then(async () => {
      for (const each of [this.#wrong, this.#late, this.#refused]) each.stop();
      await this.#port.close();
    }).finally(settle);
    return this.#ending;
  }

  async #answer(request: Request, visit: Visit): Promise<ResponseTuple> {
    const { method, uri, body, headers } = request;
    const isKnown = method === "POST" && body !== null && "content-length" in headers;
    const bytes = isKnown ? await body.bytes() : null;
    if (bytes !== null && this.#ending === null) {
      if (uri === SECRET_URI) return await this.#answerSecret(bytes, visit);
      if (uri === VALUE_URI) return await this.#answerValue(bytes, visit);
    }
    return this.#refuse(visit);
  }

  /** The first step. Nothing is awaited between comparing the secret and noting its use. */
  async #answerSecret(bytes: Uint8Array, visit: Visit): Promise<ResponseTuple> {
    const secret = decodeSecret(bytes);
    if (secret === null || !isSameSecret(secret, this.secret)) return this.#refuse(visit);
    const { session } = visit;
    if (this.#stage !== "open") {
      this.#late.add(String(session));
      return hangUp(session);
    }
    this.#stage = "claimed";
    this.#port.settle(session);
    this.#port.limit(session);
    let joiner: Joiner;
    try {
      this.#stage = joiner = await this.#admit(bytes, session);
    } catch (error) {
      this.#stage = "open";
      this.#refused.add(`${session}: ${plainMessageOf(error)}`);
      return [403, "Forbidden", {}, null];
    }
    return [200, "OK", {}, encodeAnswer(joiner.answer)];
  }

  /** Checks what the device with the right secret sent, and closes the port to all others. */
  async #admit(bytes: Uint8Array, session: Session): Promise<Joiner> {
    const introduction = decodeIntroduction(bytes);
    const authority = await readAuthority(introduction.authority);
    if (authority.id === this.#services.identity.authority.id) {
      throw new RangeError(
        "it sent the authority of this device: it is this device, or a copy of it",
      );
    }
    const addresses = await this.#findAddresses();
    const answer = { value: makeRandom(), name: this.#services.name, addresses };
    this.#port.trustOnly(authority, session);
    return { authority, introduction, answer };
  }

  /** The second step: the TLS library has verified that the joiner has its authority's key. */
  async #answerValue(bytes: Uint8Array, visit: Visit): Promise<ResponseTuple> {
    const joiner = this.#stage;
    const certificate = visit.session.peerCertificate;
    if (typeof joiner === "string" || certificate === null) return this.#refuse(visit);
    const isSigner = certificate.authority?.publicKey256 === joiner.authority.publicKey256 &&
      hasSigned(joiner.authority.certificate, certificate.raw);
    const value = decodeValue(bytes);
    if (!isSigner || value === null) return this.#refuse(visit);
    if (!isSameSecret(value, joiner.answer.value)) return this.#refuse(visit);
    this.#stage = "storing";
    this.#port.settle(visit.session);
    this.#port.limit(visit.session, null);
    return await this.#write(joiner, visit);
  }

  async #write(joiner: Joiner, { session, socket }: Visit): Promise<ResponseTuple> {
    const { authority, introduction: { name: receivedName, addresses } } = joiner;
    const { peers, logger } = this.#services;
    try {
      const peer = await peers.record({
        authority,
        receivedName,
        peerName: this.#peerName,
        addresses: withScope(addresses, () => scopeOfConnection(session.address, socket)),
      });
      logger.info(`invitation: paired with ${peer.name} (${peer.id})`);
      this.#finish(session, () => this.#outcome.resolve(peer));
      return [204, "No Content", {}, null];
    } catch (error) {
      logger.warn(`invitation: the pairing can't be stored: ${plainMessageOf(error)}`);
      this.#finish(session, () => this.#outcome.reject(error));
      return hangUp(session);
    }
  }

  /** Waits until the joiner has closed its connection, for a limited time, then closes the ports. */
  #finish({ signal }: Session, settle: () => void): void {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      this.#end(settle);
    };
    const timer = setTimeout(end, LAST_MILLISECONDS);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  }

  /** Counts a wrong request, and closes its connection without a response. */
  #refuse({ session }: Visit): ResponseTuple {
    this.#wrong.add(String(session));
    return hangUp(session);
  }
}

/** Closes a connection; the response it returns is never sent. */
function hangUp(session: Session): ResponseTuple {
  session.close(new DeguError("the connection was refused"));
  return [403, "Forbidden", {}, null];
}

/** Time from the end of the handshake to the end of the request: stops slow peers. */
const REQUEST_MILLISECONDS = 2000;
/**
 * Connections that have not sent the secret yet. For one more the oldest is closed: a peer with the secret
 * sends it at once, so idle strangers can't keep it out.
 */
const MAX_WAITING = 64;
/** Seconds that a handshake may take. */
const HANDSHAKE_SECONDS = 5;

/** A connection to the port. */
interface Visit {
  readonly session: Session;
  readonly socket: Socket;
}

/** A connection and its time limit. */
interface Entry {
  readonly visit: Visit;
  timer?: ReturnType<typeof setTimeout>;
}

/** The servers of an invitation, one for each of its addresses. */
class PairingPort {
  readonly #identity: DeviceIdentity;
  /** Accepts every client until the first one is known. */
  readonly #context: ContextInForce;
  readonly #servers: Server[] = [];
  readonly #visits = new Map<Session, Entry>();
  /** Those that have not sent the secret or the value yet, the oldest first. */
  readonly #waiting = new Set<Session>();
  readonly #answer: (request: Request, visit: Visit) => ReturnType<AppFunction>;
  readonly #logger: Logger;

  /**
   * Creates a port that listens nowhere yet.
   *
   * @param answer Answers the requests.
   */
  constructor(
    identity: DeviceIdentity,
    answer: (request: Request, visit: Visit) => ReturnType<AppFunction>,
    logger: Logger,
  ) {
    this.#identity = identity;
    this.#context = new ContextInForce(identity.serverContext(null));
    this.#answer = answer;
    this.#logger = logger;
  }

  /**
   * Listens on an address, and accepts every client.
   *
   * @returns The address with its port.
   */
  async open(address: Address): Promise<Address> {
    const app = {
      onConnect: (session: Session, socket: Socket) => this.#welcome({ session, socket }),
      handle: (request: Request, session: Session) => {
        const entry = this.#visits.get(session);
        if (entry === undefined) throw new ConnectionClosedError();
        return this.#answer(request, entry.visit);
      },
    };
    const options = {
      maxConnections: Infinity,
      timeout: HANDSHAKE_SECONDS,
      logger: this.#logger,
    };
    const server = new Server(address, app, options, (checked, side) => {
      return new TlsListener(checked, side, this.#context, PAIRING_PROTOCOL);
    });
    server.serveForever().catch(() => {});
    this.#servers.push(server);
    await server.ready;
    return server.address;
  }

  #welcome(visit: Visit): true {
    const { session, socket } = visit;
    limitReading(socket, MAX_MESSAGE_BYTES);
    this.#visits.set(session, { visit });
    this.#waiting.add(session);
    session.store.set("visit", { [Symbol.dispose]: () => this.#forget(session) });
    this.limit(session);
    if (this.#waiting.size > MAX_WAITING) {
      const [oldest] = this.#waiting;
      this.#forget(oldest!);
      oldest!.close(new ConnectionClosedError("closed in favor of a newer connection"));
    }
    return true;
  }

  /** Closes a connection after a time from now, 2 s by default; `null` for no limit. */
  limit(session: Session, milliseconds: number | null = REQUEST_MILLISECONDS): void {
    const entry = this.#visits.get(session);
    if (entry === undefined) return;
    clearTimeout(entry.timer);
    if (milliseconds === null) return;
    const end = () => session.close(new Deno.errors.TimedOut("the request took too long"));
    entry.timer = setTimeout(end, milliseconds);
  }

  /** Marks a connection that has sent the secret or the value: it is not closed for a newer one. */
  settle(session: Session): void {
    this.#waiting.delete(session);
  }

  #forget(session: Session): void {
    clearTimeout(this.#visits.get(session)?.timer);
    this.#visits.delete(session);
    this.#waiting.delete(session);
  }

  /**
   * Closes all connections but one, and from then on accepts only clients of one authority.
   *
   * @throws {RangeError} if the authority can't be used; then nothing has changed.
   */
  trustOnly(authority: Authority, except: Session): void {
    this.#context.replace(this.#identity.serverContext([authority]));
    for (const session of [...this.#visits.keys()]) {
      if (session !== except) session.close(new ConnectionClosedError("another device was first"));
    }
  }

  /** Closes all connections and frees the addresses. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#servers.map((server) => server[Symbol.asyncDispose]()));
  }
}

/** Between two warnings: a peer must not be able to fill the log. */
const LEAST_MILLISECONDS = 1000;

/** Counts events of one kind, and logs a warning at most once a second. */
export class LimitedWarning {
  readonly #logger: Logger;
  readonly #format: (last: string, count: number) => string;
  #count = 0;
  #reported = 0;
  #last = "";
  #stopped = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Starts at 0.
   *
   * @param format Returns the text of a warning, from what was last added and how often anything was.
   */
  constructor(logger: Logger, format: (last: string, count: number) => string) {
    this.#logger = logger;
    this.#format = format;
  }

  /** Counts an event. */
  add(last: string): void {
    this.#count++;
    this.#last = last;
    if (this.#timer === undefined && !this.#stopped) this.#report();
  }

  #report(): void {
    this.#reported = this.#count;
    this.#logger.warn(this.#format(this.#last, this.#count));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#count > this.#reported) this.#report();
    }, LEAST_MILLISECONDS);
  }

  /** Logs nothing more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}

/** Makes a connection fail once its peer has sent more than so many bytes. */
function limitReading(socket: Socket, most: number): void {
  const read = socket.read.bind(socket);
  let left = most;
  socket.read = async (into) => {
    // One byte above the limit, to distinguish a peer that exceeds it from one that reaches it.
    const count = await read(into.subarray(0, left + 1));
    left -= count ?? 0;
    if (left >= 0) return count;
    throw new DeguError(`the peer sent more than ${most} bytes`);
  };
}
