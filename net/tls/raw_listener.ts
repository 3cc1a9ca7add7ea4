/**
 * Accepts connections as streams that `node:tls` can use.
 *
 * @module
 */

import type { Server as NetServer, Socket as NetSocket } from "node:net";
import type { Address, HostAddress, ScopedAddress } from "../../base/address.ts";
import { boundAddress, type Endpoint, endpointOf, peerAddress } from "../addresses.ts";
import { duplicateDescriptor } from "../held_socket.ts";
import { type Interval, startInterval } from "../deadline.ts";
import { NOT_SHARED, PlainListener, type PortSharing } from "../listener.ts";
import type { Logger } from "../standard_logger.ts";
import { translateError } from "./errors.ts";
import { loadBuiltin } from "./modules.ts";
import { makeDuplex, makeNetStream, type RawStream } from "./raw_stream.ts";

/** A connection before its handshake. */
export interface RawConnection {
  /** The stream for the handshake. */
  readonly rawStream: RawStream;
  /** The address of the peer; `null` for Unix sockets and abstract names. */
  readonly address: HostAddress | ScopedAddress | null;
}

/** Hands over each connection as it arrives; one of `node:net` may arrive before the start. */
export interface RawListener {
  /** Resolves once bound, or closed; rejects if it can't be bound. */
  readonly ready: Promise<void>;
  /** The address it is bound to; final once ready. */
  readonly address: Address;
  /** Accepts connections from now on, and keeps the process alive; nothing happens at another call. */
  start(): void;
  /** Duplicates the file descriptor of the socket, for {@linkcode HeldSocket}; `null` if it can't. */
  duplicate(): number | null;
  /** Frees the address. */
  close(): void;
  /** Resolves once the address is free. */
  ended(): Promise<void>;
}

/** What takes the connections of a listener. */
type Receive = (connection: RawConnection) => void;

/** `node:net` stops listening when it runs out of file descriptors, without an event. */
const LISTEN_AGAIN_MILLISECONDS = 1000;
/** Connections in the kernel's queue: the default of `node:net`. */
const BACKLOG = 511;

/**
 * Listens on a checked address, with a socket of `node:net` if that is a TCP address that it supports.
 * A Unix socket of `node:net` can't be made to listen again after it has stopped.
 */
export function listenRaw(
  address: Address,
  log: Logger,
  receive: Receive,
  sharing: PortSharing = NOT_SHARED,
): RawListener {
  const endpoint = endpointOf(address);
  return isForNode(endpoint)
    ? new NodeListener(address, endpoint, log, receive, sharing)
    : listenWithDeno(address, log, receive, sharing);
}

/** Whether `node:net` can listen there, which shares a port without a flag. */
export function isForNode(endpoint: Endpoint): endpoint is TcpEndpoint {
  return endpoint.transport === "tcp" && !endpoint.hostname.includes("%");
}

/** Listens like a plain server. */
function listenWithDeno(
  asked: Address,
  log: Logger,
  receive: Receive,
  sharing: PortSharing,
): RawListener {
  let plain: PlainListener | null = null;
  let ready = Promise.resolve();
  try {
    plain = new PlainListener(asked, log, sharing);
  } catch (error) {
    ready = Promise.reject(error);
  }
  const acceptAll = async () => {
    for (;;) {
      const conn = await plain!.acceptConn().catch(() => null);
      if (conn === null) return;
      receive({
        rawStream: makeDuplex(conn),
        address: peerAddress(plain!.address, conn.remoteAddr),
      });
    }
  };
  let accepting: Promise<void> | null = null;
  return {
    ready,
    get address() {
      return plain?.address ?? asked;
    },
    start: () => void (accepting ??= acceptAll()),
    duplicate: () => null,
    close: () => plain?.close(),
    // The system keeps the address until a pending accept() has ended.
    async ended() {
      await accepting;
    },
  };
}

/** Where to listen at a port. */
type TcpEndpoint = Endpoint & { readonly transport: "tcp" };

/** Listens with `node:net`, over whose sockets TLS is fastest. */
class NodeListener implements RawListener {
  readonly ready: Promise<void>;
  address: Address;
  readonly #server: NetServer;
  readonly #bound = Promise.withResolvers<void>();
  #again: Interval | undefined;

  constructor(
    address: Address,
    endpoint: TcpEndpoint,
    log: Logger,
    receive: Receive,
    sharing: PortSharing,
  ) {
    this.address = address;
    this.ready = this.#bound.promise;
    this.#server = loadBuiltin("node:net").createServer(
      // Nothing is consumed before the handshake, so no byte is lost.
      { pauseOnConnect: true, noDelay: true },
      (socket) => {
        // The peer may have left already, and an unhandled error would end the process.
        socket.on("error", () => {});
        const connection = this.#describe(socket);
        if (connection === null) socket.destroy();
        else receive(connection);
      },
    );
    this.#server.on("error", (error) => {
      if (this.#server.listening) log.warn(`accepting connections fails: ${error.message}`);
      else this.#bound.reject(translateError(error));
    });
    this.#server.once("listening", () => {
      this.address = this.#findAddress(address);
      this.#again = startInterval(() => this.#listenAgain(), LISTEN_AGAIN_MILLISECONDS);
      this.#bound.resolve();
    });
    // As with Deno's own listeners, only accepting keeps the process alive.
    this.#server.unref();
    try {
      this.#listen(endpoint, sharing);
    } catch (error) {
      this.#bound.reject(translateError(error));
    }
  }

  #listen({ hostname, port }: TcpEndpoint, { reusePort, fd }: PortSharing): void {
    // Without the permission `node:net` would throw a little later, where it can't be caught.
    const host = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    if (Deno.permissions.requestSync({ name: "net", host }).state !== "granted") {
      throw new Deno.errors.NotCapable(`Requires net access to "${host}": --allow-net`);
    }
    const where = fd === null ? { host: hostname, port, reusePort } : { fd };
    this.#server.listen({ ...where, backlog: BACKLOG });
  }

  /**
   * Has an effect only if the listener has stopped, for which there is no event. The property is not part
   * of the types, but every listening server has it.
   */
  #listenAgain(): void {
    const { _handle: handle } = this.#server as NetServer & { readonly _handle?: Handle | null };
    handle?.listen?.(BACKLOG);
  }

  #findAddress(asked: Address): Address {
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") return asked;
    const { address, port } = bound;
    return boundAddress(asked, { transport: "tcp", hostname: address, port });
  }

  start(): void {
    this.#server.ref();
  }

  duplicate(): number | null {
    return duplicateDescriptor(this.#server);
  }

  close(): void {
    clearInterval(this.#again);
    this.#server.close();
    // If it was not bound yet, it never will be, and nothing must wait for that.
    this.#bound.resolve();
  }

  async ended(): Promise<void> {}

  /** `null` for a peer that is gone already, whose address is no longer known. */
  #describe(socket: NetSocket): RawConnection | null {
    const { remoteAddress: hostname, remotePort: port } = socket;
    if (hostname === undefined || port === undefined) return null;
    return {
      rawStream: makeNetStream(socket),
      address: peerAddress(this.address, { hostname, port }),
    };
  }
}

/** The part of a server's handle that is used. */
interface Handle {
  listen?(backlog: number): number;
}
