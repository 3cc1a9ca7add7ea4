/** Directories that peers may write to. */

import { assertEquals } from "@std/assert";
import {
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type HeaderDict,
  type Method,
  type Response,
} from "@degu/degu/base";
import { FilesApp, type FilesOptions } from "@degu/degu/files";
import { formatReprDigest } from "@degu/internal/files/digest.ts";
import { RESERVED } from "@degu/internal/files/reserved.ts";
import { sha256Of } from "./bundles.ts";
import { entries } from "./directories.ts";
import { makeTree } from "./served_directory.ts";
import { serve } from "./serving.ts";
import { latin1 } from "./wire_grammar.ts";

/** A directory that is served for writing, beside others that are not. */
export async function serveForWriting(options: FilesOptions = {}) {
  const tree = await makeTree();
  const warnings: string[] = [];
  const logger = { warn: (message: string) => void warnings.push(message) };
  const serving = serve(new FilesApp(tree.root, { write: true, logger, ...options }));
  const files = {
    ...tree,
    serving,
    warnings,
    /**
     * Makes a request over a separate connection, because an error with an unread body closes it.
     */
    request: (method: Method, uri: string, headers: HeaderDict = {}, body: BodyOut = null) =>
      serving.makeClient().request(method, uri, headers, body),
    /** PUTs a body, and returns the status. */
    async put(uri: string, body: BodyOut, headers: HeaderDict = {}): Promise<number> {
      return await statusOf(await files.request("PUT", uri, headers, body));
    },
    async unfinished(): Promise<string[]> {
      return await entries(`${tree.root}/${RESERVED}`).catch(() => []);
    },
    /** A body of `1234567890`; in its middle, when its file has been made, an action runs. */
    bodyAround(meanwhile: () => unknown): BodyIter {
      const pieces = async function* () {
        yield latin1("12345");
        while ((await files.unfinished()).length === 0);
        await meanwhile();
        yield latin1("67890");
      };
      return new BodyIter(pieces(), 10);
    },
    read: (path: string) => Deno.readTextFile(`${tree.root}/${path}`),
    async [Symbol.asyncDispose]() {
      await serving[Symbol.asyncDispose]();
      assertEquals(await entries(`${tree.path}/outside`), ["secret"]);
      assertEquals(await Deno.readTextFile(`${tree.path}/outside/secret`), "secret");
      await tree[Symbol.asyncDispose]();
    },
  };
  return files;
}

/** A chunked body with a chunk for each piece. */
export function chunked(...pieces: readonly Uint8Array[]): ChunkedBodyIter {
  return new ChunkedBodyIter([...pieces, new Uint8Array(0)].map((piece) => [null, piece]));
}

/** The status of a response; its body is read, so that the connection is free. */
export async function statusOf(response: Response): Promise<number> {
  await response.body?.bytes();
  return response.status;
}

/** The SHA-256 of bytes in the format of `repr-digest`. */
export function digestOf(bytes: Uint8Array): string {
  return formatReprDigest(sha256Of(bytes));
}

/** The headers of an upload that may be resumed; with an offset, those of a PUT that resumes it. */
export function upload(content: Uint8Array, offset?: number): HeaderDict {
  return {
    "repr-digest": digestOf(content),
    "upload-length": `${content.length}`,
    ...(offset === undefined ? {} : { "upload-offset": `${offset}` }),
  };
}
