import type { AddressInfo, Server as NetServer } from "node:net";
import type { Address, HostAddress, ScopedAddress } from "../../base/address.ts";
import {
  type Endpoint,
  endpointOf,
  hostKeyOf,
  makeBoundAddress,
  makePeerAddress,
  makePeerName,
} from "../transport/addresses.ts";
import { startInterval, type Timer } from "../transport/deadline.ts";
import {
  type AcceptedConnection,
  bindingError,
  type Listener,
  type ListenerOptions,
  PlainListener,
} from "../transport/listener.ts";
import type { SafeLogger } from "../../base/app/logger.ts";
import { listenAgain, loadBuiltin } from "../transport/runtime.ts";
import { HandshakeQueue } from "./handshake_queue.ts";
import { type ServerMaterial, serverMaterialOf, type ServerSslctx } from "./context.ts";
import { translateError } from "./errors.ts";
import { ignoreError, makeDuplex, NetStream, type RawStream } from "./raw_stream.ts";
import { isStillTrusted } from "./peer.ts";
import { makeServerHandshake, type ServerHandshake } from "./server_handshake.ts";

interface NamedConnection extends RawConnection {
  readonly name: string;
  /** Identifies the host: the key of the peer isn't known yet. */
  readonly peerKey: string;
  /** Called when the stream closes before the handshake starts. */
  readonly onClose: () => void;
}

/** A new context takes effect at once. */
export class CurrentTlsContext {
  #sslctx: ServerSslctx;
  #logger: SafeLogger<"warn"> | null = null;

  constructor(sslctx: ServerSslctx) {
    this.#sslctx = sslctx;
  }

  logWarnings(logger: SafeLogger<"warn">): void {
    if (this.#logger !== null) return;
    this.#logger = logger;
    for (const warning of this.material.loggedWarnings) logger.warn(warning);
  }

  get sslctx(): ServerSslctx {
    return this.#sslctx;
  }

  get material(): ServerMaterial {
    return serverMaterialOf(this.#sslctx);
  }

  replace(sslctx: ServerSslctx): void {
    const { loggedWarnings: earlierWarnings } = this.material;
    this.#sslctx = sslctx;
    for (const warning of this.material.loggedWarnings) {
      if (!earlierWarnings.includes(warning)) this.#logger?.warn(warning);
    }
  }
}

/** Handshakes run concurrently, also while a connection waits for a slot. */
export class TlsListener implements Listener {
  readonly ready: Promise<void>;
  readonly #rawListener: Listener;
  readonly #context: CurrentTlsContext;
  readonly #handshake: ServerHandshake;
  readonly #handshakeQueue: HandshakeQueue<NamedConnection>;
  #connectionCount = 0;

  constructor(
    address: Address,
    options: ListenerOptions,
    context: CurrentTlsContext,
    alpnProtocol: string | null,
  ) {
    this.#context = context;
    this.#handshake = makeServerHandshake(context, alpnProtocol);
    this.#handshakeQueue = new HandshakeQueue(
      options,
      (connection) => this.#acceptConnection(connection),
      options.onConnection,
    );
    this.#rawListener = listenRaw(
      address,
      options,
      (connection) => this.#onConnection(connection),
    );
    this.ready = this.#rawListener.ready.then(() => context.logWarnings(options.logger));
    // serveForever() and `ready` report the error.
    this.ready.catch(() => {});
  }

  get address(): Address {
    return this.#rawListener.address;
  }

  start(): void {
    this.#rawListener.start();
    this.#handshakeQueue.start();
  }

  close(): void {
    this.#rawListener.close();
    this.#handshakeQueue.close();
  }

