/**
 * The errors of requests that were sent, or were about to be: what a client tells its caller, and
 * whether the request may have been acted on.
 */

import { connectionErrorDetails } from "../base/connection_error_details.ts";
import { EmptyPreambleError, TlsError } from "../base/errors.ts";
import type { Method } from "../base/wire/preamble.ts";
import { transience } from "../internal/error_details.ts";
import { describeConnectionError } from "./connection_errors.ts";

/** What a client's connection knows of a request that fails. */
export interface FailedRequest {
  /** How far it was: nothing was sent, nothing has arrived, or a response has begun to arrive. */
  readonly phase: "resting" | "asking" | "answered";
  readonly method: Method;
  /** Whether the peer or the network has ended the connection, rather than this end. */
  readonly isClosedByPeer: boolean;
  /** The error of the write by which the peer refused the request's body, else `null`. */
  readonly writeError: unknown;
  /** The status of the connection's last response; 0 before the first one. */
  readonly lastStatus: number;
  /** Whether the connection uses TLS, where a server may refuse a client after the handshake. */
  readonly isEncrypted: boolean;
  /** Why the server may refuse this client, and what to do; `null` if nothing is known. */
  readonly hint: string | null;
}

const LOG_HINT = "the server's log says why, from level info on";
const NO_RESPONSE = `the server closed the connection before it answered anything; ${LOG_HINT}`;
const MAYBE_REFUSED =
  "the server closed the connection before it answered anything, which over TLS may be its way to " +
  "refuse this client's certificate";

/** The error for a server that has ended the connection in place of a response. */
export function noResponseError(): EmptyPreambleError {
  return new EmptyPreambleError(NO_RESPONSE);
}

/** Whether the request that failed with this error may have been acted on. */
export function mayHaveBeenProcessed(error: unknown): boolean {
  return transience.of(error) === "unanswered";
}

/**
 * Takes the mark from the error of a request that can be repeated without harm; returns the error.
 */
export function clearMaybeProcessed(error: unknown): unknown {
  if (mayHaveBeenProcessed(error)) transience.remove(error as object);
  return error;
}

/**
 * The error to report for a request that has failed with an error of its connection or of its body.
 * The error is marked if the request may have been acted on.
 */
export function requestErrorFor(thrown: unknown, request: FailedRequest): unknown {
  const error = clientErrorFor(thrown, request);
  // The requests of safe methods change nothing (RFC 9110 §9.2.1).
  const isSafe = request.method === "GET" || request.method === "HEAD";
  if (request.phase !== "resting" && request.isClosedByPeer && !isSafe && error instanceof Error) {
    // Of a server that is stopped nobody knows how far it was.
    transience.add(error, "unanswered");
  }
  return error;
}

function clientErrorFor(
  error: unknown,
  { phase, isClosedByPeer: isEnded, writeError, lastStatus, isEncrypted, hint }: FailedRequest,
): unknown {
  // The server, or this end, has said what is wrong.
  if (phase === "answered" || !isEnded) return error;
  if (hint !== null && error instanceof TlsError && error.code === "REFUSED_BY_PEER") {
    const { code, message, cause, address } = error;
    return new TlsError(code, `${message}; ${hint}`, { cause, address });
  }
  const wasReset = isResetError(error);
  // If the server has refused the body, any other error follows from this refusal.
  if (!wasReset && !(error instanceof EmptyPreambleError)) return writeError ?? error;
  const closedError = (message: string) => {
    const emptyError = new EmptyPreambleError(message);
    return wasReset ? connectionErrorDetails.add(emptyError, { fault: "reset" }) : emptyError;
  };
  if (isEncrypted && lastStatus === 0) return closedError(`${MAYBE_REFUSED}: ${hint ?? LOG_HINT}`);
  if (phase === "resting") {
    // Most servers end a connection after an error.
    const lastResponse = lastStatus < 400 ? "" : `, after a response with status ${lastStatus}`;
    return closedError(
      `the peer had closed the connection before the request was sent${lastResponse}`,
    );
  }
  return wasReset ? closedError("the peer reset the connection before it answered") : error;
}

/** True for the errors of a socket that its peer closed or reset. */
export function isResetError(error: unknown): boolean {
  return describeConnectionError(error)?.fault === "reset";
}
