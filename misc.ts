/**
 * Throw-away servers and keys, and helpers for tests and demos.
 *
 * @module
 */

export {
  formatChunk,
  formatHeaders,
  formatRequest,
  formatResponse,
  mkreq,
  mkuri,
  parseChunkHeader,
  parseContentRange,
  type ParsedRequest,
  type ParsedResponse,
  parseHeaders,
  parseRange,
  parseRequest,
  parseResponse,
  parseUri,
} from "./misc/wire.ts";
export type { UriParts } from "./base/wire/uri.ts";
export { TempPKI, type TempPKIOptions } from "./misc/pki.ts";
export {
  type AppRef,
  type BuildFunction,
  type TempAddress,
  TempServer,
  TempSSLServer,
  type WorkerServer,
} from "./misc/temp_server.ts";
export type * from "./base/app/app_types.ts";
export type { Exchange, Logger, ServerOptions, ServerSslconfig } from "./server.ts";
