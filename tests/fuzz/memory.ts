/** Connections in memory, whose peer sends a list of pieces, and a server for such connections. */

import type { App, Socket } from "@degu/internal/base/app/app.ts";
import type { Address, HostAddress } from "@degu/internal/base/address.ts";
import {
  type Listener,
  ListenerMaker,
  type ListenerOptions,
} from "@degu/internal/net/transport/listener.ts";
import { type Logger, Server, type ServerOptions } from "@degu/degu/server";
import { failAtBugs } from "../support/serving.ts";
import { cutBytes } from "../support/streams.ts";
import { decodeLatin1 } from "../support/wire_grammar.ts";

/** A socket that reads the given pieces and records the written bytes. */
export class MemorySocket implements Socket {
  /** The written bytes, as Latin-1 text. */
  written = "";
  isClosed = false;
  readonly #closing = Promise.withResolvers<void>();
  /** Resolves once the socket has been closed. */
  readonly closed: Promise<void> = this.#closing.promise;
  #pieces: readonly Uint8Array[];
  #next = 0;
  #readBytes = 0;

  /** Makes a socket that reads these pieces, none of them empty, and then the end. */
  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces;
  }

  deliver(pieces: readonly Uint8Array[]): void {
    this.#pieces = [...this.#pieces.slice(this.#next), ...pieces];
    this.#next = 0;
  }

  get empty(): boolean {
    return this.#next === this.#pieces.length;
  }

  read(into: Uint8Array): Promise<number | null> {
    if (this.isClosed) return Promise.reject(new Deno.errors.BadResource("closed"));
    const piece = this.#pieces[this.#next];
    if (piece === undefined) return Promise.resolve(null);
    const count = Math.min(into.length, piece.length - this.#readBytes);
    into.set(piece.subarray(this.#readBytes, this.#readBytes + count));
    this.#readBytes += count;
    if (this.#readBytes === piece.length) {
      this.#next++;
      this.#readBytes = 0;
    }
    return Promise.resolve(count);
  }

  write(bytes: Uint8Array): Promise<number> {
    if (this.isClosed) return Promise.reject(new Deno.errors.BadResource("closed"));
    this.written += decodeLatin1(bytes);
    return Promise.resolve(bytes.length);
  }

  close(): void {
    this.isClosed = true;
    this.#closing.resolve();
  }
}

/** A peer that responds to each request with the next bytes, and ends at any further read. */
export class AnsweringSocket extends MemorySocket {
  readonly #answers: (readonly Uint8Array[])[];
  #answering = false;
  #waiting: { into: Uint8Array; resolve(count: Promise<number | null>): void } | null = null;

  constructor(responses: (readonly Uint8Array[])[]) {
    super([]);
    this.#answers = responses;
  }

  override read(into: Uint8Array): Promise<number | null> {
    if (!this.empty || this.#answering || this.isClosed) return super.read(into);
    // No bytes are available before the request is written.
    return new Promise((resolve) => this.#waiting = { into, resolve });
  }

  override write(bytes: Uint8Array): Promise<number> {
    if (this.isClosed) return super.write(bytes);
    this.#answering = true;
    this.deliver(this.#answers.shift() ?? []);
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.resolve(super.read(waiting.into));
    return super.write(bytes);
  }

  /** Ends the exchange: remaining bytes come too early for the next request. */
  endExchange(): void {
    this.#answering = false;
  }

  override close(): void {
    super.close();
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.resolve(Promise.reject(new Deno.errors.BadResource("closed")));
  }
}

/**
 * Yields the ways to cut the bytes: whole, byte by byte, and in two at every boundary, or at `most`
 * evenly distributed boundaries if there are more.
 */
export function* makeSplits(bytes: Uint8Array, maxSplits: number): Generator<Uint8Array[]> {
  yield cutBytes(bytes);
  yield cutBytes(bytes, 1);
  const step = Math.max(1, (bytes.length - 1) / maxSplits);
  for (let at = 1; at < bytes.length; at += step) {
    const position = Math.floor(at);
    yield [bytes.subarray(0, position), bytes.subarray(position)];
  }
}

/** Discards log lines, except that a reported bug of Degu ends the program. */
export const quietLogger = { debug() {}, info() {}, warn() {}, error: failAtBugs };

/** A listener of the sockets of {@linkcode MemoryListener.offer}. */
export class MemoryListener implements Listener {
  readonly ready: Promise<void> = Promise.resolve();
  readonly address: Address = ["127.0.0.1", 1];
  readonly maker: ListenerMaker = new ListenerMaker([], (_address, { onConnection }) => {
    this.#onConnection = onConnection;
    return this;
  });
  #onConnection: ListenerOptions["onConnection"] | null = null;

  /** Connects a socket. */
  offer(socket: Socket, address: HostAddress | null = null): void {
    const peerKey = address?.[0] ?? "";
    this.#onConnection!({ name: "memory", address, peerKey, socket, isPeerTrusted: () => true });
  }

  start(): void {}

  close(): void {}

  waitUntilEnded(): Promise<void> {
    return this.ready;
  }
}

/** A real server whose connections are in memory. */
export class MemoryServer extends Server {
  readonly #memory: MemoryListener;
  readonly #serving: Promise<void>;

  constructor(app: App, onExchange?: ServerOptions["onExchange"], logger: Logger = quietLogger) {
    const memory = new MemoryListener();
    const limits = { timeout: null, maxConnections: Infinity, maxRequests: Infinity };
    super(
      ["127.0.0.1", 1],
      app,
      { ...limits, logger, onExchange },
      memory.maker,
    );
    this.#memory = memory;
    this.#serving = this.serveForever();
  }

  /** Connects a socket, and resolves when it is closed. */
  async connect(socket: MemorySocket): Promise<void> {
    this.#memory.offer(socket);
    await socket.closed;
  }

  /** Closes the server, and waits for its end. */
  async end(): Promise<void> {
    this.close();
    await this.#serving;
  }
}
