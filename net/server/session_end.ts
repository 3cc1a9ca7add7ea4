import { findStatusOfThrownResponse } from "../../base/app/app_result.ts";
import {
  dropsDebug,
  type LogDetails,
  type LogLevel,
  type SafeLogger,
} from "../../base/app/logger.ts";
import { findContentStatus, type Request } from "../../base/app/message.ts";
import type { SessionCore } from "../../base/app/session.ts";
import type { BodyIn } from "../../base/body/body.ts";
import {
  ConnectionClosedError,
  ConnectionError,
  EmptyPreambleError,
  ProtocolError,
  TlsError,
} from "../../base/errors.ts";
import { type ErrorStatus, isUnavailableError } from "../../base/wire/error_responses.ts";
import { errorCodeOf, hasCause, messageOf, stackOf } from "../../internal/caught_errors.ts";
import { reportedErrors } from "../../internal/error_details.ts";
import { quote } from "../../internal/quote.ts";
import { isBrokenBodyError } from "../transport/incoming_body.ts";
import type { Outgoing } from "../protocol/phases.ts";
import type { LastRequestReason, ServerProtocol } from "../protocol/server_protocol.ts";
import type { Transport } from "../transport/transport.ts";

const THROW_HINT = "to answer with a response, throw new ResponseError(response)";

export interface SessionEnd {
  readonly level: LogLevel;
  readonly kind?: LogDetails["kind"];
  readonly message: string;
  readonly logLine?: string;
  readonly error?: unknown;
}

/** What the end of a session depends on in its last exchange. */
interface EndedExchange {
  readonly request: Request;
  readonly body: BodyIn;
  readonly response: { readonly status: number };
  readonly bodyError: unknown;
  readonly hasValidResponse: boolean;
  readonly isReadingRequest: boolean;
  readonly outgoing: Outgoing;
}

const emptyPreambleError = new EmptyPreambleError();
export const CLOSED_BY_CLIENT: SessionEnd = {
  level: "debug",
  message: messageOf(emptyPreambleError),
  logLine: `ended: ${emptyPreambleError.message}`,
};
export const CLOSED_BY_SERVER: SessionEnd = { level: "debug", message: "closed by the server" };
const CLOSED_IN_REQUEST: SessionEnd = {
  ...CLOSED_BY_SERVER,
  level: "info",
  logLine: "closed by the server in the middle of a request",
};
export const ENDED_WHILE_IDLE: SessionEnd = {
  level: "debug",
  message: "ended while idle, because another connection waited for a slot",
};

export function makeRefusalEnd(reason: string): SessionEnd {
  return { level: "info", kind: "refusal", message: reason };
}

function makeEndAfter(reason: string): SessionEnd {
  return { level: "debug", message: reason, logLine: `ended after ${reason}` };
}

export function describeLastRequest(
  reason: LastRequestReason,
  { bodyError, response: { status } }: Pick<EndedExchange, "bodyError" | "response">,
  maxRequests: number,
): SessionEnd {
  switch (reason) {
    case "broken request":
      return describeConnectionFailure(bodyError);
    case "unread request": {
      // Any peer can send an unwanted body, so this isn't an error of the app.
      const end = makeEndAfter(`the body of a request was left unread (status ${status})`);
      return { ...end, level: "info", kind: "body" };
    }
    case "early response":
      return makeEndAfter(`a response that ended before its request (status ${status})`);
    case "early error":
      return makeEndAfter(
        `a response with status ${status} to a request that was not yet received`,
      );
    case "request":
    case "response":
      return makeEndAfter(`a ${reason} with connection: close (status ${status})`);
    case "distrust":
      return makeEndAfter("the peer was found untrusted");
    case "limit":
      return makeEndAfter(`the limit of ${maxRequests} requests`);
    case "shutdown":
      return makeEndAfter("the shutdown of the server began");
    case "slot":
      return makeEndAfter(
        "a response, because its peer had the most slots, and a connection of another peer waited",
      );
  }
}

/** Any peer can send such content, so this isn't an error of the app. */
export function describeContentError(error: unknown): SessionEnd {
  // The message of a parser has a part of the content, which may be a secret.
  const problem = error instanceof SyntaxError ? "it is not JSON" : messageOf(error);
  const message = `the app could not read the content of a request: ${problem}`;
  return { level: "info", kind: "body", message, error };
}

/**
 * The end of a session whose response waited for the rest of its request, and whose client didn't
 * read the response.
 */
function makeHalfDuplexEnd(error: unknown): SessionEnd {
  const message = `${messageOf(error)}: the response reads the rest of the request, and the ` +
    'client must read the response while it sends its request, with duplex: "full" in Degu; for ' +
    "any client, read the request's body before you return the response";
  return { ...describeConnectionFailure(error), message };
}

export function describeConnectionFailure(error: unknown): SessionEnd {
  const message = messageOf(error);
  if (error instanceof ProtocolError || isCutMessage(error)) {
    return { level: "info", kind: "protocol", message, error };
  }
  if (error instanceof ConnectionError && error.fault === "timed out") {
    return { level: "info", kind: "timeout", message, error };
  }
  if (error instanceof TlsError && error.isRefusal) {
    return { level: "info", kind: "handshake", message, error };
  }
  return { level: "debug", message, error };
}

