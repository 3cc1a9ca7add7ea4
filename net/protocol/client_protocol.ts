import type { ReadBuffer } from "../../base/body/byte_io.ts";
import { ProtocolError } from "../../base/errors.ts";
import { type Framing, hasConnectionClose } from "../../base/wire/headers.ts";
import { determineReceivedFraming, isLastResponse } from "../../base/wire/preamble.ts";
import type { ClientExchange } from "./client_exchange.ts";
import { type ResponsePreamble, ResponseReader } from "./response_reader.ts";

/** Why no other exchange follows on a client's connection. */
export type LastExchangeReason =
  | "request"
  | "response"
  | "last response"
  | "refused body"
  | "refused connection"
  | "single request";

/**
 * What a client knows about its connection: the exchange in progress, and whether another one may
 * follow.
 */
export class ClientProtocol {
  readonly responses: ResponseReader;
  /** `null` between two exchanges. */
  exchange: ClientExchange | null = null;
  /** `null` while another exchange may follow. */
  lastExchangeReason: LastExchangeReason | null = null;
  responseCount = 0;
  /** The status of the last response; 0 before the first one. */
  lastStatus = 0;
  readonly #unframedNull: boolean;
  readonly #isEncrypted: boolean;

  /**
   * @param unframedNull Whether a response without framing has no body.
   * @param isEncrypted Whether the end of the connection can't be told from a cut.
   */
  constructor(buffer: ReadBuffer, unframedNull: boolean, isEncrypted: boolean) {
    this.responses = new ResponseReader(buffer);
    this.#unframedNull = unframedNull;
    this.#isEncrypted = isEncrypted;
  }

  /** From this point on, the request can't be rolled back. */
  beginExchange(exchange: ClientExchange): void {
    exchange.expect();
    if (exchange.isLastRequest) this.lastExchangeReason = "request";
  }

  receivePreamble(exchange: ClientExchange, { status }: ResponsePreamble): void {
    exchange.receivePreamble();
    this.responseCount++;
    this.lastStatus = status;
  }

  /** Determines the framing of the body, and whether another exchange may follow. */
  handOver(exchange: ClientExchange, preamble: ResponsePreamble): Framing | "unframed" {
    const { status, headers } = preamble;
    let framing = determineReceivedFraming(exchange.method, preamble);
    if (framing === "unframed" && this.#unframedNull) {
      if (this.responses.buffer.bufferedBytes > 0) throw unframedNullError(status);
      exchange.isUnframedNull = true;
      framing = null;
    }
    const isUnframed = framing === "unframed";
    if (isUnframed && this.#isEncrypted) throw unframedBodyError(status);
    const isLast = isLastResponse(preamble) || isUnframed;
    if (isLast || hasConnectionClose(headers)) {
      this.lastExchangeReason ??= isLast ? "last response" : "response";
      exchange.isLastResponse = true;
    }
    exchange.handOver();
    return framing;
  }

  /**
   * Whether the bytes after the previous response don't begin another response: some servers send
   * a body after the response to a HEAD.
   */
  hasExcessBytes({ incoming }: ClientExchange): boolean {
    return incoming === "awaited" && this.responseCount > 0 && this.responses.hasExcessBytes;
  }
}

function unframedBodyError(status: number): ProtocolError {
  return new ProtocolError(
    "UNFRAMED_BODY",
    `the response (status ${status}) has neither content-length nor transfer-encoding: over TLS, ` +
      "the end of such a body can't be told from a connection that was cut",
  );
}

function unframedNullError(status: number): ProtocolError {
  return new ProtocolError(
    "UNFRAMED_BODY",
    `the response (status ${status}) has neither content-length nor transfer-encoding, but a body: ` +
      "the option unframedNull is only for servers with Python Degu",
  );
}
