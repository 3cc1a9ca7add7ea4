import { type Address, TlsError } from "../../base.ts";
import {
  type App,
  type AppObject,
  type Logger,
  type PeerIdentity,
  type ServerOptions,
  serveUntilSignal,
  type Session,
  SSLServer,
} from "../../server.ts";
import { checkObject, wrongArgumentError } from "../../internal/checks.ts";
import { makeSafeLogger } from "../../base/app/logger.ts";
import { readApp } from "../../base/app/app.ts";
import { unknownTrustError } from "../../base/app/peer_identity.ts";
import { sessionCoreOf } from "../../base/app/session.ts";
import { identifyDevice } from "../identity/authority.ts";
import type { DeviceServices } from "../peers/device_services.ts";
import type { Peer } from "../peers/peer_file.ts";
import { setPeerOf } from "./per_peer.ts";
import type { ServingRecord } from "../peers/serving_records.ts";
import type { TrustedPeer } from "../peers/trust_signals.ts";

/**
 * A server that accepts only the peers of a device. {@linkcode Device.prototype.serve} creates such
 * a server.
 *
 * A client needs a certificate that a peer's authority has signed directly. After the handshake and
 * the app's `onConnect`, the server reads from the disk whether the peer is trusted. If any process
 * pairs or forgets a peer, the change takes effect while the server runs: the sessions of a
 * forgotten peer end within a second.
 *
 * @example
 * ```ts
 * import { Device, peerOf } from "@degu/degu/device";
 *
 * const dir = await Deno.makeTempDir();
 * {
 *   await using device = await Device.open(dir, { name: "camera" });
 *   await using server = await device.serve(
 *     ["127.0.0.1", 0],
 *     (_request, session) => [200, "OK", {}, peerOf(session).name],
 *   );
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class DeviceServer implements AsyncDisposable {
  readonly #server: SSLServer;
  readonly #services: DeviceServices;
  readonly #unsubscribe: () => void;
  readonly #addressRecorded: Promise<void>;
  readonly #onStop: () => void;
  #record: ServingRecord | null = null;
  #unregistered: Promise<void> | null = null;
  #serveEnded: Promise<void> | null = null;

  /** @internal */
  constructor(
    services: DeviceServices,
    address: Address,
    app: App,
    options: ServerOptions,
    onStop: () => void,
  ) {
    checkObject("options", options);
    if ("protocol" in options) {
      throw wrongArgumentError(
        "options",
        'unknown option "protocol"; the client of a peer doesn\'t negotiate a protocol',
      );
    }
    const { logger = services.logger } = options;
    const server = new SSLServer(
      makeConfigForPeers(services),
      address,
      wrapForPeers(services, app, logger),
      { ...options, logger: withStrangerMessages(logger) },
    );
    this.#server = server;
    this.#services = services;
    this.#onStop = onStop;
    this.#unsubscribe = services.peers.onChange(() => {
      server.setSslctx(makeConfigForPeers(services));
      this.#record?.touch();
    });
    this.#addressRecorded = this.#recordAddress();
    // serveForever() and `ready` report the error.
    this.#addressRecorded.catch(() => {});
  }

  async #recordAddress(): Promise<void> {
    try {
      await this.#server.ready;
    } catch (error) {
      this.close();
      await this.#unregister();
      throw error;
    }
    const { servingRecords, logger } = this.#services;
    try {
      this.#record = await servingRecords.add(this.address);
      // The server may have been closed while its address was recorded.
      if (this.#unregistered !== null) await this.#withdrawAddress();
    } catch (error) {
      logger.warn(`the address of a server can't be recorded: ${error}`, { error });
    }
  }

  async #withdrawAddress(): Promise<void> {
    const record = this.#record;
    this.#record = null;
    await record?.remove();
  }

  /**
   * The current sessions, from the end of their handshake and `onConnect` to their own end. The set
   * is live; `session.close()` ends a session.
   */
  get sessions(): ReadonlySet<Session> {
    return this.#server.sessions;
  }

  /** The address, which can be passed to a client. */
  get address(): Address {
    return this.#server.address;
  }

  /** The port of the address; `null` for a Unix socket and an abstract name. */
  get port(): number | null {
    return this.#server.port;
  }

  /** Resolves when the address is bound and recorded. Rejects if the address can't be bound. */
  get ready(): Promise<void> {
    return this.#addressRecorded;
  }

  /**
   * Serves connections until {@linkcode DeviceServer.prototype.close} or {@linkcode
   * DeviceServer.prototype.shutdown} has ended. Then the address is free.
   */
  serveForever(): Promise<void> {
    return this.#serveEnded ??= this.#serve();
  }

  async #serve(): Promise<void> {
    try {
      await this.#server.serveForever();
    } finally {
      await this.#unregister();
    }
  }

  /**
   * Serves until the process receives SIGINT or SIGTERM, like
   * `serveUntilSignal` of a `Server` of `@degu/degu`.
   *
   * @param options The seconds after which the remaining connections are closed.
   * @throws {TypeError} if an option is of a wrong type or unknown.
   * @throws {RangeError} if a value is not allowed.
   */
  serveUntilSignal(options?: Parameters<typeof serveUntilSignal>[1]): Promise<void> {
    return serveUntilSignal(this, options);
  }

  /** Closes the listener and every connection at once. */
  close(): void {
    this.#server.close();
    this.#unregister();
  }

  /** Shuts down like every server, after removing the record of the address. */
  async shutdown(): Promise<void> {
    const withdrawn = this.#withdrawAddress();
    await this.#server.shutdown();
    await withdrawn;
    await this.#unregister();
  }

  /** Closes the server: {@linkcode DeviceServer.prototype.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
    await this.#addressRecorded.catch(() => {});
    await this.#unregister();
  }

  #unregister(): Promise<void> {
    return this.#unregistered ??= (async () => {
      this.#unsubscribe();
      await this.#withdrawAddress();
      this.#onStop();
    })();
  }
}

const STRANGER_MESSAGE = "not a peer of this device (never paired, or forgotten)";

/** Returns a logger that begins the line of a refused key with its meaning for a device. */
function withStrangerMessages(logger: Logger): Logger {
  const safeLogger = makeSafeLogger(logger);
  return {
    ...safeLogger,
    record(level, message, details) {
      const { error, who } = details;
      const isUnknownKey = error instanceof TlsError && error.code === "UNTRUSTED";
      const line = isUnknownKey && who !== null
        ? message.replace(`${who}: `, () => `${who}: ${STRANGER_MESSAGE}, or a clock is wrong; `)
        : message;
      safeLogger[level](line, details);
    },
  };
}