function isCutMessage(error: unknown): boolean {
  const code = errorCodeOf(error);
  return code === "BODY_INCOMPLETE" || code === "PREAMBLE_INCOMPLETE";
}

function describeAppFailure(
  error: unknown,
  source: string,
  exchange: EndedExchange | null,
): SessionEnd {
  const hasValidResponse = exchange?.hasValidResponse === true;
  if (hasValidResponse && reportedErrors.get(error)) {
    return { level: "debug", message: `the response was cut: ${messageOf(error)}`, error };
  }
  if (hasValidResponse && isBrokenBodyError(error)) {
    // The client's connection is open, so the connection of a proxy to its upstream broke.
    const message = `the source of a response's body broke off: ${messageOf(error)}`;
    return { level: "warn", kind: "app", message, error };
  }
  if (isUnavailableError(error)) {
    const message = `${source} failed: ${messageOf(error)}`;
    return { level: "warn", kind: "app", message, error };
  }
  return describeAppError(error, source, exchange?.request);
}

export function describeAppError(error: unknown, source: string, request?: Request): SessionEnd {
  const requestLine = request === undefined
    ? ""
    : `\n    for ${request.method} ${quote(request.uri)}`;
  const prefix = `an error of ${source}: `;
  const status = findStatusOfThrownResponse(error);
  // Don't log the response, because its headers can have secrets.
  const [message, details] = status === null ? [messageOf(error), stackOf(error)] : [
    `it has thrown a response of ${status}`,
    `it has thrown a response of ${status}; ${THROW_HINT}`,
  ];
  return {
    level: "error",
    kind: "app",
    message: prefix + message,
    logLine: prefix + details + requestLine,
    error,
  };
}

/** Records how a session ends: the reason that its app sees, and the lines of the log. */
export class SessionEndRecorder {
  readonly #core: SessionCore;
  readonly #transport: Transport;
  readonly #protocol: ServerProtocol;
  readonly #logger: SafeLogger;

  constructor(
    core: SessionCore,
    transport: Transport,
    protocol: ServerProtocol,
    logger: SafeLogger,
  ) {
    this.#core = core;
    this.#transport = transport;
    this.#protocol = protocol;
    this.#logger = logger;
  }

  /** The first recorded end is the reason that the app sees. */
  record(sessionEnd: SessionEnd): void {
    this.#core.end(sessionEnd.message);
    this.log(sessionEnd);
  }

  log({ level, kind = "other", message, logLine = message, error }: SessionEnd): void {
    if (level === "debug" && dropsDebug(this.#logger)) return;
    const who = `${this.#core.session}`;
    this.#logger[level](`${who}: ${logLine}`, { kind, who, error });
  }

  /** @param exchange The exchange that the error ends; `null` between two exchanges. */
  recordConnectionError(error: unknown, exchange: EndedExchange | null): void {
    if (this.#protocol.phase === "dismissed") return;
    const { isClosed, failure } = this.#transport;
    if (isClosed && failure === null) {
      const isInRequest = exchange !== null && exchange.bodyError === null;
      return this.record(isInRequest ? CLOSED_IN_REQUEST : CLOSED_BY_SERVER);
    }
    const reason = failure ?? error;
    const isHalfDuplex = exchange?.isReadingRequest === true &&
      reason instanceof ConnectionError && reason.unreadSeconds !== null;
    this.record(isHalfDuplex ? makeHalfDuplexEnd(reason) : describeConnectionFailure(reason));
  }

  /**
   * Records an error of the app.
   *
   * @param exchange The exchange in which the app failed; `null` in `onConnect`.
   * @returns The status of the error response to send instead; `null` if none can be sent.
   */
  recordFailure(
    error: unknown,
    source: string,
    exchange: EndedExchange | null,
  ): ErrorStatus | null {
    const { isClosed, failure } = this.#transport;
    if (isClosed || failure !== null) {
      this.recordConnectionError(error, exchange);
      return null;
    }
    // After the peer has closed the connection, operations and body sources of the app fail: these
    // failures aren't errors of the app.
    const isClosedError = (cause: unknown) => cause instanceof ConnectionClosedError;
    const hasValidResponse = exchange?.hasValidResponse === true;
    if (this.#core.isAborted && (hasValidResponse || hasCause(error, isClosedError))) {
      const message = `the peer has disconnected; the response ended with ${messageOf(error)}`;
      this.record({ level: "debug", message });
      return null;
    }
    const bodyError = exchange === null ? null : exchange.bodyError;
    const isBodyError = bodyError !== null && hasCause(error, (cause) => cause === bodyError);
    const contentStatus = exchange && findContentStatus(exchange.request, exchange.body, error);
    if (isBodyError) this.record(describeConnectionFailure(bodyError));
    else if (contentStatus !== null) this.record(describeContentError(error));
    else this.record(describeAppFailure(error, source, exchange));
    if (exchange !== null && exchange.outgoing !== "unsent") return null;
    if (isBodyError) return 400;
    if (contentStatus !== null) return contentStatus;
    return isUnavailableError(error) ? 503 : 500;
  }
}
