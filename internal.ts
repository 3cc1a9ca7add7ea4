/**
 * For `@degu/device` and `@degu/files` only: helpers that each minor version may change or remove.
 * A patch version may not, because published packages import them with `^`. They are on no page: a
 * program must not import this module.
 *
 * @module
 */

export { formatCheckedAddress } from "./base/address.ts";
export { readApp } from "./base/app/app.ts";
export { connectionErrorDetails } from "./base/connection_error_details.ts";
export { ChunkedValidator } from "./base/wire/chunk.ts";
export { checkUri } from "./base/wire/uri.ts";
export {
  copyWithMessage,
  fileErrorCodeOf,
  isSystemError,
  isTooManyOpenFilesError,
  plainMessageOf,
  withPath,
} from "./internal/caught_errors.ts";
export {
  checkAbsent,
  checkBoolean,
  checkFunction,
  checkObject,
  checkOptions,
  checkSignal,
  checkString,
  copyOptions,
  makeChoiceCheck,
  makeIntegerCheck,
  makeNumberCheck,
  notAllowedError,
  type OptionChecks,
  wrongArgumentError,
  wrongTypeError,
} from "./internal/checks.ts";
export { parseDecimal } from "./internal/decimal.ts";
export {
  argumentErrorDetails,
  clearMaybeProcessed,
  reportedErrors,
  transience,
} from "./internal/error_details.ts";
export { LineRateLimiter } from "./internal/line_rate_limiter.ts";
export { awaitUntilAborted, joinSignals, pause } from "./internal/pause.ts";
export { quote } from "./internal/quote.ts";
export { findReasonPhrase } from "./internal/statuses.ts";
export { checkDenoVersion } from "./net/tls/deno_version.ts";
export { makeSafeLogger } from "./base/app/logger.ts";
export { checkRequester } from "./net/client/requester.ts";
