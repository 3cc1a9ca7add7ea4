import type { Socket } from "../../base/app/app.ts";
import {
  type Address,
  formatCheckedAddress,
  type HostAddress,
  type ScopedAddress,
  zoneOf,
} from "../../base/address.ts";
import { pause } from "../../internal/pause.ts";
import {
  endpointOf,
  hostKeyOf,
  makeBoundAddress,
  makePeerAddress,
  makePeerName,
} from "./addresses.ts";
import type { SafeLogger } from "../../base/app/logger.ts";
import { isLookupError } from "./connection_errors.ts";
import { errorCodeOf, fileErrorCodeOf, withNewMessage } from "../../internal/caught_errors.ts";

export interface AcceptedConnection {
  readonly name: string;
  /** The address of the peer; `null` for Unix sockets and abstract names. */
  readonly address: HostAddress | ScopedAddress | null;
  /** Identifies the peer, for limits: its host, over TLS after the key of an authority, if any. */
  readonly peerKey: string;
  readonly socket: Socket;
  /** Reports whether the peer is still trusted: trust can change while a connection waits. */
  readonly isPeerTrusted: () => boolean;
}

export interface Listener {
  readonly ready: Promise<void>;
  /** The listening address; final once `ready` has resolved. */
  readonly address: Address;
  /** Keeps the process alive, and passes each connection to `onConnection` of the options. */
  start(): void;
  close(): void;
  /** Resolves once the handshakes that {@linkcode close} aborts have ended. */
  waitUntilEnded(): Promise<void>;
}

export interface ListenerOptions {
  /** Seconds that a handshake may take, or `null`. */
  readonly timeout: number | null;
  readonly logger: SafeLogger;
  readonly onConnection: (connection: AcceptedConnection) => void;
  /** Whether a Unix socket at which no process listens is replaced. */
  readonly replaceStaleSocket?: boolean | undefined;
}

/**
 * The kind of a server's listener. No public module exports this class, so programs can't make an
 * instance: unlike a `dial`, a public listener would need its readiness, the names, addresses and
 * trust of its peers, and the end of its handshakes, which no program has asked for.
 */
export class ListenerMaker {
  readonly additionalOptions: readonly string[];
  readonly listen: (address: Address, options: ListenerOptions) => Listener;

  constructor(additionalOptions: readonly string[], listen: ListenerMaker["listen"]) {
    this.additionalOptions = additionalOptions;
    this.listen = listen;
  }
}

/** Plain peers are not authenticated, so their trust can't be withdrawn. */
const isAlwaysTrusted = () => true;

/**
 * The codes of errors of accept(2) that concern a single connection: its peer has disconnected or,
 * on Linux, its network has failed. The listener continues.
 */
const PEER_ERROR_CODES: ReadonlySet<unknown> = new Set([
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
 * Without free file descriptors every accept fails at once, and a loop without pauses would block
 * the process.
 */
const RETRY_MILLISECONDS = 50;

export class PlainListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: Address;
  #listener: Deno.TcpListener | Deno.UnixListener | null = null;
  #lockFile: Deno.FsFile | null = null;
  readonly #logger: SafeLogger;
  readonly #onSocket: (socket: Deno.TcpConn | Deno.UnixConn) => void;
  #acceptLoop: Promise<void> | null = null;
  readonly #closeController = new AbortController();
  #isFailing = false;

  constructor(
    address: Address,
    { logger, replaceStaleSocket = false }: Pick<ListenerOptions, "logger" | "replaceStaleSocket">,
    onSocket: (socket: Deno.TcpConn | Deno.UnixConn) => void,
  ) {
    this.#logger = logger;
    this.#onSocket = onSocket;
    if (replaceStaleSocket && typeof address === "string") {
      this.address = address;
      this.#lockFile = lockSocket(address);
      this.ready = this.#replaceSocket(address);
      // serveForever() and `ready` report the error.
      this.ready.catch(() => {});
      return;
    }
    this.#listener = listenAt(address);
    this.address = makeBoundAddress(address, this.#listener.addr);
  }

  async #replaceSocket(path: string): Promise<void> {
    try {
      const isStale = await isStaleSocket(path);
      // close() has unlocked the path.
      if (this.#closeController.signal.aborted) return;
      if (isStale) Deno.removeSync(path);
      this.#listener = listenAt(path);
    } catch (error) {
      this.#unlock();
      throw error;
    }
  }

  #unlock(): void {
    // A process that is starting may still share the lock after the close.
    this.#lockFile?.unlockSync();
    this.#lockFile?.close();
    this.#lockFile = null;
  }

  start(): void {
    this.#acceptLoop ??= this.#acceptAll();
  }

  async #acceptAll(): Promise<void> {
    if (this.#listener === null) await this.ready.catch(() => {});
    const { signal } = this.#closeController;
    while (!signal.aborted && this.#listener !== null) {
      let conn: Deno.TcpConn | Deno.UnixConn | null = null;
      try {
        conn = await this.#listener.accept();
        this.#isFailing = false;
        if ("setNoDelay" in conn) conn.setNoDelay(true);
      } catch (error) {
        conn?.close();
        if (signal.aborted) return;
        if (conn !== null || PEER_ERROR_CODES.has(errorCodeOf(error))) {
          this.#logger.debug(`a peer closed its connection before it was accepted: ${error}`, {
            error,
          });
          continue;
        }
        // Log a persistent failure once, not at each attempt.
        if (!this.#isFailing) {
          // With many connections, accepting fails again and again.
          const details = { kind: "slot", error } as const;
          this.#logger.warn(`accepting connections fails: ${error}`, details);
        }
        this.#isFailing = true;
        await pause(RETRY_MILLISECONDS, signal);
        continue;
      }
      this.#onSocket(conn);
    }
  }

  close(): void {
    this.#closeController.abort();
    this.#listener?.close();
    this.#unlock();
  }

  /** The address stays in use until a pending accept() has ended. */
  async waitUntilEnded(): Promise<void> {
    await this.ready.catch(() => {});
    await this.#acceptLoop;
  }
}

