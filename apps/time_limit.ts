import type { App, AppFunction, AppObject } from "../base/app/app.ts";
import { limitSignal, type Request, type Response } from "../base/app/message.ts";
import { type BodyOut, cancelUnusedBody } from "../base/body/sent_body.ts";
import { BodyError } from "../base/errors.ts";
import { checkNumber, notAllowedError } from "../internal/checks.ts";
import { messageOf } from "../internal/caught_errors.ts";
import { reply } from "./reply.ts";
import { wrapApp } from "./wrap_app.ts";

const MAX_SECONDS = 3600;

/**
 * Wraps an app, and responds with `503 Service Unavailable` if the app takes longer than a time
 * limit to make its answer. `request.signal` of the app is then aborted. The body of an answer that
 * comes late is canceled, which closes its file; a late error is logged. The time for sending the
 * body of an answer isn't limited.
 *
 * @param app The app to wrap.
 * @param seconds The time limit, above 0 and at most 3600.
 * @throws {TypeError} if `app` is not an app, or `seconds` is not a number.
 * @throws {RangeError} if `seconds` is not allowed.
 *
 * @example
 * ```ts
 * import { type App, reply, timeLimit } from "@degu/degu";
 * import { callApp, mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const slow: App = async ({ signal }) => {
 *   await new Promise((resolve) => signal.addEventListener("abort", resolve));
 *   return reply(200, "too late");
 * };
 * assertEquals((await callApp(timeLimit(slow, 0.01), mkreq("GET", "/"))).status, 503);
 * ```
 */
export function timeLimit<R extends Request = Request>(
  app: AppFunction<R>,
  seconds: number,
): AppFunction<R>;
/**
 * Wraps an app that is an object, with its hooks.
 *
 * @param app The app to wrap.
 * @param seconds The time limit, above 0 and at most 3600.
 * @throws the same errors.
 */
export function timeLimit(app: AppObject, seconds: number): AppObject;
/**
 * Wraps an app of either form.
 *
 * @param app The app to wrap.
 * @param seconds The time limit, above 0 and at most 3600.
 * @throws the same errors.
 */
export function timeLimit(app: App, seconds: number): App;
export function timeLimit(app: App, seconds: number): App {
  checkNumber("seconds", seconds);
  if (!(seconds > 0 && seconds <= MAX_SECONDS)) {
    const problem = `must be a number of seconds above 0 and at most ${MAX_SECONDS}`;
    throw notAllowedError("seconds", `${problem}; got ${seconds}`);
  }
  const handle: Parameters<typeof wrapApp>[1] = async (next, request, session) => {
    const limitReached = Promise.withResolvers<null>();
    const controller = new AbortController();
    const limitedRequest = limitSignal(request, controller.signal);
    const error = new DOMException(`the app took over ${seconds} s`, "TimeoutError");
    const timer = setTimeout(() => {
      limitReached.resolve(null);
      controller.abort(error);
    }, seconds * 1000);
    const responding = next(limitedRequest);
    try {
      const response = await Promise.race([responding, limitReached.promise]);
      if (response !== null) return response;
    } finally {
      clearTimeout(timer);
    }
    responding.then(cancelLate, (error) => {
      if (error === controller.signal.reason) return;
      session.warn(`an error after the time limit: ${messageOf(error)}`, error);
    });
    return reply(503);
  };
  return wrapApp(app, handle);
}

function cancelLate({ body }: Response<BodyOut>): void {
  cancelUnusedBody(body, new BodyError("the response of the app came after the time limit"));
}
