/** Listening on every kind of address. */

import type { Socket } from "../base/app/app.ts";
import {
  type Address,
  addressText,
  type HostAddress,
  type ScopedAddress,
} from "../base/address.ts";
import { pause } from "../internal/pause.ts";
import { boundAddress, endpointOf, peerAddress, peerName } from "./addresses.ts";
import type { SafeLogger } from "./logger.ts";
import { systemCode, withNewMessage } from "./error_text.ts";

/** A connection that was accepted. */
export interface AcceptedConnection {
  /** The name of the peer in logs. */
  readonly name: string;
  /** The address of the peer; `null` for Unix sockets and abstract names. */
  readonly address: HostAddress | ScopedAddress | null;
  /** The socket for HTTP, whose handshake, if any, is done. */
  readonly socket: Socket;
  /** Reports whether the peer may still be accepted: trust can change while a connection waits. */
  readonly isTrusted: () => boolean;
}

/** The source of a server's connections. */
export interface Listener {
  /** Resolves once the address is bound. */
  readonly ready: Promise<void>;
  /** The address that connections are accepted at; final once `ready` has resolved. */
  readonly address: Address;
  /**
   * Waits for the next connection, for one caller at a time. Rejects once the listener was closed,
   * and never before.
   */
  accept(): Promise<AcceptedConnection>;
  /** Frees the address, and ends the handshakes in progress. */
  close(): void;
  /** Resolves once the handshakes that {@linkcode close} ends have ended. */
  waitUntilEnded(): Promise<void>;
}

/** The properties of a server that its listener needs. */
export interface ListenerOptions {
  /** Seconds that a handshake may take, or `null`. */
  readonly timeout: number | null;
  readonly logger: SafeLogger;
}

/** The maker of a server's listener, the only difference between the classes of servers. */
export interface ListenerMaker {
  /** The names of the options that only servers with these listeners have. */
  readonly moreOptions: readonly string[];
  /** Binds a checked address, or throws. */
  listen(address: Address, options: ListenerOptions): Listener;
}

/** Plain peers are not authenticated: nothing that they were accepted for can change. */
const alwaysTrusted = () => true;

/**
 * The codes of errors of accept(2) that concern one connection, whose peer is gone or, on Linux,
 * whose network has failed. The listener goes on.
 */
const PEER_CODES: ReadonlySet<unknown> = new Set([
  "ECONNABORTED",
  "ECONNRESET",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "ENETDOWN",
  "ENETUNREACH",
  "ENONET",
  "ENOPROTOOPT",
  "ENOTCONN",
  "EOPNOTSUPP",
  "EPIPE",
  "EPROTO",
  "ETIMEDOUT",
]);

/**
 * Milliseconds between two attempts to accept after one that failed: while no file descriptor is
 * left, an attempt fails at once, and a loop of them would leave no time to anything else.
 */
const RETRY_MILLISECONDS = 50;

/** Listens for plain connections. */
export class PlainListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: Address;
  readonly #listener: Deno.TcpListener | Deno.UnixListener;
  readonly #logger: SafeLogger;
  #count = 0;
  readonly #closeController = new AbortController();
  #isFailing = false;

  /** Binds a checked address, or throws. */
  constructor(address: Address, logger: SafeLogger) {
    this.#listener = listenAt(address);
    this.address = boundAddress(address, this.#listener.addr);
    this.#logger = logger;
  }

  async accept(): Promise<AcceptedConnection> {
    const socket = await this.acceptConn();
    const address = peerAddress(this.address, socket.remoteAddr);
    const name = peerName(this.address, address, ++this.#count);
    return { name, address, socket, isTrusted: alwaysTrusted };
  }

  /**
   * Waits for the next connection, as {@linkcode accept} does, but returns its socket alone: a
   * listener for TLS counts and names its peers itself.
   */
  async acceptConn(): Promise<Deno.TcpConn | Deno.UnixConn> {
    for (;;) {
      let conn: Deno.TcpConn | Deno.UnixConn | null = null;
      try {
        conn = await this.#listener.accept();
        this.#isFailing = false;
        if ("setNoDelay" in conn) conn.setNoDelay(true);
        return conn;
      } catch (error) {
        conn?.close();
        if (this.#closeController.signal.aborted && conn === null) throw error;
        if (conn !== null || PEER_CODES.has(systemCode(error))) {
          this.#logger.debug(`a peer was gone before it was accepted: ${error}`, { error });
          continue;
        }
        // A failure is reported once, not at each attempt.
        if (!this.#isFailing) this.#logger.warn(`accepting connections fails: ${error}`, { error });
        this.#isFailing = true;
      }
      await pause(RETRY_MILLISECONDS, this.#closeController.signal);
    }
  }

  close(): void {
    this.#closeController.abort();
    this.#listener.close();
  }

  waitUntilEnded(): Promise<void> {
    return this.ready;
  }
}

function listenAt(address: Address): Deno.TcpListener | Deno.UnixListener {
  const endpoint = endpointOf(address);
  try {
    if (endpoint.transport === "tcp") return Deno.listen(endpoint);
    return endpoint.path === "" ? listenOnFreeName() : Deno.listen(endpoint);
  } catch (error) {
    throw withBindAdvice(error, address);
  }
}

/**
 * The error for a socket of `node:net` that could not be bound. Deno's own sockets have better
 * words and classes for the reason, unless a socket of Deno can be bound there after all.
 */
export function bindingError(error: unknown, address: Address): unknown {
  try {
    listenAt(address).close();
  } catch (denoError) {
    return denoError;
  }
  return withBindAdvice(error, address);
}

/** An error of the system, reworded to name the address. */
function withBindAdvice(error: unknown, address: Address): unknown {
  const [portAdvice, pathAdvice] = LISTENING_ADVICE[String(systemCode(error))] ?? ["", ""];
  const isPort = typeof address !== "string" && !(address instanceof Uint8Array);
  const advice = isPort ? portAdvice : typeof address === "string" ? pathAdvice : "";
  return withNewMessage(
    error,
    ({ message }) =>
      `can't listen at ${addressText(address)}: ${message}${advice === "" ? "" : `; ${advice}`}`,
  );
}

/** The advice for an error, by its code: for a port, and for a path. */
const LISTENING_ADVICE: Readonly<Record<string, readonly [port: string, path: string]>> = {
  EADDRINUSE: [
    "another program listens there: end it, or take another port",
    "the path exists: remove it if nothing listens there any more",
  ],
  EADDRNOTAVAIL: ["it is not an address of this machine: use one that is, or 0.0.0.0", ""],
  EACCES: ["ports below 1024 are for root: take another one", "check who may write there"],
  ENOENT: ["", "there is no such directory"],
};

/**
 * Listens on an abstract name that is free, in the form of the kernel's own names. For an empty
 * path the kernel would choose the name, but Deno allows an empty path only with all permissions.
 */
function listenOnFreeName(): Deno.UnixListener {
  for (;;) {
    const number = crypto.getRandomValues(new Uint32Array(1))[0]! & 0xfffff;
    try {
      return Deno.listen({
        transport: "unix",
        path: `\0${number.toString(16).padStart(5, "0")}`,
      });
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
