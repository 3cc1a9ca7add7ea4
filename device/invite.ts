/** The end of a pairing that invites: the invitation, and the answers of its port of TLS. */

import { timingSafeEqual } from "node:crypto";
import {
  type Address,
  ConnectionClosedError,
  DeguError,
  type HostAddress,
  type ResponseTuple,
  type ScopedAddress,
  type Socket,
} from "../base.ts";
import {
  type Logger,
  type Request,
  Server,
  type ServerSslctx,
  type Session,
  SSLServer,
} from "../server.ts";
import {
  checkFunction,
  checkNumber,
  checkSignal,
  copyOptions,
  notAllowedError,
} from "../internal/checks.ts";
import { pause } from "../internal/pause.ts";
import {
  type DeviceAuthority,
  identifyDevice,
  parseKeyHash,
  readAuthorityDer,
} from "./identity/authority.ts";
import { LineRateLimiter } from "../net/logger.ts";
import { plainMessageOf, withNewMessage } from "../net/error_text.ts";
import { type DeviceServices, storePairing } from "./device_services.ts";
import {
  encodeLine,
  type LineAddress,
  lineHost,
  MAX_ADDRESSES,
  withNextPort,
} from "./invitation_line.ts";
import {
  addressesToStore,
  addressFinder,
  checkListen,
  ownAddresses,
  withoutWildcards,
} from "./pairing_addresses.ts";
import {
  type ANSWER,
  CONFIRMED_URI,
  decodeMessage,
  encodeMessage,
  INTRODUCTION,
  isEmptyMessage,
  makeRandom,
  type Message,
  PAIRING_PROTOCOL,
  PROOF,
  readMessage,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import { LINE, type LineEvent, type LineState, PairingState } from "./pairing_state.ts";
import type { Peer } from "./peer_store.ts";
import { type ConfirmNumber, PlainPort } from "./plain_port.ts";
import { hangUp, type PairingClient, PairingClients } from "./pairing_clients.ts";

/** Where, how and for how long another device can join. */
export interface InviteOptions {
  /**
   * Where to listen for the other device: 1 to 6 IP addresses with a port, at which TLS is spoken,
   * and the next one is plain; 0 for two free ones. With a wildcard the line has the addresses of
   * this machine.
   *
   * @default {up to six addresses of this machine that a peer can use, port 0}
   */
  listen?: readonly (HostAddress | ScopedAddress)[] | undefined;
  /**
   * Where this device can be reached later: up to 6 IP addresses or DNS names with a port, which
   * the other device stores.
   *
   * @default {where servers of this directory listen when the other device joins}
   */
  serving?: readonly (HostAddress | ScopedAddress)[] | undefined;
  /**
   * Seconds until it expires, from 1 to 86,400.
   *
   * @default {600}
   */
  seconds?: number | undefined;
  /** A name for the other device here, instead of its own name. */
  peerName?: string | undefined;
  /**
   * Asks whether the other device shows the same number: with it the invitation can be joined by a
   * number, too, without its line.
   */
  confirm?: ConfirmNumber | undefined;
  /** Ends the invitation: `paired` rejects with its reason. */
  signal?: AbortSignal | undefined;
}

const OPTIONS = ["listen", "serving", "seconds", "peerName", "confirm", "signal"];
const DEFAULT_OPEN_SECONDS = 600;
const MAX_OPEN_SECONDS = 86_400;

/** How long the joiner may keep its connection open after the last answer. */
const LAST_MILLISECONDS = 2000;
const HANDSHAKE_SECONDS = 5;

/**
 * The answer for a joiner whose number was not confirmed here: the person has said no, or nothing
 * in time. It ends the session.
 */
const notConfirmed = (): ResponseTuple => [403, "Forbidden", {}, null];

/** The address for TLS, and the plain port on the same host. */
type Bound = readonly [address: Address, plainPort: number];

/** A device that may be stored, with its message about itself. */
interface Joining {
  readonly authority: DeviceAuthority;
  readonly introduction: Pick<Message<typeof INTRODUCTION>, "name" | "addresses">;
}

/** A device that has sent the secret. */
interface Joiner extends Joining {
  /** The answer to the first request, with the value that the second one must carry. */
  readonly answer: Message<typeof ANSWER>;
}

/**
 * An open invitation, made by `device.invite()`: the first device that has its line can be paired
 * with this one, until it expires.
 *
 * Pairing takes two steps. In the first the joiner sends the secret and its authority, in the
 * second it connects with a certificate of that authority, so every certificate is verified by the
 * TLS library. Nothing is stored before the second.
 *
 * With `confirm` a number that two people compare can take the place of the line, and of the first
 * step.
 */
export class Invitation implements AsyncDisposable {
  /** When it expires. Setting the clock does not change how long that takes. */
  readonly expires: Date;
  /**
   * The other device, once the two are paired. Rejects with `Deno.errors.TimedOut` when the
   * invitation expires, with `ConnectionClosedError` when it is closed, and with the reason of
   * `signal`. Awaiting it is optional.
   */
  readonly paired: Promise<Peer>;
  readonly #services: DeviceServices;
  readonly #peerName: string | undefined;
  /** Returns the addresses of this device that the answer carries. */
  readonly #findAddresses: () => Promise<HostAddress[]>;
  readonly #secret = makeRandom();
  #line = "";
  #addresses: readonly Address[] = [];
  /** Accepts every client, until a device has sent the secret or a number is asked about. */
  #sslctx: ServerSslctx;
  readonly #servers: Server[] = [];
  readonly #clients = new PairingClients();
  readonly #state: PairingState<LineState, LineEvent>;
  readonly #plain: PlainPort;
  /** The limits of what strangers can write into the log, by kind. */
  readonly #logLimits: Record<"strangers" | "wrong" | "late" | "refused", LineRateLimiter>;
  readonly #outcome = Promise.withResolvers<Peer>();
  /** A timer, which a clock that is set does not move. */
  readonly #expiry: ReturnType<typeof setTimeout>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => void this.#close(this.#signal!.reason);
  /** The device that has sent the secret, and got the answer. */
  #joiner: Joiner | null = null;
  #ending: Promise<void> | null = null;

  private constructor(
    services: DeviceServices,
    peerName: string | undefined,
    findAddresses: () => Promise<HostAddress[]>,
    confirm: ConfirmNumber | undefined,
    seconds: number,
    signal: AbortSignal | undefined,
  ) {
    this.#services = services;
    this.#peerName = peerName;
    this.#findAddresses = findAddresses;
    this.#sslctx = services.identity.openContext();
    const { logger } = services;
    this.#state = new PairingState(LINE, "open", (bug) => logger.error(`invitation: ${bug}`));
    const trust = (sslctx: ServerSslctx) => this.#trust(sslctx);
    this.#plain = new PlainPort(services, this.#state, trust, findAddresses, confirm);
    const warn = (text: string) => logger.warn(`invitation: ${text}`);
    // A stranger must not be able to fill the log.
    const limited = (log: (last: string, total: number) => void) => {
      let total = 0;
      return new LineRateLimiter((last, count) => log(last, total += count));
    };
    this.#logLimits = {
      strangers: limited((last, count) =>
        logger.info(
          count === 1 ? last : `${last}; ${count} connections so far were refused or failed`,
        )
      ),
      wrong: limited((who, count) =>
        warn(`wrong secret from ${who}; ${count} wrong so far; it stays open`)
      ),
      late: limited((who) =>
        warn(
          `${who} has the right secret, but another device was first: somebody else may have seen the line; ` +
            "check which device this one is paired with now",
        )
      ),
      refused: limited((what, count) =>
        warn(`the right secret, but refused: ${what}; ${count} refused so far; it stays open`)
      ),
    };
    this.paired = this.#outcome.promise;
    this.paired.catch(() => {});
    this.expires = new Date(Date.now() + seconds * 1000);
    this.#signal = signal;
    const message = `the invitation expired at ${this.expires.toISOString()}`;
    this.#expiry = setTimeout(() => this.#close(new Deno.errors.TimedOut(message)), seconds * 1000);
  }

  /**
   * Opens an invitation, for `device.invite()`.
   *
   * @internal
   */
  static async open(services: DeviceServices, options: InviteOptions): Promise<Invitation> {
    const { listen, serving, seconds = DEFAULT_OPEN_SECONDS, peerName, confirm, signal } =
      copyOptions(
        options,
        OPTIONS,
      );
    checkSignal(signal);
    if (confirm !== undefined) checkFunction("confirm", confirm);
    checkNumber("seconds", seconds);
    if (!(seconds >= 1 && seconds <= MAX_OPEN_SECONDS)) {
      throw notAllowedError("seconds", `must be from 1 to ${MAX_OPEN_SECONDS}; got ${seconds}`);
    }
    const given = listen === undefined ? null : checkListen(listen);
    const findAddresses = addressFinder(services, serving);
    if (peerName !== undefined) await services.peers.checkFree(peerName);
    signal?.throwIfAborted();
    const invitation = new Invitation(services, peerName, findAddresses, confirm, seconds, signal);
    try {
      const bound = given === null ? await invitation.#listenEverywhere() : await Promise.all(
        given.map((each, i) =>
          invitation.#listen(each).catch((error) => {
            throw withNewMessage(error, ({ message }) => `listen[${i}]: ${message}`);
          })
        ),
      );
      signal?.throwIfAborted();
      signal?.addEventListener("abort", invitation.#onAbort);
      const found = bound.flatMap(([address, plainPort]) => {
        const own = given === null ? [address] : withoutWildcards([address]);
        return own.map((each): LineAddress => [lineHost(each), Number(each[1]), plainPort]);
      });
      const distinct = new Map(found.map((each) => [each.join(" "), each]));
      const addresses = [...distinct.values()].slice(0, MAX_ADDRESSES);
      if (addresses.length === 0) {
        throw new DeguError("listen: this machine has no address of the family of the wildcard");
      }
      invitation.#line = encodeLine({
        keyHash: parseKeyHash(services.identity.authority.publicKey256),
        addresses,
        secret: invitation.#secret,
        expires: invitation.expires,
      });
      invitation.#addresses = Object.freeze(
        addresses.map(([host, , plainPort]) => Object.freeze([host, plainPort] as const)),
      );
      return invitation;
    } catch (error) {
      await invitation.#close(error);
      throw error;
    }
  }

  /**
   * An address may have just disappeared, or not be ready yet; a single one that can be bound is
   * enough.
   */
  async #listenEverywhere(): Promise<Bound[]> {
    const addresses = ownAddresses().slice(0, MAX_ADDRESSES);
    const opened = await Promise.allSettled(addresses.map((address) => this.#listen(address)));
    const bound = opened.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
    if (bound.length > 0) return bound;
    const causes = opened.map((each) => each.status === "rejected" ? each.reason : null);
    const denied = causes.find((cause) => cause instanceof Deno.errors.NotCapable);
    throw denied ?? new DeguError("can't listen on any address of this machine: set `listen`", {
      cause: new AggregateError(causes),
    });
  }

  /**
   * Listens on an address for TLS, and on a second port without TLS. Resolves to the address and
   * the second port.
   */
  async #listen(address: HostAddress | ScopedAddress): Promise<Bound> {
    const app = {
      onConnect: (session: Session, socket: Socket) => this.#clients.welcome(session, socket),
      handle: (request: Request, session: Session) => this.#answer(request, session),
    };
    let isBound = false;
    const { logger: own } = this.#services;
    const record: Logger["record"] = (level, line, details) => {
      if (level === "info") return this.#logLimits.strangers.add(line);
      // Before it is bound, a server warns only that every client is accepted.
      if (level !== "warn" || isBound) own[level](line, details);
    };
    const logger = { ...own, record };
    const options = { maxConnections: Infinity, maxRequests: Infinity, logger };
    const encrypted = new SSLServer(this.#sslctx, address, app, {
      ...options,
      timeout: HANDSHAKE_SECONDS,
      protocol: PAIRING_PROTOCOL,
    });
    this.#serve(encrypted);
    await encrypted.ready;
    isBound = true;
    const [, port] = encrypted.address as HostAddress;
    const beside = withNextPort(address);
    const plain = new Server(beside, this.#plain.app(port), { ...options, timeout: null });
    this.#serve(plain);
    const [, plainPort] = plain.address as HostAddress;
    return [encrypted.address, plainPort];
  }

  /** Replaces the trust of all servers for TLS. */
  #trust(sslctx: ServerSslctx): void {
    this.#sslctx = sslctx;
    for (const server of this.#servers) {
      if (server instanceof SSLServer) server.setSslctx(sslctx);
    }
  }

  #serve(server: Server): void {
    this.#servers.push(server);
    server.serveForever().catch(() => {});
  }

  /**
   * Resolves when no device can join by a number any more, because five numbers were not confirmed;
   * the line stays valid. Pending otherwise, also without `confirm`, and after the end.
   */
  get exhausted(): Promise<void> {
    return this.#plain.exhausted;
  }

  /**
   * The text that the other device needs to join. Any device that has it can be paired with this
   * one, so keep it secret, and deliver it unchanged. White space in it is ignored.
   */
  get line(): string {
    return this.#line;
  }

  /**
   * Where the other device can join by a number: the addresses of the plain ports, as they are in
   * the line.
   */
  get addresses(): readonly Address[] {
    return this.#addresses;
  }

  /**
   * Ends the invitation and frees its ports. A pairing that is being stored at that moment is
   * completed first. Calling it again has no effect.
   */
  close(): Promise<void> {
    return this.#close(new ConnectionClosedError("the invitation was closed"));
  }

  /** Ends the invitation, as {@linkcode Invitation.prototype.close} does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(reason: unknown): Promise<void> {
    // A stored entry can't be taken back: the other device may have the answer already.
    if (this.#state.on("ends") === "storing") return void await this.paired.catch(() => {});
    this.#plain.current?.end(reason);
    await this.#end(() => this.#outcome.reject(reason));
  }

  #end(settle: () => void): Promise<void> {
    // The servers are closed in a later turn: the end of their sessions may call this method again.
    this.#ending ??= Promise.resolve().then(async () => {
      clearTimeout(this.#expiry);
      this.#signal?.removeEventListener("abort", this.#onAbort);
      for (const each of Object.values(this.#logLimits)) each.close();
      await Promise.allSettled(this.#servers.map((server) => server[Symbol.asyncDispose]()));
    }).finally(settle);
    return this.#ending;
  }

  async #answer(request: Request, session: Session): Promise<ResponseTuple> {
    const { uri } = request;
    const bytes = await readMessage(request);
    if (bytes === null) return this.#refuse(session);
    const client = this.#clients.of(session);
    if (client === undefined || this.#state.now === "over") return hangUp(session);
    if (uri === SECRET_URI) return await this.#answerSecret(bytes, client);
    if (uri === VALUE_URI) return await this.#answerValue(bytes, client);
    if (uri === CONFIRMED_URI) return await this.#answerConfirmed(bytes, client);
    return this.#refuse(session);
  }

  /** The first step. Nothing is awaited between comparing the secret and noting its use. */
  async #answerSecret(bytes: Uint8Array, client: PairingClient): Promise<ResponseTuple> {
    const { session } = client;
    if (!hasRandom(bytes, INTRODUCTION, "secret", this.#secret)) return this.#refuse(session);
    if (this.#state.now !== "open") {
      this.#logLimits.late.add(String(session));
      return hangUp(session);
    }
    this.#state.on("secret");
    this.#plain.current?.end(new DeguError("another device has the line"));
    this.#clients.accept(client);
    try {
      this.#joiner = await this.#admit(bytes, session);
    } catch (error) {
      this.#state.on("refused");
      this.#logLimits.refused.add(`${session}: ${plainMessageOf(error)}`);
      return [403, "Forbidden", {}, null];
    }
    return [200, "OK", {}, encodeMessage(this.#joiner.answer)];
  }

  /**
   * Checks the message of the device with the right secret, and from then on accepts clients of
   * that device's authority only.
   */
  async #admit(bytes: Uint8Array, session: Session): Promise<Joiner> {
    const { identity, name } = this.#services;
    const introduction = decodeMessage(bytes, INTRODUCTION);
    const authority = readAuthorityDer(introduction.authority);
    if (authority.id === identity.authority.id) {
      throw new RangeError(
        "it sent the authority of this device: it is this device, or a copy of it",
      );
    }
    const answer = { value: makeRandom(), name, addresses: await this.#findAddresses() };
    const reason = new ConnectionClosedError("another device was first");
    const context = identity.serverContext([authority]);
    this.#state.on("answered");
    this.#plain.current?.end(reason);
    this.#trust(context);
    this.#clients.closeOthers(session, reason);
    return { authority, introduction, answer };
  }

  /** The second step: the TLS library has verified that the joiner has its authority's key. */
  async #answerValue(bytes: Uint8Array, client: PairingClient): Promise<ResponseTuple> {
    const { session } = client;
    const joiner = this.#joiner;
    const isBack = this.#state.now === "answered" && joiner !== null &&
      identifyDevice(session.peerCertificate, [joiner.authority]) !== null &&
      hasRandom(bytes, PROOF, "value", joiner.answer.value);
    if (!isBack) return this.#refuse(session);
    this.#state.on("returned");
    return await this.#store(client, joiner, [204, "No Content", {}, null]);
  }

  /** The second step after a number: as after a line, once the person here has confirmed. */
  async #answerConfirmed(bytes: Uint8Array, client: PairingClient): Promise<ResponseTuple> {
    const { session } = client;
    const opened = this.#plain.current;
    // The person here may have answered no while the joiner was on its way.
    if (opened?.state === "over") return notConfirmed();
    // A device that has sent the right secret goes first, even while its message is being checked.
    const isBack = this.#state.now === "open" && opened !== null &&
      (opened.state === "asked" || opened.state === "accepted") &&
      isEmptyMessage(bytes) &&
      identifyDevice(session.peerCertificate, [opened.authority]) !== null;
    if (!isBack) return this.#refuse(session);
    this.#clients.keep(client);
    opened.on("returned");
    opened.add(session);
    await opened.confirmed.promise.catch(() => {});
    // The number may have ended since then.
    if (opened.on("stores") === "over") return notConfirmed();
    this.#state.on("confirmed");
    return await this.#store(client, opened, [200, "OK", {}, encodeMessage({})]);
  }

  /** Stores the other device, and nothing else is done any more. */
  async #store(
    client: PairingClient,
    { authority, introduction: { name: receivedName, addresses } }: Joining,
    stored: ResponseTuple,
  ): Promise<ResponseTuple> {
    const { session } = client;
    this.#clients.keep(client);
    const { logger } = this.#services;
    try {
      const peer = await storePairing(this.#services, {
        authority,
        receivedName,
        peerName: this.#peerName,
        addresses: addressesToStore(addresses, session.address, client.socket),
      });
      logger.info(`invitation: paired with ${peer.name} (${peer.id})`);
      this.#finish(session, () => this.#outcome.resolve(peer));
      return stored;
    } catch (error) {
      logger.warn(`invitation: the pairing can't be stored: ${plainMessageOf(error)}`);
      this.#finish(session, () => this.#outcome.reject(error));
      return hangUp(session);
    }
  }

  /** Waits until the joiner has closed its connection, for a limited time, then frees the ports. */
  async #finish({ signal }: Session, settle: () => void): Promise<void> {
    await pause(LAST_MILLISECONDS, signal);
    this.#state.on("finished");
    await this.#end(settle);
  }

  #refuse(session: Session): ResponseTuple {
    this.#logLimits.wrong.add(String(session));
    return hangUp(session);
  }
}

/**
 * Whether a message has this random value, compared in constant time. The rest of it is not looked
 * at.
 */
function hasRandom(
  bytes: Uint8Array,
  fields: typeof INTRODUCTION | typeof PROOF,
  name: "secret" | "value",
  expected: Uint8Array,
): boolean {
  try {
    const { [name]: given } = decodeMessage(bytes, [name], fields);
    return timingSafeEqual(given, expected);
  } catch {
    return false;
  }
}
