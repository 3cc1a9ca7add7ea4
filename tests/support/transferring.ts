/** Directories of two devices, with a server for one of them. */

import type { Api, App, AppFunction, Request, Session } from "@degu/degu";
import {
  FilesApp,
  type FilesOptions,
  TransferError,
  type TransferErrorCode,
} from "@degu/degu/files";
import { isReservedEntry } from "@degu/internal/files/root.ts";
import { assertEquals, assertRejects } from "@std/assert";
import { createTempDir, listNames } from "./directories.ts";
import { waitForTick } from "./raw_peer.ts";
import { serve } from "./serving.ts";

/** Creates a directory of a server and a directory of its client, and serves the first. */
export async function serveFiles(makeApp: (dir: string) => App = (dir) => new FilesApp(dir)) {
  const serverDirectory = await createTempDir();
  const clientDirectory = await createTempDir();
  const app = makeApp(serverDirectory.path);
  const handle: AppFunction = typeof app === "function" ? app : (...args) => app.handle(...args);
  // A closed server doesn't wait for its app, so the calls are awaited before the next test.
  const runningCalls = new Set<Promise<unknown>>();
  const serving = serve(async (...args) => {
    const response = Promise.resolve(handle(...args));
    runningCalls.add(response);
    try {
      return await response;
    } finally {
      runningCalls.delete(response);
    }
  });
  return {
    serverDir: serverDirectory.path,
    clientDir: clientDirectory.path,
    serving,
    client: serving.makeClient(),
    /** Waits until the server has ended its calls and sessions, after a client has failed. */
    becomeIdle: async () => {
      while (runningCalls.size > 0 || serving.server.sessions.size > 0) {
        await Promise.allSettled(runningCalls);
        await waitForTick();
      }
    },
    [Symbol.asyncDispose]: async () => {
      await serving[Symbol.asyncDispose]();
      await Promise.allSettled(runningCalls);
      await serverDirectory[Symbol.asyncDispose]();
      await clientDirectory[Symbol.asyncDispose]();
    },
  };
}

export type AppResponse = Awaited<ReturnType<FilesApp["handle"]>>;

/** Returns another response to a request, or `null` for the response of the app. */
export type ChangeResponse = (
  request: Request,
  callApp: () => Promise<AppResponse>,
  session: Session,
) => Promise<AppResponse | null> | AppResponse | null;

/** Wraps an app, and replaces its response by the result of `change`, unless that is `null`. */
function changeResponses(app: FilesApp, change: ChangeResponse): AppFunction {
  return async (request: Request, session: Session, api: Api) => {
    const callApp = () => app.handle(request, session, api);
    let changedResponse;
    try {
      changedResponse = await change(request, callApp, session);
    } catch (error) {
      // An error of the test closes the connection, so that the copy fails at once.
      session.close(error);
      throw error;
    }
    if (changedResponse !== null && request.body?.used === false) await request.body.bytes();
    return changedResponse ?? await callApp();
  };
}

/** Serves a FilesApp, whose responses `change` may replace. */
export function serveFilesApp(options: FilesOptions, change: ChangeResponse = () => null) {
  return serveFiles((dir) => changeResponses(new FilesApp(dir, options), change));
}

/** Asserts that a call rejects with a `TransferError` of this code, and a text in its message. */
export async function assertTransferError(
  call: () => Promise<unknown>,
  code: TransferErrorCode,
  text?: string,
): Promise<TransferError> {
  const error = await assertRejects(call, TransferError, text);
  assertEquals(error.code, code, error.message);
  return error;
}

/** Returns random bytes, so that no two files or pieces have the same content. */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let offset = 0; offset < length; offset += 65536) {
    crypto.getRandomValues(bytes.subarray(offset, Math.min(length, offset + 65536)));
  }
  return bytes;
}

/** Lists the names that a server shows of a directory. */
export async function listVisible(dir: string): Promise<string[]> {
  return (await listNames(dir)).filter((name) => !isReservedEntry(dir, name));
}

/** Lists the unfinished files of a FilesApp. */
export async function listParts(dir: string): Promise<string[]> {
  const [reservedName] = (await listNames(dir)).filter((name) => isReservedEntry(dir, name));
  return reservedName === undefined ? [] : await listNames(`${dir}/${reservedName}`);
}
