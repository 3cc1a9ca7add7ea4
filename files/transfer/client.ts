import {
  type Address,
  bodies,
  type BodyIn,
  type BodyOut,
  DeguError,
  type HeadersToSend,
  type Method,
  type Response,
} from "../../base.ts";
import { checkRequester } from "../../net/client/requester.ts";
import { clearMaybeProcessed } from "../../net/client/client_errors.ts";
import { formatCheckedAddress } from "../../base/address.ts";
import { type Connection, ConnectionPool, type Connector, type Requester } from "../../client.ts";
import { areModesFixed, parseMode } from "../wire/metadata.ts";
import { unexpectedResponseError } from "../transfer_error.ts";

/**
 * The client of a transfer, which sends one request at a time. If the caller passes a connection or
 * a pool, the requests use the connection or the pool. If the caller passes a client, they use a
 * new pool of one connection.
 */
export class TransferClient implements Disposable {
  /** The argument of the caller; for a pool, the client that the pool belongs to. */
  readonly #target: Requester | Connector;
  readonly #requester: Requester;
  readonly #serverName: string | null;
  readonly #modeMask: number;
  /** `null` for a connection of the caller, which can't be replaced. */
  readonly #pool: ConnectionPool | null;
  readonly #ownPool: ConnectionPool | null;
  readonly signal: AbortSignal | undefined;
  readonly #mayRepeat: boolean;
  readonly onData: () => void;
  /**
   * The permission bits that a new file can get at the server, from the last response that has
   * them; `null` if the server accepts no bits, or no response had them.
   */
  serverModeMask: number | null = null;
  /** Whether the server's disk refuses every change of permission bits. */
  hasFixedModes = false;
  #lastBody: BodyIn = null;
  #hasResponse = false;

  /**
   * @param mayRepeat True if the caller may repeat a call after its last request may have been
   * processed. Uploads may be repeated: a file that is written twice has the same content.
   */
  constructor(
    label: string,
    target: Requester | Connector,
    { signal, serverName = null, modeMask = 0o777, onData = () => {} }: {
      readonly signal?: AbortSignal | undefined;
      readonly serverName?: string | null;
      readonly modeMask?: number;
      /** Called after bytes of a bundle or a list have been sent or received. */
      readonly onData?: () => void;
    },
    mayRepeat = true,
  ) {
    checkRequester(label, target);
    this.#target = target instanceof ConnectionPool ? target.connector : target;
    this.#ownPool = typeof (target as Partial<Connector>).connect === "function"
      ? makeOwnPool(target as Connector)
      : null;
    this.#pool = this.#ownPool ?? (target instanceof ConnectionPool ? target : null);
    this.#requester = this.#pool ?? target as Requester;
    this.signal = signal;
    this.#serverName = serverName;
    this.#modeMask = modeMask;
    this.onData = onData;
    this.#mayRepeat = mayRepeat;
  }

  maskMode(mode: number | null): number | null {
    return mode === null ? null : mode & this.#modeMask;
  }

  get canReconnect(): boolean {
    return this.#pool !== null;
  }

  get isUsable(): boolean {
    return this.canReconnect || (this.#target as { closed?: boolean }).closed !== true;
  }

  /** Identifies the server by its authority, which is independent of the address. */
  async identifyServer(): Promise<string | null> {
    if (this.#serverName !== null) return `any ${this.#serverName}`;
    const peer = this.#pool === null
      ? await (this.#target as Partial<Pick<Connection, "peer">>).peer?.()
      : await this.#pool.peer({ signal: this.signal });
    const { certificate, address } = peer ?? { certificate: null, address: null };
    if (certificate?.authority) return `authority ${certificate.authority.publicKey256}`;
    const ownAddress = (this.#target as { address?: Address }).address ?? address;
    return ownAddress === null ? null : `address ${formatCheckedAddress(ownAddress)}`;
  }

  /**
   * The body of an earlier response can't be read after this call.
   *
   * @param onRepeat Called before the request is sent again, because the response was lost: the
   * server may process the request twice. Without the function, only a request that changes nothing
   * is repeated, by the pool.
   */
  async request(
    method: Method,
    uri: string,
    headers: HeadersToSend,
    body: BodyOut = null,
    onRepeat: (() => void) | null = null,
  ): Promise<Response> {
    this.#cancelLastBody();
    const { signal } = this;
    try {
      const response = await this.#requester.request(method, uri, headers, body, { signal });
      this.#lastBody = response.body;
      this.#hasResponse = true;
      checkFraming(method, uri, response);
      const modeMask = parseMode(response.headers["file-mode-mask"]);
      if (modeMask !== null) {
        this.serverModeMask = modeMask;
        this.hasFixedModes = areModesFixed(response.headers);
      }
      return response;
    } catch (error) {
      // A server that closes the first connection has refused the client.
      const isLost = this.#hasResponse && error instanceof DeguError && error.maybeProcessed;
      if (isLost && this.canReconnect && onRepeat !== null) {
        onRepeat();
        return await this.request(method, uri, headers, body);
      }
      throw this.#mayRepeat ? clearMaybeProcessed(error) : error;
    }
  }

  /** Cancels the body of the last response, so that the pool can use the connection. */
  #cancelLastBody(): void {
    if (this.#pool !== null) this.#lastBody?.cancel().catch(() => {});
    this.#lastBody = null;
  }

  /** The connections of a caller's pool stay open. */
  [Symbol.dispose](): void {
    this.#cancelLastBody();
    this.#ownPool?.close();
  }
}

/** A list, a bundle or a file that ends with the connection could be cut without an error. */
function checkFraming(method: Method, uri: string, { ok, body }: Response): void {
  if (!ok || !body?.chunked || !body.endsWithConnection) return;
  body.cancel().catch(() => {});
  const problem = "only the end of the connection ends the response, which may therefore be cut";
  throw unexpectedResponseError(method, uri, problem);
}

function makeOwnPool(target: Connector): ConnectionPool {
  const connect: Connector["connect"] = (connectOptions) => {
    // Transfers need the standard bodies, also if the client has body classes of its own.
    const options = { ...connectOptions, bodies };
    return target.connect(options);
  };
  return new ConnectionPool({ connect }, { maxConnections: 1 });
}
