/**
 * What a server can rely on: the rules for what an application returns.
 *
 * @module
 */

import {
  type BodyIn,
  type BodyOut,
  cancelUnused,
  isConsumed,
  outgoingFraming,
} from "../base/body/bodies.ts";
import { BodyError, typeName } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import type { Request } from "../base/app/message.ts";
import type { Method } from "../base/wire/preamble.ts";
import { checkStatus, formatResponsePreamble } from "../base/wire/preamble.ts";
import { itemOf, labelled, labelledWhole } from "./labels.ts";

/** Nobody reads it: formatting is the check. */
const scratch = new Uint8Array(MAX_PREAMBLE_BYTES);

/** What an application has returned, taken apart, and how to call each part. */
interface Parts {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeaderDict;
  readonly body: BodyOut;
  readonly labels: readonly [status: string, reason: string, headers: string, body: string];
}

/**
 * Checks what an application has returned for a request. A body that can't be sent is given up, as
 * a server would do.
 */
export async function checkResponse(response: unknown, request: Request): Promise<void> {
  const parts = readResponse(response);
  try {
    checkParts(parts, request);
    const { body } = request;
    const unread = body !== null && parts.status < 400 &&
      !(isConsumed(body) ?? await seemsConsumed(body));
    if (unread) {
      throw new BodyError(
        "request.body: it has to be read to its end, since the response has the status " +
          `${parts.status}; it may stay unread where that is 400 or above`,
      );
    }
  } catch (error) {
    if ((parts.body as unknown) !== request.body) cancelUnused(parts.body, error);
    throw error;
  }
}

function readResponse(response: unknown): Parts {
  const fields = ["status", "reason", "headers", "body"] as const;
  if (Array.isArray(response)) {
    if (response.length !== fields.length) {
      throw new TypeError(
        `response: need [status, reason, headers, body]; got ${response.length} items`,
      );
    }
    const [status, reason, headers, body] = response;
    const labels = ["response[0]", "response[1]", "response[2]", "response[3]"] as const;
    return { status, reason, headers, body, labels };
  }
  const isResponse = typeof response === "object" && response !== null &&
    fields.every((field) => field in response);
  if (!isResponse) {
    throw new TypeError(
      `response: need [status, reason, headers, body] or a Response; got ${typeName(response)}`,
    );
  }
  const { status, reason, headers, body } = response as Omit<Parts, "labels">;
  const labels = [
    "response.status",
    "response.reason",
    "response.headers",
    "response.body",
  ] as const;
  return { status, reason, headers, body, labels };
}

function checkParts(parts: Parts, request: Request): void {
  const { status, reason, headers, body, labels } = parts;
  labelled(labels[0], () => checkStatus(status, 200));
  labelled(labels[1], () => formatResponsePreamble(scratch, 200, reason, {}, undefined));
  checkEachHeader(headers, labels[2]);
  if (body !== null && (body as unknown) === request.body) {
    throw new BodyError(`${labels[3]}: the body of the request can't be the body of its response`);
  }
  const framing = labelled(labels[3], () => outgoingFraming(body));
  checkBodyAllowed(request.method, status, body, labels[3]);
  // To HEAD and with 304 the headers may speak of a body that isn't sent (RFC 9110 §15.4.5).
  const asGiven = status === 304 || (request.method === "HEAD" && status !== 204);
  labelled(
    labels[2],
    () => formatResponsePreamble(scratch, status, reason, headers, asGiven ? undefined : framing),
  );
}

function checkEachHeader(headers: HeaderDict, label: string): void {
  const check = (some: HeaderDict) => formatResponsePreamble(scratch, 200, "OK", some, undefined);
  // What is no dictionary at all has no entries that could be looked at.
  if (typeof headers !== "object" || headers === null) labelled(label, () => check(headers));
  for (const [name, value] of Object.entries(headers)) {
    labelledWhole(itemOf(label, name), () => check({ [name]: value }));
  }
}

function checkBodyAllowed(method: Method, status: number, body: BodyOut, label: string): void {
  if (body === null) return;
  if (method === "HEAD") {
    throw new RangeError(`${label}: need null, since the method is HEAD; got ${typeName(body)}`);
  }
  if (status === 204 || status === 304) {
    throw new RangeError(`${label}: need null with status ${status}; got ${typeName(body)}`);
  }
}

/**
 * Whether a foreign body has been read to its end. It doesn't say, but of a consumed one the next
 * read gives nothing, or fails, without having to wait for the peer.
 *
 * Of one that is not, it takes something; then the response is refused in any case.
 */
async function seemsConsumed(body: NonNullable<BodyIn>): Promise<boolean> {
  if (!body.chunked && body.contentLength === 0) return true;
  let consumed = false;
  const read: Promise<boolean> = body.chunked
    ? body.readChunk().then(() => false)
    : body.read(1).then((bytes) => bytes.length === 0);
  read.then((nothing) => consumed = nothing, () => consumed = true);
  // Each of the promises above takes a turn, where nothing has to be waited for.
  for (let turn = 0; turn < 4; turn++) await null;
  return consumed;
}
