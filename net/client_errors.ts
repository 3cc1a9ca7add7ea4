/**
 * The errors of requests that fail because of their connection, and whether the server may have
 * processed the request.
 */

import { connectionErrorDetails } from "../base/connection_error_details.ts";
import { EmptyPreambleError, TlsError } from "../base/errors.ts";
import type { Method } from "../base/wire/preamble.ts";
import { transience } from "../internal/error_details.ts";
import { describeConnectionError } from "./connection_errors.ts";

/** The circumstances of a request that has failed. */
export interface FailedRequest {
  /**
   * How far the request got: the connection closed before it was sent (`"idle"`), it was sent
   * without a response (`"sent"`), or a response has begun to arrive (`"responding"`).
   */
  readonly phase: "idle" | "sent" | "responding";
  readonly method: Method;
  /** Whether the server or the network closed the connection, and not this client. */
  readonly isClosedByPeer: boolean;
  /**
   * The error of the write that the server interrupted to refuse the request's body, else `null`.
   */
  readonly writeError: unknown;
  /** The status of the connection's last response; 0 before the first one. */
  readonly lastStatus: number;
  /** Whether the connection uses TLS, where a server may refuse a client after the handshake. */
  readonly isEncrypted: boolean;
  /** Why the server may refuse this client, with advice; `null` if unknown. */
  readonly hint: string | null;
}

const LOG_HINT = "the server's log says why, from level info on";
const NO_RESPONSE = `the server closed the connection before it sent a response; ${LOG_HINT}`;
const MAYBE_REFUSED =
  "the server closed the connection before it sent a response, which over TLS may mean that " +
  "it refuses this client's certificate";

/** Makes the error for a server that closed the connection instead of responding. */
export function noResponseError(): EmptyPreambleError {
  return new EmptyPreambleError(NO_RESPONSE);
}

/** Reports whether the server may have processed the request that failed with this error. */
export function mayHaveBeenProcessed(error: unknown): boolean {
  return transience.get(error) === "maybe processed";
}

/** Removes the mark from the error of an idempotent request. Returns the error. */
export function clearMaybeProcessed(error: unknown): unknown {
  if (mayHaveBeenProcessed(error)) transience.remove(error as object);
  return error;
}

/**
 * Returns the error to report for a request that failed because of its connection or body. Marks
 * the error if the server may have processed the request.
 */
export function requestErrorFor(thrown: unknown, request: FailedRequest): unknown {
  const error = clientErrorFor(thrown, request);
  // Safe methods don't change the server's state (RFC 9110 §9.2.1).
  const isSafe = request.method === "GET" || request.method === "HEAD";
  if (request.phase !== "idle" && request.isClosedByPeer && !isSafe && error instanceof Error) {
    transience.set(error, "maybe processed");
  }
  return error;
}

function clientErrorFor(
  error: unknown,
  { phase, isClosedByPeer: isEnded, writeError, lastStatus, isEncrypted, hint }: FailedRequest,
): unknown {
  // The error already says what is wrong.
  if (phase === "responding" || !isEnded) return error;
  if (hint !== null && error instanceof TlsError && error.code === "REFUSED_BY_PEER") {
    const { code, message, cause, address } = error;
    return new TlsError(code, `${message}; ${hint}`, { cause, address });
  }
  const wasReset = isResetError(error);
  // If the server has refused the body, any other error is a consequence.
  if (!wasReset && !(error instanceof EmptyPreambleError)) return writeError ?? error;
  const closedError = (message: string) => {
    const emptyError = new EmptyPreambleError(message);
    return wasReset ? connectionErrorDetails.set(emptyError, { fault: "reset" }) : emptyError;
  };
  if (isEncrypted && lastStatus === 0) return closedError(`${MAYBE_REFUSED}: ${hint ?? LOG_HINT}`);
  if (phase === "idle") {
    // Most servers close the connection after an error.
    const lastResponse = lastStatus < 400 ? "" : `, after a response with status ${lastStatus}`;
    return closedError(
      `the peer had closed the connection before the request was sent${lastResponse}`,
    );
  }
  return wasReset ? closedError("the peer reset the connection before it responded") : error;
}

/** Reports whether an error is that of a socket that the peer closed or reset. */
export function isResetError(error: unknown): boolean {
  return describeConnectionError(error)?.fault === "reset";
}
