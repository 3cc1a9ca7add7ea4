/** The connections of a transfer, and what is known of its server. */

import {
  type Address,
  bodies,
  type BodyIn,
  type BodyOut,
  type HeaderDict,
  type Method,
  type Response,
} from "../../base.ts";
import { formatCheckedAddress } from "../../base/address.ts";
import { cancelQuietly } from "../../base/body/bodies.ts";
import {
  ConnectionPool,
  type Connector,
  type Requester,
  type RequestOptions,
  type RetryEvent,
} from "../../client.ts";
import { connectorOf, peerOfConnection } from "../../net/connection_pool.ts";
import { requestSignal } from "../../net/request_signal.ts";
import { checkRequester, isConnector } from "../../net/requester.ts";
import { clearMaybeProcessed } from "../../net/client_errors.ts";
import { parseMode } from "../modes.ts";

/** Settings of the program `degu` for the transfers of a client, or over a pool, beside options. */
export interface TransferHints {
  /**
   * The servers of clients with the same name are taken for one, so that a part of a file is
   * continued from any of them: whether the whole file is what the server has is verified as
   * always.
   */
  readonly serverName?: string;
  /** The permission bits that no file from the server gets. */
  readonly maskedModeBits?: number;
  /** Called before a tree goes on after an error; `restart` starts the count of retries again. */
  readonly onTreeRetry?: (event: RetryEvent, restart: () => void) => void;
}

const hintsByPeer = new WeakMap<Requester | Connector, TransferHints>();

export function setTransferHints(peer: Requester | Connector, traits: TransferHints): void {
  hintsByPeer.set(peer, traits);
}

export function hintsOf(peer: Requester | Connector): TransferHints {
  return hintsByPeer.get(peer) ?? {};
}

/**
 * The client of a transfer. Its requests, one after the other, go over the caller's connection or
 * pool, or over a pool of its own, of one connection, if the caller gave a client.
 */
export class TransferClient implements Disposable {
  /** The target that the caller has passed; for a pool, the client that the pool is for. */
  readonly #target: Requester | Connector;
  readonly #requester: Requester;
  /** `null` over a connection of the caller, which can't be replaced. */
  readonly #pool: ConnectionPool | null;
  readonly #isOwn: boolean;
  /** Aborts connecting and every request. */
  readonly signal: AbortSignal | undefined;
  readonly #isRepeatable: boolean;
  /**
   * Which permission bits a new file gets at the server, as its last answer that tells has said;
   * `null` if the server takes none, or was not asked.
   */
  modeMask: number | null = null;
  /** The body of the last response. */
  #body: BodyIn = null;

  /**
   * Creates a client for the target of a caller, without connecting.
   *
   * @param label Names the target in errors.
   * @param options The signal aborts connecting and every request.
   * @param isRepeatable Whether a request that was perhaps acted on may be made again, as those of
   * uploads: a file that is written twice is the same.
   * @throws {TypeError} if the target is neither a client nor a connection, or an option has the
   * wrong type.
   */
  constructor(
    label: string,
    target: Requester | Connector,
    options?: RequestOptions,
    isRepeatable = true,
  ) {
    checkRequester(label, target);
    this.#target = connectorOf(target) ?? target;
    this.#isOwn = isConnector(target);
    this.#pool = isConnector(target)
      ? ownPool(target, isRepeatable)
      : target instanceof ConnectionPool
      ? target
      : null;
    this.#requester = this.#pool ?? target as Requester;
    this.signal = requestSignal(options);
    this.#isRepeatable = isRepeatable;
  }

  /** Returns the bits that a file from the server gets on this device; `null` if unknown. */
  bitsFor(mode: number | null): number | null {
    return mode === null ? null : mode & ~(hintsOf(this.#target).maskedModeBits ?? 0);
  }

  /** True if a connection that was closed can be replaced by another. */
  get canReconnect(): boolean {
    return this.#pool !== null;
  }

  /** True while there is a usable connection, or a connection can be opened. */
  get isUsable(): boolean {
    return this.canReconnect || (this.#target as { closed?: boolean }).closed !== true;
  }

  /**
   * Identifies the server: by its authority, which vouches for the server at any address, or else
   * by its address; `null` if the socket has neither.
   */
  async peer(): Promise<string | null> {
    const { serverName } = hintsOf(this.#target);
    if (serverName !== undefined) return `any ${serverName}`;
    const { certificate, address } = this.#pool === null
      ? peerOfConnection(this.#target)
      : await this.#pool.peer({ signal: this.signal });
    if (certificate?.authority) return `authority ${certificate.authority.publicKey256}`;
    const ownAddress = (this.#target as { address?: Address }).address ?? address;
    return ownAddress === null ? null : `address ${formatCheckedAddress(ownAddress)}`;
  }

  /** Makes a request, after which any earlier response can't be read any more. */
  async request(
    method: Method,
    uri: string,
    headers: HeaderDict,
    body: BodyOut = null,
  ): Promise<Response> {
    this.#endBody();
    const { signal } = this;
    try {
      const response = await this.#requester.request(method, uri, headers, body, { signal });
      this.#body = response.body;
      this.modeMask = parseMode(response.headers["file-mode-mask"]) ?? this.modeMask;
      return response;
    } catch (error) {
      throw this.#isRepeatable ? clearMaybeProcessed(error) : error;
    }
  }

  /** Frees the connection of a pool, if the last response was not read to its end. */
  #endBody(): void {
    if (this.#pool !== null) cancelQuietly(this.#body, undefined);
    this.#body = null;
  }

  /** Closes its own pool; the connections of a caller's pool stay open for later requests. */
  [Symbol.dispose](): void {
    this.#endBody();
    if (this.#isOwn) this.#pool!.close();
  }
}

/** A pool for the requests of one transfer, of which there is one at a time. */
function ownPool(target: Connector, isRepeatable: boolean): ConnectionPool {
  const connect: Connector["connect"] = (connectOptions) => {
    // A client's own classes of bodies are not for transfers.
    const options = { ...connectOptions, bodies };
    return target.connect(options);
  };
  return new ConnectionPool({ connect }, {
    maxConnections: 1,
    repeat: isRepeatable ? "any" : "safe",
  });
}
