import type { HostAddress, ScopedAddress } from "../../base/address.ts";
import type { ReadBuffer } from "../../base/body/byte_io.ts";
import { ProtocolError } from "../../base/errors.ts";
import { ChunkScanner } from "../../base/wire/chunk.ts";
import { forbiddenHeaderError } from "../../base/wire/headers.ts";
import { canBeRebound, isServedHost } from "../../base/wire/host_header.ts";
import { MAX_PREAMBLE_BYTES } from "../../base/wire/limits.ts";
import { mayHaveBody } from "../../base/wire/method.ts";
import {
  checkRequestPrefix,
  parseRequestPreamble,
  preambleTooLargeError,
  type RequestPreamble,
} from "../../base/wire/preamble.ts";
import { quote } from "../../internal/quote.ts";
import { PreambleSearch } from "./preamble_search.ts";

const CR = 0x0d;

/** The canonical names of a server; `null` for hosts that public DNS doesn't resolve. */
export type ServedHosts = ReadonlySet<string> | "any" | null;

/** Reads the preambles of the requests of a connection, and checks that they are for the server. */
export class RequestReader extends PreambleSearch {
  readonly #isEncrypted: boolean;
  readonly #address: HostAddress | ScopedAddress | null;
  readonly #hosts: ServedHosts;
  /**
   * A request whose method allows no content, until its empty chunked body has arrived. Some
   * proxies add such a body to every request.
   */
  #requestWithEmptyBody: {
    readonly preamble: RequestPreamble;
    readonly preambleBytes: number;
    readonly scanner: ChunkScanner;
  } | null = null;

  /** @param address The address of the peer; `null` for Unix sockets. */
  constructor(
    buffer: ReadBuffer,
    isEncrypted: boolean,
    address: HostAddress | ScopedAddress | null,
    hosts: ServedHosts,
  ) {
    super(buffer, checkRequestPrefix);
    this.#isEncrypted = isEncrypted;
    this.#address = address;
    // A web page of another name reaches neither a Unix socket nor, without a certificate of this
    // name, a server with TLS.
    const isPlain = address !== null && !isEncrypted;
    this.#hosts = hosts ?? (isPlain ? null : "any");
  }

  /** Returns the next preamble; `null` if more bytes are needed. */
  read(): RequestPreamble | null {
    if (this.#requestWithEmptyBody !== null) return this.#readEmptyBody();
    const { buffer } = this;
    if (buffer.bytes[buffer.start] === CR) this.skipEmptyLine();
    const preambleEnd = this.findEnd();
    if (preambleEnd < 0) return null;
    const { bytes, start } = buffer;
    const preamble = parseRequestPreamble(bytes, start, preambleEnd);
    if (this.#hosts !== "any" || preamble.isHttps) this.#checkDestination(preamble);
    if (preamble.framing === "chunked" && !mayHaveBody(preamble.method)) {
      const scanner = new ChunkScanner();
      this.#requestWithEmptyBody = { preamble, preambleBytes: preambleEnd - start, scanner };
      return this.#readEmptyBody();
    }
    buffer.start = preambleEnd;
    return preamble;
  }

  /** Until the body is complete, its bytes count as bytes of the preamble. */
  #readEmptyBody(): RequestPreamble | null {
    const { preamble, preambleBytes, scanner } = this.#requestWithEmptyBody!;
    const { bytes, start, end } = this.buffer;
    const maxEnd = Math.min(end, start + MAX_PREAMBLE_BYTES);
    let position = start + preambleBytes + scanner.consumedBytes;
    for (let next; (next = scanner.advance(bytes, position, maxEnd)) >= 0; position = next) {
      if (scanner.header.size > 0) {
        throw forbiddenHeaderError("transfer-encoding", "such a request");
      }
    }
    if (scanner.phase !== "done") {
      if (end - start >= MAX_PREAMBLE_BYTES) throw preambleTooLargeError();
      this.needMore();
      return null;
    }
    this.end();
    this.buffer.start = position;
    this.#requestWithEmptyBody = null;
    return { ...preamble, framing: null };
  }

  /** RFC 9110 §7.4. */
  #checkDestination({ headers, isHttps }: RequestPreamble): void {
    if (isHttps && !this.#isEncrypted) {
      throw new ProtocolError("MISDIRECTED", "a request for https on a connection without TLS");
    }
    // The parser has checked that it is one string.
    const host = headers["host"] as string | undefined;
    if (this.#hosts === "any" || this.#isHostServed(host)) return;
    const text = host === undefined ? "no host" : `the host ${quote(host)}`;
    const problem = `a request for ${text}, which the server doesn't serve`;
    throw new ProtocolError("MISDIRECTED", problem);
  }

  #isHostServed(host: string | undefined): boolean {
    const hosts = this.#hosts;
    if (hosts instanceof Set) return host !== undefined && isServedHost(host, hosts);
    return host === undefined || !canBeRebound(host, this.#address![0]);
  }
}