function makeConfigForPeers({ identity, peers }: DeviceServices) {
  return identity.makeServerConfig(peers.current);
}

function wrapForPeers(
  { peers, trustSignals }: DeviceServices,
  app: App,
  appLogger: Logger,
): AppObject {
  const { handle, onConnect } = readApp(app, "app");
  const logger = makeSafeLogger(appLogger);
  return {
    handle,
    async onConnect(session, sock) {
      const peer = identifyDevice(session.peerCertificate, peers.current);
      const trustedPeer = peer && trustSignals.find(peer.id);
      if (trustedPeer === null) {
        const problem =
          `${STRANGER_MESSAGE}: no peer's authority has signed its certificate directly`;
        logger.info(`${session}: ${problem}`, { kind: "refusal", who: `${session}` });
        return false;
      }
      const { peer: knownPeer, signal } = trustedPeer;
      const findPeer = () => peers.current.find(({ id }) => id === knownPeer.id) ?? knownPeer;
      const identity = identifyPeer(trustedPeer, findPeer);
      setPeerOf(session, { findPeer, signal });
      // The end of the trust then ends the session even during the `onConnect` of the app.
      sessionCoreOf(session)!.addIdentity(identity);
      const decision = onConnect === null || await onConnect(session, sock);
      if (typeof decision === "boolean") return decision && identity;
      return {
        // The stored name of the peer has precedence over the name that the app returned.
        get user() {
          return identity.user;
        },
        signal: decision.signal,
        isTrusted: () => decision.isTrusted === undefined || decision.isTrusted(),
      };
    },
  };
}

function identifyPeer({ signal, confirm }: TrustedPeer, findPeer: () => Peer): PeerIdentity {
  return {
    signal,
    get user() {
      return findPeer().name;
    },
    isTrusted: () =>
      confirm().catch((cause) => {
        throw unknownTrustError(`the peer's trust can't be read: ${cause}`, cause);
      }),
  };
}
