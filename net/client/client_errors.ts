import {
  ConnectionClosedError,
  ConnectionError,
  DeguError,
  EmptyPreambleError,
} from "../../base/errors.ts";
import { isResetError } from "../transport/connection_errors.ts";
import type { LastExchangeReason } from "../protocol/client_protocol.ts";
import { isSafeMethod, type Method } from "../../base/wire/method.ts";
import { errorCodeOf, messageOf } from "../../internal/caught_errors.ts";
import { setErrorFlag } from "../../internal/error_details.ts";

export interface FailedRequest {
  /**
   * The progress of the request when it failed:
   *
   * - `"idle"`: the connection had closed before the request was sent.
   * - `"sent"`: the request was sent, perhaps in part, and no byte of a response has arrived.
   * - `"responding"`: a part of the response has arrived.
   */
  readonly phase: "idle" | "sent" | "responding";
  readonly method: Method;
  readonly isClosedByPeer: boolean;
  readonly writeError: unknown;
  /** The status of the connection's last response; 0 before the first one. */
  readonly lastStatus: number;
  readonly isEncrypted: boolean;
  readonly openMilliseconds: number;
  /** The time for which a pool kept the connection before the request; `null` if unknown. */
  readonly idleSeconds: number | null;
}

/**
 * If the server closes within this time after the start of a connection or an attempt, the close is
 * probably a refusal. A server without a free slot closes only after twice its time-out: such a
 * close isn't a refusal, because a retry may get a slot.
 */
export const EARLY_CLOSE_MILLISECONDS = 1500;

export function noResponseError(): EmptyPreambleError {
  return new EmptyPreambleError("the server closed the connection before it sent a response");
}

export function stalledRequestError(timeout: number | null): ConnectionError {
  return new ConnectionError(
    "the server has responded before the whole request was sent, and no more of the request was " +
      `sent for over ${timeout} s; to read the response meanwhile, pass the option duplex: "full"`,
    // A retry would wait as long.
    { fault: "timed out", isTransient: false },
  );
}

export function stalledPoolError(connectionCount: number): ConnectionError {
  const problem =
    `all connections of the pool (${connectionCount}) are in use, and the program continues no exchange: read ` +
    "each body, or call response.discard()";
  // A retry would wait as long.
  return new ConnectionError(problem, { fault: "timed out", isTransient: false });
}

const LAST_EXCHANGE_TEXTS: Readonly<Record<LastExchangeReason, string>> = {
  request: "its last request had connection: close",
  response: "the server's last response had connection: close",
  "last response": "no other response can follow the server's last response (RFC 9112 §9.3)",
  "refused body": "the server refused the body of the last request",
  "refused connection": "the server refused it before the first request",
  "single request": "it was made for a single request",
  "unframed response": "the last response without framing may have a body",
};

export function closedConnectionError(
  failure: unknown,
  lastExchangeReason: LastExchangeReason | null,
  responseCount: number,
): ConnectionClosedError {
  const reason = failure !== null
    ? `of an earlier error (${messageOf(failure)})`
    : lastExchangeReason !== null
    ? LAST_EXCHANGE_TEXTS[lastExchangeReason]
    : null;
  if (reason === null) return new ConnectionClosedError();
  // A server may limit the requests of a connection: the number shows the limit.
  const count = lastExchangeReason === "response"
    ? ` (response ${responseCount} of this connection)`
    : "";
  const message = `the connection is closed, because ${reason}${count}; make a new one with ` +
    "client.connect(), or use a ConnectionPool, which replaces closed connections";
  const isClosedByServer = lastExchangeReason === "response" ||
    lastExchangeReason === "last response" || lastExchangeReason === "refused body" ||
    lastExchangeReason === "refused connection";
  const { fault, address = null }: Partial<ConnectionError> = failure instanceof ConnectionError
    ? failure
    : {};
  return new ConnectionClosedError(message, "CLOSED", {
    fault: fault ?? (isClosedByServer ? "broken" : "closed"),
    address,
    ...failure === null ? {} : { cause: failure },
  });
}

export function makeRequestError(thrownError: unknown, request: FailedRequest): unknown {
  const error = makeConnectionError(thrownError, request);
  const isSafe = isSafeMethod(request.method);
  // A server that closes the connection has probably read the request.
  const isFromPeer = request.isClosedByPeer || error instanceof EmptyPreambleError ||
    errorCodeOf(error) === "EXCESS_BYTES";
  if (request.phase !== "idle" && isFromPeer && !isSafe && error instanceof DeguError) {
    setErrorFlag(error, "maybeProcessed", true);
  }
  return error;
}

/** For a caller whose requests may be repeated even if a server has processed them. */
export function clearMaybeProcessed(error: unknown): unknown {
  return error instanceof DeguError && error.maybeProcessed
    ? setErrorFlag(error, "maybeProcessed", false)
    : error;
}

function makeConnectionError(
  error: unknown,
  { phase, isClosedByPeer, writeError, lastStatus, isEncrypted, openMilliseconds, idleSeconds }:
    FailedRequest,
): unknown {
  // The error already names the reason.
  if (phase === "responding" || !isClosedByPeer) return error;
  // If the server has refused the body, any other error is a consequence of the refusal.
  if (!(error instanceof ConnectionError)) return writeError ?? error;
  const isReset = isResetError(error);
  if (!isReset && !(error instanceof EmptyPreambleError)) return writeError ?? error;
  // Most servers close the connection after an error status, so the last status explains the close.
  const lastResponse = lastStatus < 400 ? "" : `, after a response with status ${lastStatus}`;
  let problem = error.message;
  if (phase === "idle") {
    problem = `the peer had closed the connection before the request was sent${lastResponse}`;
  } else if (isReset) {
    problem = "the peer reset the connection before it responded";
  }
  const idleTime = idleSeconds === null
    ? ""
    : `; the connection had been idle for ${idleSeconds.toFixed(1)} s`;
  return new EmptyPreambleError(problem + idleTime, {
    fault: isReset ? "reset" : "broken",
    isRefusal: isEncrypted && lastStatus === 0 && openMilliseconds < EARLY_CLOSE_MILLISECONDS,
  });
}
