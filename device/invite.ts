/** The inviter of a pairing: the invitation, and the responses at its port for TLS. */

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
  formatLineHost,
  type LineAddress,
  MAX_ADDRESSES,
  withNextPort,
} from "./invitation_line.ts";
import {
  addressesToStore,
  checkListen,
  listOwnAddresses,
  makeAddressFinder,
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
import { LINE_TRANSITIONS, type LineEvent, type LineState, StateMachine } from "./pairing_state.ts";
import type { Peer } from "./peer_store.ts";
import { type ConfirmNumber, PlainPort } from "./plain_port.ts";
import { closeSession, type PairingConnection, PairingConnections } from "./pairing_connections.ts";

/** The addresses, the time limit and the ways by which another device can join. */
export interface InviteOptions {
  /**
   * The addresses to listen on: 1 to 6 IP addresses with a port. That port is for TLS, and the next
   * one is plain. The port 0 means two free ports. With a wildcard the line has the addresses of
   * this machine.
   *
   * @default {up to six addresses of this machine that a peer can use, port 0}
   */
  listen?: readonly (HostAddress | ScopedAddress)[] | undefined;
  /**
   * The addresses of this device for later connections, which the other device stores: up to 6 IP
   * addresses or DNS names with a port.
   *
   * @default {those of the servers of this directory when the other device joins}
   */
  serving?: readonly (HostAddress | ScopedAddress)[] | undefined;
  /**
   * Seconds until it expires, from 1 to 86,400.
   *
   * @default {600}
   */
  seconds?: number | undefined;
  /** The name of the peer on this device, instead of the peer's own name. */
  peerName?: string | undefined;
  /**
   * Asks whether the other device shows the same number. With it the invitation can also be joined
   * by a number, without its line.
   */
  confirm?: ConfirmNumber | undefined;
  /** Ends the invitation: `paired` rejects with its reason. */
  signal?: AbortSignal | undefined;
}

const INVITE_OPTIONS = ["listen", "serving", "seconds", "peerName", "confirm", "signal"];
const DEFAULT_OPEN_SECONDS = 600;
const MAX_OPEN_SECONDS = 86_400;

/** The longest wait for the joiner to close its connection after the last response. */
const CLOSE_MILLISECONDS = 2000;
const HANDSHAKE_SECONDS = 5;

/** Makes the response for a joiner whose number was not confirmed at this device. */
const notConfirmedResponse = (): ResponseTuple => [403, "Forbidden", {}, null];

/** The address for TLS, and the plain port on the same host. */
type BoundPorts = readonly [address: Address, plainPort: number];

/** A device to store, with the message in which it has introduced itself. */
interface IntroducedDevice {
  readonly authority: DeviceAuthority;
  readonly introduction: Pick<Message<typeof INTRODUCTION>, "name" | "addresses">;
}

/** A device that has sent the secret. */
interface Joiner extends IntroducedDevice {
  /** The response to the first request, with the value that the second request must contain. */
  readonly answer: Message<typeof ANSWER>;
}

/**
 * An open invitation, made by `device.invite()`. Until it expires, the first device with its line
 * can be paired with this one.
 *
 * Pairing takes two steps. In the first step the joiner sends the secret and its authority. In the
 * second step the joiner connects with a certificate of that authority, so the TLS library verifies
 * every certificate. No device is stored before the second step.
 *
 * With `confirm` a number that two people compare can replace the line and the first step.
 */
export class Invitation implements AsyncDisposable {
  /** The time at which the invitation expires. Setting the clock doesn't change the time limit. */
  readonly expires: Date;
  /**
   * The other device, once the two are paired. Rejects with `Deno.errors.TimedOut` when the
   * invitation expires, with `ConnectionClosedError` when it is closed, and with the reason of
   * `signal`. Awaiting it is optional.
   */
  readonly paired: Promise<Peer>;
  readonly #services: DeviceServices;
  readonly #peerName: string | undefined;
  /** Finds the addresses of this device for the response. */
  readonly #findAddresses: () => Promise<HostAddress[]>;
  readonly #secret = makeRandom();
  #lineText = "";
  #addresses: readonly Address[] = [];
  /** Accepts every client, until a device has sent the secret or a number is shown. */
  #sslctx: ServerSslctx;
  readonly #servers: Server[] = [];
  readonly #connections = new PairingConnections();
  readonly #line: StateMachine<LineState, LineEvent>;
  readonly #plainPort: PlainPort;
  /** The rate limits of log lines that strangers cause, by kind. */
  readonly #logLimits: Record<
    "strangers" | "wrongSecrets" | "laterDevices" | "refusedMessages",
    LineRateLimiter
  >;
  readonly #pairing = Promise.withResolvers<Peer>();
  readonly #expiryTimer: ReturnType<typeof setTimeout>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => void this.#close(this.#signal!.reason);
  /** The device that has sent the secret, once it has the response. */
  #joiner: Joiner | null = null;
  #end: Promise<void> | null = null;

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
    this.#line = new StateMachine(LINE_TRANSITIONS, "open", (bug) => {
      logger.error(`invitation: ${bug}`);
    });
    const setTlsContext = (sslctx: ServerSslctx) => this.#setTlsContext(sslctx);
    this.#plainPort = new PlainPort(services, this.#line, setTlsContext, findAddresses, confirm);
    const warn = (text: string) => logger.warn(`invitation: ${text}`);
    // A stranger must not be able to fill the log.
    const rateLimited = (log: (lastLine: string, total: number) => void) => {
      let total = 0;
      return new LineRateLimiter((lastLine, count) => log(lastLine, total += count));
    };
    this.#logLimits = {
      strangers: rateLimited((line, count) =>
        logger.info(
          count === 1 ? line : `${line}; ${count} connections so far were refused or failed`,
        )
      ),
      wrongSecrets: rateLimited((who, count) =>
        warn(`wrong secret from ${who}; ${count} wrong so far; it stays open`)
      ),
      laterDevices: rateLimited((who) =>
        warn(
          `${who} has the right secret, but another device was first: somebody else may have seen the line; ` +
            "check which device this one is paired with now",
        )
      ),
      refusedMessages: rateLimited((problem, count) =>
        warn(`the right secret, but refused: ${problem}; ${count} refused so far; it stays open`)
      ),
    };
    this.paired = this.#pairing.promise;
    this.paired.catch(() => {});
    this.expires = new Date(Date.now() + seconds * 1000);
    this.#signal = signal;
    const message = `the invitation expired at ${this.expires.toISOString()}`;
    this.#expiryTimer = setTimeout(
      () => this.#close(new Deno.errors.TimedOut(message)),
      seconds * 1000,
    );
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
        INVITE_OPTIONS,
      );
    checkSignal(signal);
    if (confirm !== undefined) checkFunction("confirm", confirm);
    checkNumber("seconds", seconds);
    if (!(seconds >= 1 && seconds <= MAX_OPEN_SECONDS)) {
      throw notAllowedError("seconds", `must be from 1 to ${MAX_OPEN_SECONDS}; got ${seconds}`);
    }
    const listenAddresses = listen === undefined ? null : checkListen(listen);
    const findAddresses = makeAddressFinder(services, serving);
    if (peerName !== undefined) await services.peers.checkFree(peerName);
    signal?.throwIfAborted();
    const invitation = new Invitation(services, peerName, findAddresses, confirm, seconds, signal);
    try {
      const boundPorts = listenAddresses === null
        ? await invitation.#listenEverywhere()
        : await Promise.all(
          listenAddresses.map((address, i) =>
            invitation.#listen(address).catch((error) => {
              throw withNewMessage(error, ({ message }) => `listen[${i}]: ${message}`);
            })
          ),
        );
      signal?.throwIfAborted();
      signal?.addEventListener("abort", invitation.#onAbort);
      const lineAddresses = boundPorts.flatMap(([bound, plainPort]) => {
        const addresses = listenAddresses === null ? [bound] : withoutWildcards([bound]);
        return addresses.map((address): LineAddress => {
          return [formatLineHost(address), Number(address[1]), plainPort];
        });
      });
      const distinctAddresses = new Map(
        lineAddresses.map((address) => [address.join(" "), address]),
      );
      const addresses = [...distinctAddresses.values()].slice(0, MAX_ADDRESSES);
      if (addresses.length === 0) {
        throw new DeguError("listen: this machine has no address of the family of the wildcard");
      }
      invitation.#lineText = encodeLine({
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
   * Listens on the addresses of this machine. An address may have just disappeared, or not be ready
   * yet, so one that can be bound is enough.
   */
  async #listenEverywhere(): Promise<BoundPorts[]> {
    const addresses = listOwnAddresses().slice(0, MAX_ADDRESSES);
    const results = await Promise.allSettled(addresses.map((address) => this.#listen(address)));
    const boundPorts = results.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
    if (boundPorts.length > 0) return boundPorts;
    const causes = results.map((each) => each.status === "rejected" ? each.reason : null);
    const permissionError = causes.find((cause) => cause instanceof Deno.errors.NotCapable);
    throw permissionError ??
      new DeguError("can't listen on any address of this machine: set `listen`", {
        cause: new AggregateError(causes),
      });
  }

  /**
   * Listens on an address for TLS, and on a second port without TLS. Resolves to the address and
   * the second port.
   */
  async #listen(address: HostAddress | ScopedAddress): Promise<BoundPorts> {
    const app = {
      onConnect: (session: Session, socket: Socket) => this.#connections.add(session, socket),
      handle: (request: Request, session: Session) => this.#answer(request, session),
    };
    let isBound = false;
    const { logger: deviceLogger } = this.#services;
    const record: Logger["record"] = (level, line, details) => {
      if (level === "info") return this.#logLimits.strangers.add(line);
      // Before it is bound, a server warns only that every client is accepted.
      if (level !== "warn" || isBound) deviceLogger[level](line, details);
    };
    const logger = { ...deviceLogger, record };
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
    const plainAddress = withNextPort(address);
    const plain = new Server(plainAddress, this.#plainPort.app(port), {
      ...options,
      timeout: null,
    });
    this.#serve(plain);
    const [, plainPort] = plain.address as HostAddress;
    return [encrypted.address, plainPort];
  }

  /** Replaces the context of all servers for TLS. */
  #setTlsContext(sslctx: ServerSslctx): void {
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
   * Resolves when no device can join by a number any more, because five numbers were not confirmed.
   * The line stays valid. Without `confirm`, and after the end, the promise stays pending.
   */
  get exhausted(): Promise<void> {
    return this.#plainPort.exhausted;
  }

  /**
   * The text that the other device needs to join. Any device with this text can be paired with this
   * one, so keep the text secret, and deliver it unchanged. White space in the text is ignored.
   */
  get line(): string {
    return this.#lineText;
  }

  /**
   * The addresses at which the other device can join by a number: those of the plain ports, as in
   * the line.
   */
  get addresses(): readonly Address[] {
    return this.#addresses;
  }

  /**
   * Ends the invitation and frees its ports. If a pairing is being stored, `close` completes it
   * first. A second call has no effect.
   */
  close(): Promise<void> {
    return this.#close(new ConnectionClosedError("the invitation was closed"));
  }

  /** Ends the invitation, as {@linkcode Invitation.prototype.close} does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(reason: unknown): Promise<void> {
    // A stored peer can't be removed again: the other device may have the response already.
    if (this.#line.apply("end") === "storing") return void await this.paired.catch(() => {});
    this.#plainPort.lastAttempt?.end(reason);
    await this.#closeServers(() => this.#pairing.reject(reason));
  }

  #closeServers(settle: () => void): Promise<void> {
    // In a later microtask, since the end of a session may call this method again.
    this.#end ??= Promise.resolve().then(async () => {
      clearTimeout(this.#expiryTimer);
      this.#signal?.removeEventListener("abort", this.#onAbort);
      for (const limit of Object.values(this.#logLimits)) limit.close();
      await Promise.allSettled(this.#servers.map((server) => server[Symbol.asyncDispose]()));
    }).finally(settle);
    return this.#end;
  }

  async #answer(request: Request, session: Session): Promise<ResponseTuple> {
    const { uri } = request;
    const bytes = await readMessage(request);
    if (bytes === null) return this.#refuse(session);
    const connection = this.#connections.of(session);
    if (connection === undefined || this.#line.state === "ended") return closeSession(session);
    if (uri === SECRET_URI) return await this.#answerSecret(bytes, connection);
    if (uri === VALUE_URI) return await this.#answerValue(bytes, connection);
    if (uri === CONFIRMED_URI) return await this.#answerConfirmed(bytes, connection);
    return this.#refuse(session);
  }

  /** Answers the first step. Compares the secret and claims the line in the same tick. */
  async #answerSecret(bytes: Uint8Array, connection: PairingConnection): Promise<ResponseTuple> {
    const { session } = connection;
    if (!hasRandom(bytes, INTRODUCTION, "secret", this.#secret)) return this.#refuse(session);
    if (this.#line.state !== "open") {
      this.#logLimits.laterDevices.add(String(session));
      return closeSession(session);
    }
    this.#line.apply("claim");
    this.#plainPort.lastAttempt?.end(new DeguError("another device has the line"));
    this.#connections.accept(connection);
    try {
      this.#joiner = await this.#admit(bytes, session);
    } catch (error) {
      this.#line.apply("refuse");
      this.#logLimits.refusedMessages.add(`${session}: ${plainMessageOf(error)}`);
      return [403, "Forbidden", {}, null];
    }
    return [200, "OK", {}, encodeMessage(this.#joiner.answer)];
  }

  /**
   * Checks the message of the device with the right secret. Then accepts clients of that device's
   * authority only.
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
    this.#line.apply("answer");
    this.#plainPort.lastAttempt?.end(reason);
    this.#setTlsContext(context);
    this.#connections.closeOthers(session, reason);
    return { authority, introduction, answer };
  }

  /** Answers the second step. The TLS library has verified that the joiner has its key. */
  async #answerValue(bytes: Uint8Array, connection: PairingConnection): Promise<ResponseTuple> {
    const { session } = connection;
    const joiner = this.#joiner;
    const isJoiner = this.#line.state === "answered" && joiner !== null &&
      identifyDevice(session.peerCertificate, [joiner.authority]) !== null &&
      hasRandom(bytes, PROOF, "value", joiner.answer.value);
    if (!isJoiner) return this.#refuse(session);
    this.#line.apply("reconnect");
    return await this.#store(connection, joiner, [204, "No Content", {}, null]);
  }

  /** Answers the second step of a pairing by a number, once the person has confirmed. */
  async #answerConfirmed(
    bytes: Uint8Array,
    connection: PairingConnection,
  ): Promise<ResponseTuple> {
    const { session } = connection;
    const attempt = this.#plainPort.lastAttempt;
    // The person at this device may have answered no before the joiner connected.
    if (attempt?.state === "ended") return notConfirmedResponse();
    // A device with the right secret has precedence, even while its message is being checked.
    const isJoiner = this.#line.state === "open" && attempt !== null &&
      (attempt.state === "revealed" || attempt.state === "accepted") &&
      isEmptyMessage(bytes) &&
      identifyDevice(session.peerCertificate, [attempt.authority]) !== null;
    if (!isJoiner) return this.#refuse(session);
    this.#connections.keep(connection);
    attempt.apply("reconnect");
    attempt.add(session);
    await attempt.confirmed.promise.catch(() => {});
    // The number may have ended during the wait.
    if (attempt.apply("store") === "ended") return notConfirmedResponse();
    this.#line.apply("confirm");
    return await this.#store(connection, attempt, [200, "OK", {}, encodeMessage({})]);
  }

  /** Stores the other device, and ends the invitation. */
  async #store(
    connection: PairingConnection,
    { authority, introduction: { name: receivedName, addresses } }: IntroducedDevice,
    response: ResponseTuple,
  ): Promise<ResponseTuple> {
    const { session } = connection;
    this.#connections.keep(connection);
    const { logger } = this.#services;
    try {
      const peer = await storePairing(this.#services, {
        authority,
        receivedName,
        peerName: this.#peerName,
        addresses: addressesToStore(addresses, session.address, connection.socket),
      });
      logger.info(`invitation: paired with ${peer.name} (${peer.id})`);
      this.#finish(session, () => this.#pairing.resolve(peer));
      return response;
    } catch (error) {
      logger.warn(`invitation: the pairing can't be stored: ${plainMessageOf(error)}`);
      this.#finish(session, () => this.#pairing.reject(error));
      return closeSession(session);
    }
  }

  /** Waits until the joiner has closed its connection, for a limited time, then frees the ports. */
  async #finish({ signal }: Session, settle: () => void): Promise<void> {
    await pause(CLOSE_MILLISECONDS, signal);
    this.#line.apply("finish");
    await this.#closeServers(settle);
  }

  #refuse(session: Session): ResponseTuple {
    this.#logLimits.wrongSecrets.add(String(session));
    return closeSession(session);
  }
}

/** Whether a message has this random value, compared in constant time. Ignores other fields. */
function hasRandom(
  bytes: Uint8Array,
  fields: typeof INTRODUCTION | typeof PROOF,
  name: "secret" | "value",
  expected: Uint8Array,
): boolean {
  try {
    return timingSafeEqual(decodeMessage(bytes, [name], fields)[name], expected);
  } catch {
    return false;
  }
}
