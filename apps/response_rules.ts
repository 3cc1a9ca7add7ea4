/**
 * The rules for what an app returns.
 *
 * @module
 */

import {
  type Answer,
  type AnsweredRequest,
  answerFraming,
  cancelAnswer,
  labelsOf,
  readAnswer,
} from "../base/app/message.ts";
import { isConsumed } from "../base/body/bodies.ts";
import type { Framing } from "../base/wire/headers.ts";
import { MAX_PREAMBLE_BYTES } from "../base/wire/limits.ts";
import { formatResponsePreamble } from "../base/wire/preamble.ts";

/** Never read: formatting is the check. */
const scratch = new Uint8Array(MAX_PREAMBLE_BYTES);

/** An answer that can be sent. */
export interface CheckedAnswer extends Answer {
  /** How the end of its body will be determined; `undefined` if its headers are sent as given. */
  readonly framing: Framing | undefined;
}

/**
 * Checks what an app returned for a request. A body that can't be sent is canceled, as a server does.
 *
 * @throws {TypeError} if something has a wrong type.
 * @throws {RangeError} if something has a value that is not allowed.
 * @throws {BodyError} if a body is not in a state that allows the response.
 */
export function checkResponse(returned: unknown, request: AnsweredRequest): CheckedAnswer {
  try {
    const answer = readAnswer(returned);
    const { status, reason, headers } = answer;
    const labels = labelsOf(returned);
    const unread = request.body !== null && !isConsumed(request.body);
    const framing = answerFraming(request, unread, answer, labels);
    formatResponsePreamble(scratch, status, reason, headers, framing, labels);
    return { ...answer, framing };
  } catch (error) {
    cancelAnswer(returned, request.body, error);
    throw error;
  }
}