export function listenPlain(address: Address, options: ListenerOptions): Listener {
  let connectionCount = 0;
  const listener = new PlainListener(address, options, (socket) => {
    const peerAddress = makePeerAddress(listener.address, socket.remoteAddr);
    const name = makePeerName(listener.address, peerAddress, ++connectionCount);
    const peerKey = hostKeyOf(peerAddress, socket.localAddr);
    const isPeerTrusted = isAlwaysTrusted;
    options.onConnection({ name, address: peerAddress, peerKey, socket, isPeerTrusted });
  });
  return listener;
}

function listenAt(address: Address): Deno.TcpListener | Deno.UnixListener {
  const endpoint = endpointOf(address);
  try {
    if (endpoint.transport === "tcp") return Deno.listen(endpoint);
    return endpoint.path === "" ? listenOnFreeName() : Deno.listen(endpoint);
  } catch (error) {
    throw toBindError(error, address);
  }
}

/**
 * Locks the path of a socket for one server with `replaceStaleSocket`, until the server closes or
 * its process ends.
 */
function lockSocket(path: string): Deno.FsFile {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(`${path}.lock`, { create: true, write: true, mode: 0o600 });
  } catch (error) {
    throw toBindError(error, path);
  }
  if (file.tryLockSync(true)) return file;
  file.close();
  const problem = "another server uses this path";
  throw new Deno.errors.AddrInUse(`can't listen at ${formatCheckedAddress(path)}: ${problem}`);
}

async function isStaleSocket(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return false;
  } catch (error) {
    // The kernel also refuses to connect to a file that isn't a socket.
    return error instanceof Deno.errors.ConnectionRefused && Deno.lstatSync(path).isSocket === true;
  }
}

/**
 * Returns the error for a socket of `node:net` that could not be bound: the error of a socket of
 * Deno at the same address, whose class and message are better, or else the given error.
 */
export function bindingError(error: unknown, address: Address): unknown {
  try {
    listenAt(address).close();
  } catch (denoError) {
    return denoError;
  }
  return toBindError(error, address);
}

function toBindError(error: unknown, address: Address): unknown {
  const endpoint = endpointOf(address);
  const zone = endpoint.transport === "tcp" ? zoneOf(endpoint.hostname) : null;
  // The interface has no such name, or no such number.
  const isZoneUnknown = zone !== null &&
    (isLookupError(error) || fileErrorCodeOf(error) === "ENODEV");
  return withNewMessage(error, (systemError) => {
    const problem = isZoneUnknown ? `this machine has no interface ${zone}` : systemError.message;
    return `can't listen at ${formatCheckedAddress(address)}: ${problem}`;
  });
}

/**
 * Listens on a random abstract name of five hex digits that isn't in use. The kernel would choose
 * such a name for an empty path, but Deno allows an empty path only with all permissions.
 */
function listenOnFreeName(): Deno.UnixListener {
  for (;;) {
    const randomNumber = crypto.getRandomValues(new Uint32Array(1))[0]! & 0xfffff;
    try {
      return Deno.listen({
        transport: "unix",
        path: `\0${randomNumber.toString(16).padStart(5, "0")}`,
      });
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
