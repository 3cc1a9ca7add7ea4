import { timingSafeEqual } from "node:crypto";
import {
  type Address,
  ConnectionClosedError,
  DeguError,
  type HostAddress,
  parseHost,
  type ScopedAddress,
  type Socket,
} from "../../base.ts";
import {
  buildServerSslctx,
  type Logger,
  type Request,
  type ResponseTuple,
  Server,
  type ServerSslctx,
  type Session,
  SSLServer,
} from "../../server.ts";
import { checkFunction, checkSignal, copyOptions, makeNumberCheck } from "../../internal/checks.ts";
import { fileErrorCodeOf, plainMessageOf } from "../../internal/caught_errors.ts";
import { LineRateLimiter } from "../../internal/line_rate_limiter.ts";
import { pause } from "../../internal/pause.ts";
import { copyWithPort } from "../peers/addresses.ts";
import {
  type DeviceAuthority,
  identifyDevice,
  parseKeyHash,
  readAuthorityDer,
} from "../identity/authority.ts";
import { type DeviceServices, storePairing } from "../peers/device_services.ts";
import { encodeLine, type LineAddress, MAX_ADDRESSES } from "./invitation_line.ts";
import {
  type AddressFinder,
  checkListenAddresses,
  formatOmission,
  listOwnAddresses,
  makeAddressFinder,
  replaceWildcards,
  selectAddressesToStore,
} from "./pairing_addresses.ts";
import {
  type ANSWER_FIELDS,
  CONFIRMED_URI,
  decodeMessage,
  encodeMessage,
  INTRODUCTION_FIELDS,
  isEmptyMessage,
  makeRandomValue,
  type Message,
  PAIRING_PROTOCOL,
  PROOF_FIELDS,
  readMessage,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import { LINE_TRANSITIONS, type LineEvent, type LineState, StateMachine } from "./pairing_state.ts";
import type { Peer } from "../peers/peer_file.ts";
import { type ConfirmNumber, PlainPorts } from "./plain_ports.ts";
import { closeSession, type PairingConnection, PairingConnections } from "./pairing_connections.ts";

/** The addresses and the time limit of an invitation, and the ways to join it. */
export interface InviteOptions {
  /**
   * The addresses to listen on: 1 to 6 IP addresses with a port. This port is for TLS, and the next
   * port is plain. The port 0 means two free ports. With a wildcard, the line contains the
   * addresses of this machine.
   *
   * @default {up to six addresses of this machine that a peer can use, port 0}
   */
  listen?: readonly (HostAddress | ScopedAddress)[] | undefined;
  /**
   * The addresses of this device for later connections, which the other device stores: up to 6 IP
   * addresses or DNS names with a port. A function is called when the other device joins, and may
   * return `undefined` for the default.
   *
   * @default {the addresses of this device's servers when the other device joins}
   */
  serving?:
    | readonly (HostAddress | ScopedAddress)[]
    | (() => Promise<readonly (HostAddress | ScopedAddress)[] | undefined>)
    | undefined;
  /**
   * Seconds until the invitation expires, from 1 to 86,400.
   *
   * @default {600}
   */
  seconds?: number | undefined;
  /** The name of the peer on this device, instead of the peer's own name. */
  peerName?: string | undefined;
  /**
   * Asks whether the other device shows the same number. With this function, another device can
   * also join by a number, without the line.
   */
  confirm?: ConfirmNumber | undefined;
  /** Ends the invitation: `paired` rejects with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

const INVITE_OPTION_NAMES = ["listen", "serving", "seconds", "peerName", "confirm", "signal"];
const DEFAULT_OPEN_SECONDS = 600;
const MAX_OPEN_SECONDS = 86_400;

/** The longest wait for the joiner to close its connection after the last response. */
const MAX_CLOSE_WAIT_MILLISECONDS = 2000;
const TLS_TIMEOUT_SECONDS = 5;

const makeNotConfirmedResponse = (): ResponseTuple => [403, "Forbidden", {}, null];

type BoundAddress = readonly [address: Address, plainPort: number];

interface IntroducedDevice {
  readonly authority: DeviceAuthority;
  readonly introduction: Pick<Message<typeof INTRODUCTION_FIELDS>, "name" | "addresses">;
}

/** A device that has sent the secret. */
interface Joiner extends IntroducedDevice {
  /** The response to the first request. The second request must contain its value. */
  readonly response: Message<typeof ANSWER_FIELDS>;
}

/**
 * An open invitation, made by `device.invite()`. Until the invitation expires, the first device
 * that sends its line can be paired with this device.
 *
 * Pairing takes two steps. In the first step the joiner sends the secret and its authority. In the
 * second step the joiner connects with a certificate of that authority, so the TLS library verifies
 * every certificate. No device is stored before the second step.
 *
 * With `confirm`, a number that two people compare can replace the line and the first step.
 */
export class Invitation implements AsyncDisposable {
  /** The time at which the invitation expires. Setting the clock doesn't change the time limit. */
  readonly expires: Date;
  /**
   * The other device, once the two devices are paired. Rejects with `Deno.errors.TimedOut` when the
   * invitation expires, with `ConnectionClosedError` when the invitation is closed, and with the
   * reason of `signal`. Awaiting this promise is optional.
   */
  readonly paired: Promise<Peer>;
  readonly #services: DeviceServices;
  readonly #peerName: string | undefined;
  readonly #addressFinder: AddressFinder;
  readonly #secret = makeRandomValue();
  #line = "";
  #addresses: readonly Address[] = [];
  /**
   * The context of the ports for TLS. The first context accepts every client. When a device has
   * sent the secret or a number is shown, another context replaces it.
   */
  #sslctx: ServerSslctx;
  readonly #servers: Server[] = [];
  readonly #connections = new PairingConnections();
  readonly #lineStateMachine: StateMachine<LineState, LineEvent>;
  readonly #plainPorts: PlainPorts;
  readonly #logRateLimiters: Record<
    "strangers" | "wrongSecrets" | "laterDevices" | "refusedMessages",
    LineRateLimiter
  >;
  readonly #pairedResolvers = Promise.withResolvers<Peer>();
  readonly #expiryTimer: ReturnType<typeof setTimeout>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => void this.#close(this.#signal!.reason);
  /** Set when the response to the device that has sent the secret is made. */
  #joiner: Joiner | null = null;
  #closed: Promise<void> | null = null;

  private constructor(
    services: DeviceServices,
    peerName: string | undefined,
    addressFinder: AddressFinder,
    confirm: ConfirmNumber | undefined,
    seconds: number,
    signal: AbortSignal | undefined,
  ) {
    this.#services = services;
    this.#peerName = peerName;
    this.#addressFinder = addressFinder;
    this.#sslctx = buildServerSslctx(services.identity.makeOpenServerConfig());
    const { logger } = services;
    this.#lineStateMachine = new StateMachine(LINE_TRANSITIONS, "open", logger);
    const setTlsContext = (sslctx: ServerSslctx) => this.#setTlsContext(sslctx);
    this.#plainPorts = new PlainPorts(
      services,
      this.#lineStateMachine,
      setTlsContext,
      addressFinder,
      confirm,
    );
    const warn = (text: string) => logger.warn(`invitation: ${text}`);
    // A stranger must not be able to fill the log.
    const makeRateLimiter = (log: (lastLine: string, total: number) => void) => {
      let total = 0;
      return new LineRateLimiter((lastLine, count) => log(lastLine, total += count));
    };
    this.#logRateLimiters = {
      strangers: makeRateLimiter((line, count) =>
        logger.info(
          count === 1 ? line : `${line}; ${count} connections so far were refused or failed`,
        )
      ),
      wrongSecrets: makeRateLimiter((client, count) =>
        warn(`wrong secret from ${client}; ${count} wrong so far; the invitation stays open`)
      ),
      laterDevices: makeRateLimiter((client) =>
        warn(
          `${client} has sent the right secret after another device: somebody else may have seen the line; ` +
            "check which device was paired",
        )
      ),
      refusedMessages: makeRateLimiter((problem, count) =>
        warn(
          `refused a message with the right secret: ${problem}; ${count} refused so far; ` +
            "the invitation stays open",
        )
      ),
    };
    this.paired = this.#pairedResolvers.promise;
    this.paired.catch(() => {});
    this.expires = new Date(Date.now() + seconds * 1000);
    this.#signal = signal;
    const message = `the invitation expired at ${this.expires.toISOString()}`;
    this.#expiryTimer = setTimeout(
      () => this.#close(new Deno.errors.TimedOut(message)),
      seconds * 1000,
    );
  }

  /** @internal */
  static async open(services: DeviceServices, options: InviteOptions): Promise<Invitation> {
    const { listen, serving, seconds = DEFAULT_OPEN_SECONDS, peerName, confirm, signal } =
      copyOptions(options, INVITE_OPTION_NAMES);
    checkSignal("signal", signal);
    if (confirm !== undefined) checkFunction("confirm", confirm);
    makeNumberCheck(1, MAX_OPEN_SECONDS)("seconds", seconds);
    const listenAddresses = listen === undefined ? null : checkListenAddresses(listen);
    const addressFinder = makeAddressFinder(services, serving);
    if (peerName !== undefined) await services.peers.checkFree(peerName);
    signal?.throwIfAborted();
    const invitation = new Invitation(services, peerName, addressFinder, confirm, seconds, signal);
    try {
      const boundAddresses = listenAddresses === null
        ? await invitation.#listenEverywhere()
        : await Promise.all(listenAddresses.map((address) => invitation.#listen(address)));
      signal?.throwIfAborted();
      signal?.addEventListener("abort", invitation.#onAbort);
      const lineAddresses = boundAddresses.flatMap(([bound, plainPort]) => {
        const addresses = listenAddresses === null ? [bound] : replaceWildcards([bound]);
        return addresses.map((address): LineAddress => {
          return [parseHost(`${address[0]}`)!.text, Number(address[1]), plainPort];
        });
      });
      const distinctAddresses = new Map(
        lineAddresses.map((address) => [address.join(" "), address]),
      );
      const addresses = [...distinctAddresses.values()].slice(0, MAX_ADDRESSES);
      const omittedAddresses = [
        ...[...distinctAddresses.values()].slice(MAX_ADDRESSES)
          .map(([host, port]): HostAddress => [host, port]),
        ...listenAddresses === null ? listOwnAddresses().slice(MAX_ADDRESSES) : [],
      ];
      if (omittedAddresses.length > 0) {
        services.logger.warn(formatOmission(omittedAddresses, "listen"));
      }
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
   * Listens on the addresses of this machine. Fails only if all addresses fail, because an address
   * may have just disappeared, or may not be ready yet.
   */
  async #listenEverywhere(): Promise<BoundAddress[]> {
    const addresses = listOwnAddresses().slice(0, MAX_ADDRESSES);
    const results = await Promise.allSettled(addresses.map((address) => this.#listen(address)));
    const boundAddresses = results.flatMap((result) =>
      result.status === "fulfilled" ? [result.value] : []
    );
    if (boundAddresses.length > 0) return boundAddresses;
    const causes = results.map((result) => result.status === "rejected" ? result.reason : null);
    const permissionError = causes.find((cause) => cause instanceof Deno.errors.NotCapable);
    throw permissionError ??
      new DeguError("can't listen on any address of this machine: set `listen`", {
        problem: "can't listen on any address of this machine",
        cause: new AggregateError(causes),
      });
  }

  async #listen(address: HostAddress | ScopedAddress): Promise<BoundAddress> {
    const app = {
      onConnect: (session: Session, socket: Socket) => this.#connections.add(session, socket),
      handle: (request: Request, session: Session) => this.#respond(request, session),
    };
    let isBound = false;
    const { logger: deviceLogger } = this.#services;
    const record: Logger["record"] = (level, line, details) => {
      if (level === "info") return this.#logRateLimiters.strangers.add(line);
      // Omit the only warning before a server is bound: the server accepts every client.
      if (level !== "warn" || isBound) deviceLogger[level](line, details);
    };
    const logger = { ...deviceLogger, record };
    const options = { maxConnections: Infinity, logger };
    const tlsServer = new SSLServer(this.#sslctx, address, app, {
      ...options,
      timeout: TLS_TIMEOUT_SECONDS,
      protocol: PAIRING_PROTOCOL,
    });
    this.#serve(tlsServer);
    await tlsServer.ready;
    isBound = true;
    const [, port] = tlsServer.address as HostAddress;
    const plainAddress = withNextPort(address);
    const plainServer = new Server(plainAddress, this.#plainPorts.makeApp(port), {
      ...options,
      timeout: null,
    });
    this.#serve(plainServer);
    const [, plainPort] = plainServer.address as HostAddress;
    return [tlsServer.address, plainPort];
  }

  #setTlsContext(sslctx: ServerSslctx): void {
    this.#sslctx = sslctx;
    for (const server of this.#servers) {
      // The joiner, which had no certificate in its first request, must get the response.
      if (server instanceof SSLServer) server.setSslctx(sslctx, { keepSessions: true });
    }
  }

  #serve(server: Server): void {
    this.#servers.push(server);
    server.serveForever().catch(() => {});
  }

  /**
   * Resolves when no device can join by a number any more, because five numbers were not confirmed.
   * The line stays valid. Without `confirm`, and after the end of the invitation, the promise stays
   * pending.
   */
  get exhausted(): Promise<void> {
    return this.#plainPorts.exhausted;
  }

  /**
   * The text that the other device needs to join. Any device with this text can be paired with this
   * device, so keep the text secret, and deliver it unchanged. White space in the text is ignored.
   */
  get line(): string {
    return this.#line;
  }

  /**
   * The addresses at which the other device can join by a number: the plain ports that the line
   * contains.
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
    if (this.#lineStateMachine.apply("end") === "storing") {
      return void await this.paired.catch(() => {});
    }
    this.#plainPorts.lastAttempt?.end(reason);
    await this.#closeServers(() => this.#pairedResolvers.reject(reason));
  }

  #closeServers(onClosed: () => void): Promise<void> {
    // Close in a later microtask, because the end of a session may call this method again.
    return this.#closed ??= Promise.resolve().then(async () => {
      clearTimeout(this.#expiryTimer);
      this.#signal?.removeEventListener("abort", this.#onAbort);
      for (const rateLimiter of Object.values(this.#logRateLimiters)) rateLimiter.close();
      for (const server of this.#servers) server.close();
      await Promise.allSettled(this.#servers.map((server) => server[Symbol.asyncDispose]()));
    }).finally(onClosed);
  }

  async #respond(request: Request, session: Session): Promise<ResponseTuple> {
    const { uri } = request;
    const bytes = await readMessage(request);
    if (bytes === null) return this.#refuse(session);
    const connection = this.#connections.find(session);
    if (connection === undefined || this.#lineStateMachine.state === "ended") {
      return closeSession(session);
    }
    if (uri === SECRET_URI) return await this.#respondToSecret(bytes, connection);
    if (uri === VALUE_URI) return await this.#respondToValue(bytes, connection);
    if (uri === CONFIRMED_URI) return await this.#respondToConfirmation(bytes, connection);
    return this.#refuse(session);
  }

  /** Compares the secret and claims the line in the same tick. */
  async #respondToSecret(bytes: Uint8Array, connection: PairingConnection): Promise<ResponseTuple> {
    const { session } = connection;
    if (!containsRandomValue(bytes, INTRODUCTION_FIELDS, "secret", this.#secret)) {
      return this.#refuse(session);
    }
    if (this.#lineStateMachine.state !== "open") {
      this.#logRateLimiters.laterDevices.add(String(session));
      return closeSession(session);
    }
    this.#lineStateMachine.apply("claim");
    this.#plainPorts.lastAttempt?.end(new DeguError("another device has used the line"));
    this.#connections.restartTimeLimit(connection);
    try {
      this.#joiner = await this.#readJoiner(bytes, session);
    } catch (error) {
      this.#lineStateMachine.apply("refuse");
      this.#logRateLimiters.refusedMessages.add(`${session}: ${plainMessageOf(error)}`);
      return [403, "Forbidden", {}, null];
    }
    return [200, "OK", {}, encodeMessage(this.#joiner.response)];
  }

  async #readJoiner(bytes: Uint8Array, session: Session): Promise<Joiner> {
    const { identity, name } = this.#services;
    const introduction = decodeMessage(bytes, INTRODUCTION_FIELDS);
    const authority = readAuthorityDer(introduction.authority);
    if (authority.id === identity.authority.id) {
      throw new RangeError(
        "it sent the authority of this device: it is this device, or a copy of it",
      );
    }
    const addresses = await this.#addressFinder.findAddresses();
    const response = { value: makeRandomValue(), name, addresses };
    const reason = new ConnectionClosedError("another device has used the line");
    const context = buildServerSslctx(identity.makeServerConfig([authority]));
    this.#lineStateMachine.apply("answer");
    this.#plainPorts.lastAttempt?.end(reason);
    this.#connections.closeOthers(session, reason);
    this.#setTlsContext(context);
    return { authority, introduction, response };
  }

  /** Responds to the second request. The TLS library has verified the joiner's certificate. */
  async #respondToValue(bytes: Uint8Array, connection: PairingConnection): Promise<ResponseTuple> {
    const { session } = connection;
    const joiner = this.#joiner;
    const isJoiner = this.#lineStateMachine.state === "answered" && joiner !== null &&
      identifyDevice(session.peerCertificate, [joiner.authority]) !== null &&
      containsRandomValue(bytes, PROOF_FIELDS, "value", joiner.response.value);
    if (!isJoiner) return this.#refuse(session);
    this.#lineStateMachine.apply("reconnect");
    return await this.#storePeer(connection, joiner, [204, "No Content", {}, null]);
  }

  async #respondToConfirmation(
    bytes: Uint8Array,
    connection: PairingConnection,
  ): Promise<ResponseTuple> {
    const { session } = connection;
    const attempt = this.#plainPorts.lastAttempt;
    // The person at this device may have answered no before the joiner connected over TLS.
    if (attempt?.state === "ended") return makeNotConfirmedResponse();
    // A device with the right secret has precedence, even while its message is being checked.
    const isJoiner = this.#lineStateMachine.state === "open" && attempt !== null &&
      (attempt.state === "revealed" || attempt.state === "accepted") &&
      isEmptyMessage(bytes) &&
      identifyDevice(session.peerCertificate, [attempt.authority]) !== null;
    if (!isJoiner) return this.#refuse(session);
    this.#connections.removeTimeLimit(connection);
    attempt.apply("reconnect");
    attempt.addSession(session);
    await attempt.confirmed.promise.catch(() => {});
    // The attempt may have ended while the person compared the number.
    if (attempt.apply("store") === "ended") return makeNotConfirmedResponse();
    this.#lineStateMachine.apply("confirm");
    return await this.#storePeer(connection, attempt, [200, "OK", {}, encodeMessage({})]);
  }

  async #storePeer(
    connection: PairingConnection,
    { authority, introduction: { name: receivedName, addresses } }: IntroducedDevice,
    response: ResponseTuple,
  ): Promise<ResponseTuple> {
    const { session } = connection;
    this.#connections.removeTimeLimit(connection);
    const { logger } = this.#services;
    try {
      const peer = await storePairing(this.#services, {
        authority,
        receivedName,
        peerName: this.#peerName,
        addresses: selectAddressesToStore(addresses, session.address, connection.socket),
      });
      logger.info(`invitation: paired with ${peer.name} (${peer.id})`);
      this.#addressFinder.warnIfNoneFound(peer.name);
      this.#closeAfterJoiner(session, () => this.#pairedResolvers.resolve(peer));
      return response;
    } catch (error) {
      const problem = `the pairing can't be stored: ${plainMessageOf(error)}`;
      logger.warn(`invitation: ${problem}`);
      // `TimedOut` means that the invitation has expired, but a disk also has errors of this class.
      const storeError = error instanceof Deno.errors.TimedOut
        ? Object.assign(new Error(problem, { cause: error }), { code: fileErrorCodeOf(error) })
        : error;
      this.#closeAfterJoiner(session, () => this.#pairedResolvers.reject(storeError));
      return closeSession(session);
    }
  }

  #closeAfterJoiner({ signal }: Session, onClosed: () => void): void {
    pause(MAX_CLOSE_WAIT_MILLISECONDS, signal).then(() => {
      this.#lineStateMachine.apply("finish");
      return this.#closeServers(onClosed);
    });
  }

  #refuse(session: Session): ResponseTuple {
    this.#logRateLimiters.wrongSecrets.add(String(session));
    return closeSession(session);
  }
}

function withNextPort(address: HostAddress | ScopedAddress): HostAddress | ScopedAddress {
  const [, port] = address;
  return copyWithPort(address, port === 0 ? 0 : port + 1);
}

/** Compares in constant time. */
function containsRandomValue(
  bytes: Uint8Array,
  fields: typeof INTRODUCTION_FIELDS | typeof PROOF_FIELDS,
  name: "secret" | "value",
  expectedValue: Uint8Array,
): boolean {
  try {
    return timingSafeEqual(decodeMessage(bytes, [name], fields)[name], expectedValue);
  } catch {
    return false;
  }
}
