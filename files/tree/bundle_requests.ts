/** Requests for bundles: many small files of a server in one message. */

import type { BodyOut, HeaderDict } from "../../base.ts";
import {
  BUNDLE_TYPE,
  BundleError,
  type BundleFormat,
  BundleParser,
  formatPaths,
  type GetRecord,
  type ReceivedRecord,
} from "../bundle.ts";
import { WANT_MODE_HEADER } from "../modes.ts";
import type { TransferClient } from "../transfer/client.ts";
import { responseError, unexpectedResponseError, withRequirement } from "../transfer_error.ts";

/** The most files and directories of a request. */
export const BATCH_FILES = 512;

/**
 * Requests a bundle, and yields its records as they arrive, each with its item.
 *
 * @param task The words for the error of a refusal.
 * @param items The subjects of the records, in their order; more may be added until the request is
 * sent.
 * @param wanted The headers.
 */
export async function* requestBundle<R, T>(
  client: TransferClient,
  uri: string,
  body: BodyOut,
  format: BundleFormat<R>,
  task: "get" | "put",
  items: readonly T[],
  wanted: HeaderDict = {},
): AsyncGenerator<ReceivedRecord<R> & { readonly item: T }, void, void> {
  const response = await client.request("POST", uri, wanted, body);
  const { status, headers } = response;
  if (status !== 200 || headers["content-type"] !== BUNDLE_TYPE || response.body === null) {
    await response.discard();
    if (status !== 200) throw responseError("POST", uri, response, task);
    const error = unexpectedResponseError("POST", uri, "the response is not a bundle");
    throw withRequirement(error, "the server needs a FilesApp of this version");
  }
  const parser = new BundleParser(format);
  let count = 0;
  try {
    for await (const piece of response.body.readable) {
      for (const { record, content } of parser.push(piece)) {
        if (count === items.length) throw new BundleError("it has more records than the request");
        yield { record, content, item: items[count++]! };
      }
    }
    parser.end();
    if (count < items.length) throw new BundleError("it has fewer records than the request");
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    const problem = `the response is not a bundle: ${error.message}`;
    throw unexpectedResponseError("POST", uri, problem, { cause: error });
  }
}

/**
 * Requests small files, or what is known of files, and yields each with its item.
 *
 * @param items The subjects of the request.
 * @param pathOf Has the path of each of them at the other end.
 * @param hasModes Whether the permission bits of files are requested.
 */
export async function* requestFiles<T>(
  client: TransferClient,
  uri: string,
  format: BundleFormat<GetRecord>,
  items: readonly T[],
  pathOf: (item: T) => readonly string[],
  hasModes = false,
): AsyncGenerator<ReceivedRecord<GetRecord> & { readonly item: T }, void, void> {
  const body = formatPaths(items.map(pathOf));
  const wanted = hasModes ? WANT_MODE_HEADER : {};
  for await (const found of requestBundle(client, uri, body, format, "get", items, wanted)) {
    if (found.record.path.join("/") !== pathOf(found.item).join("/")) {
      throw unexpectedResponseError("POST", uri, "the response has files that were not requested");
    }
    yield found;
  }
}
