import type { Body, BodyOut, ChunkedBody, HeadersToSend } from "../../base.ts";
import {
  BUNDLE_TYPE,
  BundleError,
  type BundleFormat,
  BundleParser,
  formatPaths,
  type GetRecord,
  type ReceivedRecord,
} from "../wire/bundle.ts";
import { WANT_MODE_HEADER } from "../wire/metadata.ts";
import type { TransferClient } from "../transfer/client.ts";
import { responseError, unexpectedResponseError } from "../transfer_error.ts";

export const MAX_BATCH_FILES = 512;

/**
 * @param items The files or directories of the records, in the same order. Items may be added until
 * the request is sent.
 */
export async function* requestBundle<R, T>(
  client: TransferClient,
  uri: string,
  body: BodyOut,
  format: BundleFormat<R>,
  task: "get" | "put",
  items: readonly T[],
  requestHeaders: HeadersToSend = {},
): AsyncGenerator<ReceivedRecord<R> & { readonly item: T }, void, void> {
  // Bytes have only paths, which the server may receive twice. A stream can't be sent again.
  const onRepeat = body instanceof Uint8Array ? () => {} : null;
  const response = await client.request("POST", uri, requestHeaders, body, onRepeat);
  const { status, headers } = response;
  if (status !== 200 || headers["content-type"] !== BUNDLE_TYPE || response.body === null) {
    await response.discard();
    if (status !== 200) throw responseError("POST", uri, response, task);
    throw unexpectedResponseError("POST", uri, "the response is not a bundle");
  }
  const parser = new BundleParser(format);
  let count = 0;
  try {
    for await (const piece of readAhead(response.body, () => client.onData())) {
      for (const { record, content } of parser.push(piece)) {
        if (count === items.length) throw new BundleError("it has more records than the request");
        yield { record, content, item: items[count++]! };
      }
    }
    parser.checkEnd();
    if (count < items.length) throw new BundleError("it has fewer records than the request");
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    const problem = `the response is not a bundle: ${error.message}`;
    throw unexpectedResponseError("POST", uri, problem, { cause: error });
  }
}

const MAX_READ_AHEAD_BYTES = 8_388_608;

/**
 * Yields the pieces of a body, and receives further pieces while a piece is used. So a server does
 * not wait until this device has synced the files of the first pieces to a slow disk.
 */
async function* readAhead(
  body: Body | ChunkedBody,
  onPiece: () => void,
): AsyncGenerator<Uint8Array, void, void> {
  const reader = body.readable.getReader();
  const pieces: Uint8Array[] = [];
  let bufferedBytes = 0;
  let hasEnded = false;
  let changed = Promise.withResolvers<void>();
  const notify = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const receive = async () => {
    for (let result; (result = await reader.read()).value !== undefined;) {
      onPiece();
      pieces.push(result.value);
      bufferedBytes += result.value.length;
      notify();
      while (bufferedBytes > MAX_READ_AHEAD_BYTES) await changed.promise;
    }
  };
  const received = receive().finally(() => {
    hasEnded = true;
    notify();
  });
  // The error is thrown after the last piece.
  received.catch(() => {});
  try {
    for (;;) {
      const piece = pieces.shift();
      if (piece !== undefined) {
        bufferedBytes -= piece.length;
        notify();
        yield piece;
      } else if (!hasEnded) await changed.promise;
      else return await received;
    }
  } finally {
    bufferedBytes = 0;
    notify();
    await reader.cancel().catch(() => {});
  }
}

export async function* requestFiles<T>(
  client: TransferClient,
  uri: string,
  format: BundleFormat<GetRecord>,
  items: readonly T[],
  pathOf: (item: T) => readonly string[],
  hasModes = false,
): AsyncGenerator<ReceivedRecord<GetRecord> & { readonly item: T }, void, void> {
  const body = formatPaths(items.map(pathOf));
  const requestHeaders = hasModes ? WANT_MODE_HEADER : {};
  for await (
    const receivedRecord of requestBundle(client, uri, body, format, "get", items, requestHeaders)
  ) {
    if (receivedRecord.record.path.join("/") !== pathOf(receivedRecord.item).join("/")) {
      throw unexpectedResponseError("POST", uri, "the response has files that were not requested");
    }
    yield receivedRecord;
  }
}
