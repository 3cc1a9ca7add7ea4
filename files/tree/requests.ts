/** Requests for the files of a tree: bundles of small ones, and what the other end has. */

import type { BodyOut, HeaderDict } from "../../base.ts";
import { isRealFile } from "../../internal/disk/names.ts";
import {
  BUNDLE_TYPE,
  BUNDLED_BELOW_BYTES,
  BundleError,
  type BundleFormat,
  BundleParser,
  DIGEST_ANSWER,
  formatPaths,
  type FoundRecord,
  type ReceivedRecord,
} from "../bundle.ts";
import { parseStamp } from "../conditions.ts";
import { sha256Of } from "../digest.ts";
import { fileUri } from "../file_name.ts";
import { WANT_MODE } from "../modes.ts";
import type { TransferClient } from "../transfer/client.ts";
import { askDigest } from "../transfer/remote_digest.ts";
import {
  endsAll,
  isOfTransfer,
  responseError,
  unexpectedResponse,
  withNeed,
} from "../transfer_error.ts";
import type { TreeNode } from "./tree.ts";
import { type CopyTask, isNew, replacedBy } from "./plan.ts";
import { SourceFile } from "../transfer/source_file.ts";

/** Anything with a place in a tree, such as a node. */
export interface HasPath {
  readonly path: readonly string[];
}

/** The URI of a node of the tree at a URI, with a final `/` only if a directory is requested. */
export function uriOfNode(
  tree: string,
  { path }: HasPath,
  isDirectory = false,
): string {
  return tree + fileUri(...path, ...isDirectory ? [""] : []).slice(1);
}

/** Whether a file can travel in a bundle: it is small, and what it may replace is known. */
export function isSmall(copy: CopyTask): boolean {
  const { node, late, replaces } = copy;
  const isKnown = isNew(copy) || replaces === "target" && replacedBy(copy) !== null;
  return node.size < BUNDLED_BELOW_BYTES && late === null && isKnown;
}

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
    const error = unexpectedResponse("POST", uri, "the response is not a bundle");
    throw withNeed(error, "the server needs a FilesApp of this version");
  }
  const parser = new BundleParser(format);
  let count = 0;
  try {
    for await (const piece of response.body.readable) {
      for (const { record, content } of parser.push(piece)) {
        if (count === items.length) throw new BundleError("it has more than was requested");
        yield { record, content, item: items[count++]! };
      }
    }
    parser.end();
    if (count < items.length) throw new BundleError("it does not have all that was requested");
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    const problem = `the response is not a bundle: ${error.message}`;
    throw unexpectedResponse("POST", uri, problem, { cause: error });
  }
}

/**
 * Requests small files, or what is known of files, and yields each with its item.
 *
 * @param items The subjects of the request.
 * @param pathOf Has the path of each of them at the other end.
 * @param hasModes Whether the permission bits of files are asked for.
 */
export async function* requestFiles<T>(
  client: TransferClient,
  uri: string,
  format: BundleFormat<FoundRecord>,
  items: readonly T[],
  pathOf: (item: T) => readonly string[],
  hasModes = false,
): AsyncGenerator<ReceivedRecord<FoundRecord> & { readonly item: T }, void, void> {
  const body = formatPaths(items.map(pathOf));
  const wanted = hasModes ? WANT_MODE : {};
  for await (const found of requestBundle(client, uri, body, format, "get", items, wanted)) {
    if (found.record.path.join("/") !== pathOf(found.item).join("/")) {
      throw unexpectedResponse("POST", uri, "the response has files that were not requested");
    }
    yield found;
  }
}

/** Finds the files whose names something at the other end may have. */
export async function findTaken(
  client: TransferClient,
  uri: string,
  copies: readonly CopyTask[],
): Promise<CopyTask[]> {
  const taken: CopyTask[] = [];
  const asked = `${uri}?bundle=digest`;
  const records = requestFiles(client, asked, DIGEST_ANSWER, copies, ({ node }) => node.path);
  for await (const { record, item } of records) if (record.status !== 404) taken.push(item);
  return taken;
}

/** Requests the size and time of a file at the other end; resolves to `null` if it has none. */
export async function requestStamp(
  client: TransferClient,
  uri: string,
): Promise<ReturnType<typeof parseStamp>> {
  const response = await client.request("HEAD", uri, {});
  await response.discard();
  return parseStamp(response.headers["file-stamp"]);
}

/**
 * Compares the contents of files here and at the other end.
 *
 * @param uri The URI of the tree there.
 * @param copies Small files, or a single one of any size.
 * @param here Has the path of each of them here.
 * @returns For each of them, whether the contents are known to be the same.
 */
export async function compareContents(
  client: TransferClient,
  { uri, signal }: { readonly uri: string; readonly signal: AbortSignal },
  copies: readonly CopyTask[],
  here: { pathOf(node: TreeNode): string },
): Promise<boolean[]> {
  const [first] = copies;
  if (copies.length === 1 && !isSmall(first!)) {
    const ours = await digestHere(here.pathOf(first!.node), signal);
    if (ours === null) return [false];
    try {
      const { sha256 } = await askDigest(client, uriOfNode(uri, first!.node));
      return [sha256 === ours];
    } catch (error) {
      if (!isOfTransfer(error) || endsAll(error) || !client.isUsable) throw error;
      return [false];
    }
  }
  const same: boolean[] = [];
  const asked = `${uri}?bundle=digest`;
  const records = requestFiles(client, asked, DIGEST_ANSWER, copies, ({ node }) => node.path);
  for await (const { record, item } of records) {
    const path = here.pathOf(item.node);
    same.push(record.status === 200 && record.sha256 === await digestHere(path, signal));
  }
  return same;
}

/** The SHA-256 of a file of this device; `null` if it can't be read. */
async function digestHere(path: string, signal: AbortSignal): Promise<string | null> {
  try {
    if (!isRealFile(path)) return null;
    if (Deno.lstatSync(path).size < BUNDLED_BELOW_BYTES) {
      return sha256Of(Deno.readFileSync(path));
    }
    await using file = await SourceFile.open(path);
    return await file.hash(signal);
  } catch {
    signal.throwIfAborted();
    return null;
  }
}
