import { findStatusOfThrownResponse } from "../../base/app/app_result.ts";
import type { Request } from "../../base/app/message.ts";
import { isTooLongError } from "../../base/body/body.ts";
import { EmptyPreambleError, ProtocolError, TlsError } from "../../base/errors.ts";
import { hasCause, messageOf, stackOf } from "../../internal/caught_errors.ts";
import { reportedErrors } from "../../internal/error_details.ts";
import { quote } from "../../internal/quote.ts";
import { isUnavailableError } from "../../base/wire/error_responses.ts";
import { isBrokenBodyError } from "../transport/incoming_body.ts";
import type { LogDetails, LogLevel } from "../../base/app/logger.ts";

const TOO_LONG_HINT = "bytes(), text() and json() respond with 413, and have the option maxBytes";
const THROW_HINT = "to answer with a response, throw new ResponseError(response)";

export interface SessionEnd {
  readonly level: LogLevel;
  readonly kind?: LogDetails["kind"];
  readonly message: string;
  readonly logLine?: string;
  readonly error?: unknown;
}

const emptyPreambleError = new EmptyPreambleError();
export const CLOSED_BY_CLIENT: SessionEnd = {
  level: "debug",
  message: messageOf(emptyPreambleError),
  logLine: `ended: ${emptyPreambleError.message}`,
};
export const CLOSED_BY_SERVER: SessionEnd = { level: "debug", message: "closed by the server" };
export const CLOSED_IN_REQUEST: SessionEnd = {
  ...CLOSED_BY_SERVER,
  level: "info",
  logLine: "closed by the server in the middle of a request; if the client is in this program, " +
    "await its calls before closing the server",
};
export const ENDED_WHILE_IDLE: SessionEnd = {
  level: "debug",
  message: "ended while idle, because another connection waited for a slot",
};

export function makeRefusalEnd(reason: string): SessionEnd {
  return { level: "info", kind: "refusal", message: reason };
}

export function makeEndAfter(reason: string): SessionEnd {
  return { level: "debug", message: reason, logLine: `ended after ${reason}` };
}

/** Any peer can send an unwanted body, so an unread body isn't an error of the app. */
export function makeUnreadBodyEnd(status: number): SessionEnd {
  const reason = `the body of a request was left unread (status ${status})`;
  return { ...makeEndAfter(reason), level: "info", kind: "body" };
}

/** Any peer can send such content, so this isn't an error of the app. */
export function describeContentError(error: unknown): SessionEnd {
  const message = `the app could not read the content of a request: ${messageOf(error)}`;
  return { level: "info", kind: "body", message, error };
}

/**
 * The end of a session whose response waited for the rest of its request, and whose client didn't
 * read the response.
 */
export function makeHalfDuplexEnd(error: unknown): SessionEnd {
  const message = `${messageOf(error)}: the response reads the rest of the request, and the ` +
    'client must read the response while it sends its request, with duplex: "full" in Degu; for ' +
    "any client, read the request's body before you return the response";
  return { ...describeConnectionFailure(error), message };
}

export function describeConnectionFailure(error: unknown): SessionEnd {
  const message = messageOf(error);
  if (error instanceof Deno.errors.TimedOut) {
    return { level: "info", kind: "timeout", message, error };
  }
  if (error instanceof ProtocolError) return { level: "info", kind: "protocol", message, error };
  if (error instanceof TlsError && error.code === "REFUSED_BY_PEER") {
    return { level: "info", kind: "handshake", message, error };
  }
  return { level: "debug", message, error };
}

export function describeAppFailure(
  error: unknown,
  source: string,
  request: Request | undefined,
  hasValidResponse: boolean,
): SessionEnd {
  if (request !== undefined && hasCause(error, (cause) => isTooLongError(request.body, cause))) {
    // Any peer can send such a body, so this isn't an error of the app.
    const problem = "the body of a request is too long for the app";
    const message = `${problem}: ${messageOf(error)}; ${TOO_LONG_HINT}`;
    return { level: "info", kind: "body", message };
  }
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
  return describeAppError(error, source, request);
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
