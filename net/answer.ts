/**
 * What an application has returned.
 *
 * @module
 */

import type { BodyOut } from "../base/body/bodies.ts";
import { BodyError, typeName } from "../base/errors.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Method } from "../base/wire/preamble.ts";

/** What an application has returned, taken apart. */
export interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly headers: HeaderDict;
  readonly body: BodyOut;
}

/**
 * Takes apart what an application has returned.
 *
 * @throws {TypeError} where that is neither a tuple nor has the fields of a response.
 */
export function readAnswer(answer: unknown): Answer {
  if (Array.isArray(answer)) {
    if (answer.length !== 4) {
      throw new TypeError(
        `the application returned ${answer.length} items; need [status, reason, headers, body]`,
      );
    }
    return { status: answer[0], reason: answer[1], headers: answer[2], body: answer[3] };
  }
  if (
    typeof answer === "object" && answer !== null && "status" in answer && "reason" in answer &&
    "headers" in answer && "body" in answer
  ) {
    const { status, reason, headers, body } = answer as Answer;
    return { status, reason, headers, body };
  }
  throw new TypeError(
    `the application returned a ${typeName(answer)}; need [status, reason, headers, body]`,
  );
}

/** What may be a body in something that is not an answer. */
export function bodiesOf(returned: unknown): readonly unknown[] {
  if (Array.isArray(returned)) return returned;
  try {
    return [(returned as Partial<Answer> | null | undefined)?.body];
  } catch {
    return [];
  }
}

/** Throws a `RangeError` where the response must not have a body, but has one. */
export function checkBodyAllowed(method: Method, status: number, body: BodyOut): void {
  if (body === null) return;
  const why = method === "HEAD" ? "to HEAD" : status === 204 || status === 304 ? `${status}` : null;
  if (why !== null) throw new RangeError(`a response ${why} has no body; got ${typeName(body)}`);
}

/** What whoever still reads the body of a request is told, once that was answered with an error. */
export function unreadError(status: number): BodyError {
  return new BodyError(`the response, with status ${status}, was sent before this body was read`);
}
