import { type Peer, perPeer } from "@degu/degu/device";
import { type FileEvent, FilesApp, type FilesOptions } from "@degu/degu/files";
import type { AppFunction, AppObject } from "@degu/degu/server";
import { Inbox, makeRefusal } from "./inbox.ts";
import { join } from "../machine/paths.ts";
import { KEPT_DIRECTORY } from "../machine/context.ts";
import type { ServerInfo } from "../peer/peer_client.ts";
import type { Area } from "../peer/remote_files.ts";

type ServedDirectories = Readonly<Record<Area, string | null> & { name: string }>;

type FilesLogger = Required<NonNullable<FilesOptions["logger"]>>;

export type InboxPeer = Pick<Peer, "id" | "name">;

interface InboxOptions extends Pick<FilesOptions, "keep" | "write"> {
  readonly isForAll?: boolean;
  readonly onInboxDirectory?: (peer: InboxPeer, directory: string) => void;
}

export function makeServeApp(
  { name, share, inbox }: ServedDirectories,
  logger: FilesLogger,
  onFile: (area: Area, event: FileEvent) => void,
  {
    isForAll = false,
    write = true,
    keep,
    onInboxDirectory = () => {},
  }: InboxOptions = {},
): AppFunction {
  const info: ServerInfo = { name, share: share !== null, inbox: inbox !== null, keep };
  const bytes = new TextEncoder().encode(JSON.stringify(info));
  const apps = new Map<string | null, Pick<AppObject, "handle">>();
  const makeFilesApp = (
    area: Area,
    dir: string,
    topNames: readonly string[],
    options: FilesOptions,
  ) => {
    const onFileEvent = (event: FileEvent) =>
      onFile(area, { ...event, path: [...topNames, ...event.path] });
    const filesLogger: FilesLogger = {
      warn: (line) => logger.warn(line),
      record: (level, line, { refusal, ...details }) => {
        if (refusal === undefined) return logger.record(level, line, details);
        const path = [area, ...topNames, ...refusal.path];
        logger.record(level, line, { ...details, refusal: { ...refusal, path } });
      },
    };
    return new FilesApp(dir, {
      list: true,
      reuse: true,
      logger: filesLogger,
      onFile: onFileEvent,
      ...options,
    });
  };
  if (share !== null) apps.set("share", makeFilesApp("share", share, [], {}));
  if (inbox !== null && isForAll) {
    apps.set("inbox", makeFilesApp("inbox", inbox, [], { write, keep }));
  } else if (inbox !== null) {
    const directories = new Inbox(inbox);
    /** Makes an app that only reads the earlier versions of a peer, if it has any. */
    const makeKeptApp = (name: string): FilesApp | null => {
      const dir = directories.findKeptDirectory(name);
      if (dir === null) return null;
      return makeFilesApp("inbox", dir, [name, KEPT_DIRECTORY], { reuse: false });
    };
    const makePeerApp = (peer: InboxPeer): AppFunction => {
      let name: string | null = null;
      let app: FilesApp | null = null;
      return async (request, session) => {
        const isKept = request.path[0] === KEPT_DIRECTORY;
        let keptApp: FilesApp | null = null;
        try {
          if (name === null) {
            name = await directories.assignDirectory(peer);
            onInboxDirectory(peer, name);
          }
          await directories.createDirectory(name);
          if (isKept) keptApp = makeKeptApp(name);
          else app ??= makeFilesApp("inbox", join(inbox, name), [name], { write, keep });
        } catch (error) {
          const refusal = makeRefusal(error);
          if (refusal === null) throw error;
          logger.warn(`${peer.name}: ${refusal.message}`);
          return refusal.response;
        }
        if (!isKept) return await app!.handle(request, session);
        request.shiftPath();
        return await keptApp?.handle(request, session) ?? [404, "Not Found", {}, null];
      };
    };
    apps.set("inbox", perPeer(makePeerApp));
  }
  return (request, session, api) => {
    const area = request.shiftPath();
    const app = apps.get(area);
    if (app !== undefined) return app.handle(request, session, api);
    if (area !== null) return [404, "Not Found", {}, null];
    if (request.method !== "GET") return [405, "only GET", { allow: "GET" }, null];
    return [200, "OK", { "content-type": "application/json" }, bytes];
  };
}

/** Removes unfinished uploads that are older than a day, even of peers that don't connect again. */
export async function removeOldUploads(inbox: string): Promise<void> {
  // The constructor of each app removes its unfinished uploads.
  for (const dir of await new Inbox(inbox).listDirectories()) new FilesApp(dir, { write: true });
}
