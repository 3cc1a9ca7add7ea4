/**
 * Peers that send raw bytes, even bytes that no client or server of this project would send, and
 * read raw bytes. Text is Latin-1, one character per byte. Every wait has a time limit, so that a
 * broken test fails instead of hanging. Fuzzers and the soak also use these peers, so this module
 * doesn't import `@std`.
 */

import type { Address } from "@degu/degu/base";
import { decodeLatin1, encodeLatin1 } from "./wire_grammar.ts";

/**
 * The time-out of a wait: far more than any wait takes, even on a busy machine. No timer of the
 * product has this time, because tests know the timers that they speed up by their times.
 */
const TIMEOUT_SECONDS = 540;

/** Returns the result of a promise, or rejects after some seconds with the missing event's name. */
export async function withTimeout<T>(
  promise: Promise<T>,
  event: string,
  seconds: number = TIMEOUT_SECONDS,
): Promise<T> {
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => timeout.reject(new Error(`waited ${seconds} s in vain: ${event}`)),
    seconds * 1000,
  );
  try {
    return await Promise.race([promise, timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Tries up to twenty times until an attempt is in time, because a busy machine can be late. */
export async function retryUntilInTime(
  problem: string,
  isInTime: () => Promise<boolean>,
): Promise<void> {
  for (let attempt = 1; !await isInTime(); attempt++) {
    if (attempt === 20) throw new Error(`${problem}, twenty times`);
  }
}

/** Connects to an address without the library. */
export async function dial(address: Address): Promise<Deno.Conn> {
  if (typeof address === "string") return await Deno.connect({ transport: "unix", path: address });
  if (address instanceof Uint8Array) {
    return await Deno.connect({ transport: "unix", path: new TextDecoder().decode(address) });
  }
  const [host, port, , scopeid = 0] = address;
  return await Deno.connect({ hostname: scopeid === 0 ? host : `${host}%${scopeid}`, port });
}

/**
 * Waits until connections to an address whose listener was closed are refused; fails the test after
 * a time-out.
 *
 * While another test starts a program, that program has a copy of the listening socket for some
 * milliseconds, so a connection may still be established, or reset.
 */
export async function waitUntilRefused(address: Address): Promise<void> {
  for (const end = performance.now() + TIMEOUT_SECONDS * 1000; performance.now() < end;) {
    try {
      (await dial(address)).close();
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return;
      if (!isBroken(error) && !(error instanceof Deno.errors.NotConnected)) throw error;
    }
  }
  throw new Error(`waited ${TIMEOUT_SECONDS} s in vain: connections are refused`);
}

/** The end of a connection, and the bytes before it. */
interface ConnectionEnd {
  readonly received: string;
  /**
   * `"reset"` if the other end closed with bytes unread, or broke off; `"end"` if it closed in
   * order.
   */
  readonly kind: "end" | "reset";
}

/** A client or server that sends and receives raw bytes. */
export class RawPeer implements Disposable {
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(131072);
  #end = 0;
  #closed = false;

  constructor(readonly conn: Deno.Conn) {
    // A piece must not wait for the acknowledgement of the previous piece.
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
  }

  /** Connects to an address, and sends all parts. */
  static async connect(
    address: Address,
    ...parts: readonly (string | Uint8Array)[]
  ): Promise<RawPeer> {
    const peer = new RawPeer(await dial(address));
    await peer.send(...parts);
    return peer;
  }

  /** Sends all parts, each in its own write. */
  async send(...parts: readonly (string | Uint8Array)[]): Promise<void> {
    const sendParts = async () => {
      for (const part of parts) {
        let bytes = typeof part === "string" ? encodeLatin1(part) : part;
        while (bytes.length > 0) bytes = bytes.subarray(await this.conn.write(bytes));
      }
    };
    // One timer for all parts, which may be thousands.
    await withTimeout(sendParts(), "the other end takes bytes");
  }

  /** Sends until the other side refuses more bytes; returns the number of sent bytes. */
  async sendUntilRefused(bytes: Uint8Array, maxBytes: number): Promise<number> {
    let sentCount = 0;
    try {
      while (sentCount < maxBytes) {
        sentCount += await withTimeout(
          this.conn.write(bytes),
          "the other end takes or refuses bytes",
        );
      }
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
    return sentCount;
  }

  async readUntil(delimiter: string): Promise<string> {
    for (let searchStart = 0;;) {
      const index = decodeLatin1(this.#buffer.subarray(searchStart, this.#end)).indexOf(delimiter);
      if (index >= 0) return this.#take(searchStart + index + delimiter.length);
      searchStart = Math.max(0, this.#end - delimiter.length + 1);
      if (await this.#fill() === 0) {
        throw new Error(`the other end closed after ${JSON.stringify(this.text)}`);
      }
    }
  }

  readPreamble(): Promise<string> {
    return this.readUntil("\r\n\r\n");
  }

  /** Reads the preamble of a request, and sends all parts. Returns the preamble. */
  async respond(...parts: readonly (string | Uint8Array)[]): Promise<string> {
    const preamble = await this.readPreamble();
    await this.send(...parts);
    return preamble;
  }

  async readExactly(count: number): Promise<string> {
    while (this.#end < count) {
      if (await this.#fill() === 0) {
        throw new Error(`the other end closed early: ${this.text.slice(0, 200)}`);
      }
    }
    return this.#take(count);
  }

  async readToEnd(): Promise<ConnectionEnd> {
    let kind: ConnectionEnd["kind"] = "end";
    try {
      while (await this.#fill() > 0);
    } catch (error) {
      if (!isBroken(error)) throw error;
      kind = "reset";
    }
    return { received: this.#take(this.#end), kind };
  }

  /** Asserts that the other side closes or resets the connection without sending another byte. */
  async assertClosedSilently(label = "the connection"): Promise<void> {
    const { received } = await this.readToEnd();
    if (received !== "") {
      throw new Error(`${label} was to be closed without a byte; got ${JSON.stringify(received)}`);
    }
  }

  /** The received text that was not read yet, at most its first 64 KiB. */
  get text(): string {
    return decodeLatin1(this.#buffer.subarray(0, Math.min(this.#end, 65536)));
  }

  closeWrite(): Promise<void> {
    return (this.conn as Deno.TcpConn).closeWrite();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.conn.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #fill(): Promise<number> {
    if (this.#buffer.length - this.#end < 65536) {
      const larger = new Uint8Array(2 * this.#buffer.length);
      larger.set(this.#buffer.subarray(0, this.#end));
      this.#buffer = larger;
    }
    const readPromise = this.conn.read(this.#buffer.subarray(this.#end));
    const lastText = decodeLatin1(this.#buffer.subarray(Math.max(0, this.#end - 200), this.#end));
    const count = await withTimeout(readPromise, `bytes or an end after ${lastText}`) ?? 0;
    this.#end += count;
    return count;
  }

  #take(count: number): string {
    const text = decodeLatin1(this.#buffer.subarray(0, count));
    this.#buffer.copyWithin(0, count, this.#end);
    this.#end -= count;
    return text;
  }
}

/**
 * Opens a connection, sends pieces and an end, and reads to the end of the other side. The other
 * side may have closed before it received all pieces.
 */
export async function exchange(
  address: Address,
  ...pieces: readonly (string | Uint8Array)[]
): Promise<ConnectionEnd> {
  using peer = await RawPeer.connect(address);
  try {
    await peer.send(...pieces);
    await peer.closeWrite();
  } catch (error) {
    if (!isBroken(error) && !(error instanceof Deno.errors.NotConnected)) throw error;
  }
  return await peer.readToEnd();
}

export function isBroken(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionAborted;
}

/** Listens on 127.0.0.1, or on a path, and exchanges bytes with clients. */
export class RawServer implements Disposable {
  readonly address: readonly [host: string, port: number] | string;
  readonly #listener: Deno.Listener;
  readonly #peers: RawPeer[] = [];

  constructor(path?: string) {
    if (path === undefined) {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      this.#listener = listener;
      this.address = ["127.0.0.1", listener.addr.port];
    } else {
      this.#listener = Deno.listen({ transport: "unix", path });
      this.address = path;
    }
  }

  /** Accepts the next connection, which is closed with this server. */
  async accept(): Promise<RawPeer> {
    const peer = new RawPeer(await withTimeout(this.#listener.accept(), "a client connects"));
    this.#peers.push(peer);
    return peer;
  }

  /** Accepts the next connection, and responds to its first request. */
  async respond(...parts: readonly (string | Uint8Array)[]): Promise<RawPeer> {
    const peer = await this.accept();
    await peer.respond(...parts);
    return peer;
  }

  [Symbol.dispose](): void {
    for (const peer of this.#peers) peer.close();
    this.#listener.close();
  }
}

/** Waits for a tick of the event loop, in which all bytes that have arrived are read. */
export async function waitForTick(): Promise<void> {
  using server = new RawServer();
  using client = await RawPeer.connect(server.address);
  const serverPeer = await server.accept();
  const byteRead = serverPeer.readExactly(1);
  await client.send("x");
  await byteRead;
}