  async waitUntilEnded(): Promise<void> {
    await Promise.all([this.#rawListener.waitUntilEnded(), this.#handshakeQueue.waitUntilEnded()]);
  }

  #onConnection(rawConnection: RawConnection): void {
    const { address, localAddr, rawStream: { stream } } = rawConnection;
    const connection: NamedConnection = {
      ...rawConnection,
      name: makePeerName(this.address, address, ++this.#connectionCount),
      peerKey: hostKeyOf(address, localAddr),
      onClose: () => this.#handshakeQueue.delete(connection),
    };
    stream.on("close", connection.onClose);
    // Only a stream that reads, up to its limit, notices that its peer leaves.
    stream.read(0);
    this.#handshakeQueue.push(connection);
  }

  async #acceptConnection(
    { name, address, peerKey: hostKey, rawStream, onClose }: NamedConnection,
  ): Promise<AcceptedConnection> {
    rawStream.stream.off("close", onClose);
    const socket = await this.#handshake(rawStream);
    // A device can make keys under its authority, but not authorities.
    const authority = socket.peerCertificate?.authority ?? null;
    const peerKey = authority === null ? hostKey : `${authority.publicKey256} ${hostKey}`;
    const isPeerTrusted = () => isStillTrusted(socket.peerCertificate, this.#context.material);
    return { name, address, peerKey, socket, isPeerTrusted };
  }
}

// ───────────────────────── the sockets below

export interface RawConnection {
  readonly rawStream: RawStream;
  /** The address of the peer; `null` for Unix sockets and abstract names. */
  readonly address: HostAddress | ScopedAddress | null;
  readonly localAddr: unknown;
}

/** Milliseconds between two calls that make a stopped listener listen again. */
const RESTART_MILLISECONDS = 1000;
/** Connections in the kernel's queue: the default of `node:net`. */
const BACKLOG = 511;

/**
 * Listens on a checked address: with `node:net` at a TCP address without an IPv6 scope, otherwise
 * with Deno. A Unix socket of `node:net` can't listen again after it has stopped.
 */
export function listenRaw(
  address: Address,
  options: Pick<ListenerOptions, "logger" | "replaceStaleSocket">,
  onConnection: (connection: RawConnection) => void,
): Listener {
  const endpoint = endpointOf(address);
  return isSupportedByNode(endpoint)
    ? new NodeListener(address, endpoint, options.logger, onConnection)
    : listenWithDeno(address, options, onConnection);
}

function isSupportedByNode(endpoint: Endpoint): endpoint is TcpEndpoint {
  return endpoint.transport === "tcp" && !endpoint.hostname.includes("%");
}

function listenWithDeno(
  requestedAddress: Address,
  options: Pick<ListenerOptions, "logger" | "replaceStaleSocket">,
  onConnection: (connection: RawConnection) => void,
): Listener {
  try {
    const listener = new PlainListener(requestedAddress, options, (conn) => {
      const address = makePeerAddress(listener.address, conn.remoteAddr);
      onConnection({ rawStream: makeDuplex(conn), address, localAddr: conn.localAddr });
    });
    return listener;
  } catch (error) {
    return {
      ready: Promise.reject(error),
      address: requestedAddress,
      start() {},
      close() {},
      waitUntilEnded: () => Promise.resolve(),
    };
  }
}

type TcpEndpoint = Endpoint & { readonly transport: "tcp" };

class NodeListener implements Listener {
  address: Address;
  readonly #server: NetServer;
  readonly #addressBound = Promise.withResolvers<void>();
  readonly ready: Promise<void> = this.#addressBound.promise;
  #restartTimer: Timer | undefined;

  constructor(
    address: Address,
    endpoint: TcpEndpoint,
    logger: SafeLogger,
    onConnection: (connection: RawConnection) => void,
  ) {
    this.address = address;
    this.#server = loadBuiltin("node:net").createServer(
      // Pause each connection, so that the handshake reads every byte.
      { pauseOnConnect: true, noDelay: true },
      (socket) => {
        // The peer may have closed the connection already, and an unhandled error would end the
        // process.
        socket.on("error", ignoreError);
        const { remoteAddress: hostname, remotePort: port } = socket;
        // A closed connection has no address.
        if (hostname === undefined || port === undefined) return void socket.destroy();
        const peerAddress = makePeerAddress(this.address, { hostname, port });
        const localAddr = { hostname: socket.localAddress };
        onConnection({ rawStream: new NetStream(socket), address: peerAddress, localAddr });
      },
    );
    this.#server.on("error", (error) => {
      if (this.#server.listening) logger.warn(`accepting connections fails: ${error.message}`);
      else this.#addressBound.reject(bindingError(translateError(error), address));
    });
    this.#server.once("listening", () => {
      const { address: hostname, port } = this.#server.address() as AddressInfo;
      this.address = makeBoundAddress(address, { transport: "tcp", hostname, port });
      this.#restartTimer = startInterval(
        () => listenAgain(this.#server, BACKLOG),
        RESTART_MILLISECONDS,
      );
      this.#addressBound.resolve();
    });
    // Before `start()`, the listener doesn't keep the process alive.
    this.#server.unref();
    try {
      this.#listen(endpoint);
    } catch (error) {
      this.#addressBound.reject(translateError(error));
    }
  }

  #listen({ hostname, port }: TcpEndpoint): void {
    // Without the permission, `node:net` would throw later, where no code can catch the error.
    const host = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    if (Deno.permissions.requestSync({ name: "net", host }).state !== "granted") {
      throw new Deno.errors.NotCapable(`Requires net access to "${host}": --allow-net`);
    }
    this.#server.listen({ host: hostname, port, backlog: BACKLOG });
  }

  start(): void {
    this.#server.ref();
  }

  close(): void {
    clearInterval(this.#restartTimer);
    this.#server.close();
    // A listener that is not bound yet will not be bound.
    this.#addressBound.resolve();
  }

  waitUntilEnded(): Promise<void> {
    return Promise.resolve();
  }
}
