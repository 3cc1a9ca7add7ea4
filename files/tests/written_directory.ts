/** Directories that peers may write to. */

import { assertEquals } from "@std/assert";
import {
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type HeadersToSend,
  type Method,
  type Response,
} from "@degu/degu/base";
import { FilesApp, type FilesOptions } from "@degu/degu/files";
import { formatReprDigest } from "@degu/internal/files/wire/digest.ts";
import { RESERVED_DIRECTORY_NAME } from "@degu/internal/files/reserved.ts";
import { sha256Of } from "./bundles.ts";
import { listNames } from "@degu/testing/directories.ts";
import { makeTree } from "./served_directory.ts";
import { serve } from "@degu/testing/serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

/** Serves a directory for reading and writing, beside directories that are not served. */
export async function serveWritableDirectory(options: FilesOptions = {}) {
  const tree = await makeTree();
  const warnings: string[] = [];
  const logger = { warn: (message: string) => void warnings.push(message) };
  const serving = serve(new FilesApp(tree.root, { write: true, logger, ...options }));
  const files = {
    ...tree,
    serving,
    warnings,
    /**
     * Sends a request over its own connection, because an error before the end of a body closes it.
     */
    request: (method: Method, uri: string, headers: HeadersToSend = {}, body: BodyOut = null) =>
      serving.makeClient().request(method, uri, headers, body),
    async put(uri: string, body: BodyOut, headers: HeadersToSend = {}): Promise<number> {
      return await readStatus(await files.request("PUT", uri, headers, body));
    },
    async listUnfinished(): Promise<string[]> {
      return await listNames(`${tree.root}/${RESERVED_DIRECTORY_NAME}`).catch(() => []);
    },
    /** Makes a body of `1234567890` that runs an action in its middle, after its file exists. */
    makeBodyWithAction(action: () => unknown): BodyIter {
      const makePieces = async function* () {
        yield encodeLatin1("12345");
        while ((await files.listUnfinished()).length === 0);
        await action();
        yield encodeLatin1("67890");
      };
      return new BodyIter(makePieces(), 10);
    },
    read: (path: string) => Deno.readTextFile(`${tree.root}/${path}`),
    async [Symbol.asyncDispose]() {
      await serving[Symbol.asyncDispose]();
      assertEquals(await listNames(`${tree.path}/outside`), ["secret"]);
      assertEquals(await Deno.readTextFile(`${tree.path}/outside/secret`), "secret");
      await tree[Symbol.asyncDispose]();
    },
  };
  return files;
}

export function makeChunkedBody(...pieces: readonly Uint8Array[]): ChunkedBodyIter {
  return new ChunkedBodyIter([...pieces, new Uint8Array(0)].map((piece) => [null, piece]));
}

/** Returns the status of a response, and reads the body, so that the connection can be reused. */
export async function readStatus(response: Response): Promise<number> {
  await response.body?.bytes();
  return response.status;
}

/** Returns the SHA-256 of bytes in the format of `repr-digest`. */
export function digestOf(bytes: Uint8Array): string {
  return formatReprDigest(sha256Of(bytes));
}

/** Makes the headers of a resumable upload, or with an offset of the PUT that resumes it. */
export function makeUploadHeaders(content: Uint8Array, offset?: number): HeadersToSend {
  return {
    "repr-digest": digestOf(content),
    "upload-length": `${content.length}`,
    ...(offset === undefined ? {} : { "upload-offset": `${offset}` }),
  };
}
