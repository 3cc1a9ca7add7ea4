/**
 * Accepting connections as streams that `node:tls` can work on.
 *
 * @module
 */

import type { Server as NetServer, Socket as NetSocket } from "node:net";
import type { Address, HostAddress, ScopedAddress } from "../base/session.ts";
import { boundAddress, type Endpoint, endpointOf, peerAddress } from "./addresses.ts";
import { PlainListener } from "./listener.ts";
import { makeDuplex } from "./tls_duplex.ts";
import { translateError } from "./tls_errors.ts";
import { loadBuiltin } from "./tls_modules.ts";
import { makeNetStream, type TlsStream } from "./tls_stream.ts";

/** A connection before its handshake. */
export interface RawConnection {
  /** What to do the handshake over. */
  readonly below: TlsStream;
  /** Where it comes from; `null` for Unix sockets and abstract names. */
  readonly address: HostAddress | ScopedAddress | null;
}

/** Where connections come from. */
export interface RawListener {
  /** Resolves once bound, or closed; rejects where it can't be bound. */
  readonly ready: Promise<void>;
  /** The address it is bound to; final once ready. */
  readonly address: Address;
  /** Waits for the next connection. Rejects when closed. */
  accept(): Promise<RawConnection>;
  /** Frees the address. */
  close(): void;
}

/**
 * Connections that may wait until they are accepted; `node:net` takes them from the kernel at once,
 * so this stands for the kernel's queue, and keeps a flood from taking all file descriptors.
 */
export const MAX_QUEUED = 64;

/** Listens on a checked address, with a socket of `node:net` wherever that can. */
export function listenRaw(address: Address): RawListener {
  const endpoint = endpointOf(address);
  const needsDeno = endpoint.transport === "tcp"
    ? endpoint.hostname.includes("%")
    : endpoint.path === "";
  return needsDeno ? new DenoListener(address) : new NodeListener(address);
}

/** Listens as a plain server does. */
class DenoListener implements RawListener {
  readonly ready: Promise<void>;
  readonly #asked: Address;
  readonly #plain: PlainListener | null = null;

  constructor(address: Address) {
    this.#asked = address;
    try {
      this.#plain = new PlainListener(address);
      this.ready = this.#plain.ready;
    } catch (error) {
      this.ready = Promise.reject(error);
    }
  }

  get address(): Address {
    return this.#plain?.address ?? this.#asked;
  }

  async accept(): Promise<RawConnection> {
    const accepted = await this.#plain!.accept();
    // A plain listener opens nothing but connections of Deno.
    const conn = await accepted.open() as Deno.TcpConn | Deno.UnixConn;
    return { below: makeDuplex(conn), address: accepted.address };
  }

  close(): void {
    this.#plain?.close();
  }
}

/** Listens with `node:net`, over whose sockets TLS is fastest. */
class NodeListener implements RawListener {
  readonly ready: Promise<void>;
  address: Address;
  readonly #server: NetServer;
  readonly #bound = Promise.withResolvers<void>();
  readonly #queue: RawConnection[] = [];
  #waiting: PromiseWithResolvers<RawConnection> | null = null;
  #failure: unknown = null;
  #closed = false;

  constructor(address: Address) {
    this.address = address;
    this.ready = this.#bound.promise;
    this.#server = loadBuiltin("node:net").createServer(
      // Nothing is read before the handshake, so that it can't get lost.
      { pauseOnConnect: true, noDelay: true },
      (socket) => this.#receive(socket),
    );
    this.#server.on("error", (error) => this.#fail(translateError(error)));
    this.#server.once("listening", () => {
      this.address = this.#findAddress(address);
      this.#bound.resolve();
    });
    // As with Deno's own listeners it is the wait in accept() that keeps the process alive.
    this.#server.unref();
    try {
      this.#listen(endpointOf(address));
    } catch (error) {
      this.#bound.reject(translateError(error));
    }
  }

  #listen(endpoint: Endpoint): void {
    if (endpoint.transport === "unix") {
      this.#server.listen({ path: endpoint.path });
      return;
    }
    const { hostname, port } = endpoint;
    // Without the permission `node:net` would throw a little later, where nobody can catch it.
    const host = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    if (Deno.permissions.requestSync({ name: "net", host }).state !== "granted") {
      throw new Deno.errors.NotCapable(`Requires net access to "${host}": --allow-net`);
    }
    this.#server.listen({ host: hostname, port });
  }

  #findAddress(asked: Address): Address {
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") return asked;
    const { address, port } = bound;
    return boundAddress(asked, { transport: "tcp", hostname: address, port });
  }

  accept(): Promise<RawConnection> {
    const next = this.#queue.shift();
    if (next !== undefined) return Promise.resolve(next);
    if (this.#closed) return Promise.reject(new Deno.errors.BadResource("the listener is closed"));
    if (this.#failure !== null) {
      const failure = this.#failure;
      this.#failure = null;
      return Promise.reject(failure);
    }
    this.#waiting = Promise.withResolvers();
    this.#server.ref();
    return this.#waiting.promise;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#server.close();
    // Where it was not bound yet it never will be, and nobody is to wait for that.
    this.#bound.resolve();
    for (const { below } of this.#queue.splice(0)) below.close();
    this.#endWait()?.reject(new Deno.errors.Interrupted("the listener was closed"));
  }

  #receive(socket: NetSocket): void {
    // A peer may be gone before anybody looks, and nobody else would hear of it.
    socket.on("error", () => {});
    const connection = this.#describe(socket);
    if (connection === null || this.#closed || this.#queue.length >= MAX_QUEUED) {
      socket.destroy();
      return;
    }
    const waiting = this.#endWait();
    if (waiting === null) this.#queue.push(connection);
    else waiting.resolve(connection);
  }

  /** `null` for a TCP peer that is gone already: nobody can tell who it was. */
  #describe(socket: NetSocket): RawConnection | null {
    const { remoteAddress: hostname, remotePort: port } = socket;
    const isTcp = Array.isArray(this.address);
    if (isTcp && (hostname === undefined || port === undefined)) return null;
    return { below: makeNetStream(socket), address: peerAddress(this.address, { hostname, port }) };
  }

  #fail(error: unknown): void {
    this.#bound.reject(error);
    const waiting = this.#endWait();
    if (waiting === null) this.#failure = error;
    else waiting.reject(error);
  }

  #endWait(): PromiseWithResolvers<RawConnection> | null {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) this.#server.unref();
    return waiting;
  }
}
