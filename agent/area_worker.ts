/** The worker of `degu serve --threads`, which serves one directory. */

import type { AppFunction, AppObject, Session } from "@degu/degu/server";
import type { FileEvent, FileLogDetails, FilesOptions } from "@degu/files";
import { type FilesLogger, type InboxPeer, makeServeApp, removeOldUploads } from "./serve_app.ts";
import type { Area } from "./remote_files.ts";

/** The header with the peer, which the server's thread sets in each request. */
export const PEER_HEADER = "degu-peer";
/** The name under which the store of a session has the peer. */
const PEER_KEY = "peer";

function peerOf({ store }: Session): InboxPeer {
  return store.get(PEER_KEY) as InboxPeer;
}

export interface AreaSettings extends Pick<FilesOptions, "keep" | "modes" | "write"> {
  readonly area: Area;
  readonly directory: string;
  readonly isForAll: boolean;
}

/** An error as data: a clone would lose its class and its code. */
export interface ErrorData {
  readonly name: string;
  readonly message: string;
  readonly code: unknown;
  readonly stack: string | undefined;
  readonly cause: ErrorData | undefined;
}

export type AreaMessage =
  | { readonly type: "file"; readonly event: Omit<FileEvent, "session">; readonly peer: InboxPeer }
  | { readonly type: "directory"; readonly peer: InboxPeer; readonly directory: string }
  | {
    readonly type: "log";
    readonly level: "warn";
    readonly line: string;
    readonly details: Omit<FileLogDetails, "error"> & { readonly error: ErrorData | undefined };
  };

function toErrorData(error: unknown): ErrorData | undefined {
  if (!(error instanceof Error)) return undefined;
  const { name, message, stack, cause } = error;
  const code = "code" in error ? error.code : undefined;
  return { name, message, code, stack, cause: toErrorData(cause) };
}

/** Keeps an app for each peer, like `perPeer` of a device, whose sessions are in another thread. */
function makePeerApps(make: (peer: InboxPeer) => AppFunction): AppObject {
  const apps = new Map<string, { readonly name: string; readonly handle: AppFunction }>();
  return {
    handle(request, session, api) {
      const { id, name } = peerOf(session);
      let app = apps.get(id);
      if (app?.name !== name) apps.set(id, app = { name, handle: make({ id, name }) });
      return app.handle(request, session, api);
    },
  };
}

export async function makeAreaApp(
  { area, directory, ...options }: AreaSettings,
): Promise<AppFunction> {
  const post = (message: AreaMessage) => Reflect.get(globalThis, "postMessage")(message);
  const record: FilesLogger["record"] = (level, line, { error, ...details }) => {
    post({ type: "log", level, line, details: { ...details, error: toErrorData(error) } });
  };
  const warn = (line: string) => record("warn", line, { kind: "app", who: null, error: undefined });
  if (area === "inbox" && !options.isForAll) await removeOldUploads(directory);
  const directories = { name: "", share: null, inbox: null, [area]: directory };
  const handle = makeServeApp(directories, { warn, record }, (_area, { session, ...event }) => {
    post({ type: "file", event, peer: peerOf(session!) });
  }, {
    ...options,
    makePeerApps,
    onInboxDirectory: ({ id, name }, directory) =>
      post({ type: "directory", peer: { id, name }, directory }),
  });
  return (request, session, api) => {
    const peer = decodeURIComponent(`${request.headers[PEER_HEADER]}`);
    session.store.set(PEER_KEY, JSON.parse(peer));
    return handle(request, session, api);
  };
}
