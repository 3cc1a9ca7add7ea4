import { WorkerApp } from "@degu/degu";
import { peerOf } from "@degu/device";
import type { AppObject, Logger } from "@degu/degu/server";
import type { FilesOptions } from "@degu/files";
import { type AreaMessage, type AreaSettings, type ErrorData, PEER_HEADER } from "./area_worker.ts";
import type { FilesLogger, InboxPeer } from "./serve_app.ts";
import type { Area } from "./remote_files.ts";

/** Never called: lets `deno cache` and `deno compile` find the module. */
void (() => import("./area_worker.ts"));

function toError({ name, message, code, stack, cause }: ErrorData): Error {
  const ErrorClass = Object.hasOwn(Deno.errors, name)
    ? Deno.errors[name as keyof typeof Deno.errors]
    : Error;
  const error = new ErrorClass(message, cause && { cause: toError(cause) });
  return Object.assign(
    error,
    { name, ...stack && { stack } },
    code === undefined ? null : { code },
  );
}

interface AreaCallbacks {
  readonly logger: FilesLogger & Logger;
  readonly onFile: (
    area: Area,
    event: Extract<AreaMessage, { type: "file" }>["event"],
    peer: InboxPeer,
  ) => void;
  readonly onInboxDirectory: (peer: InboxPeer, directory: string) => void;
}

/** The directories that are served in threads of their own. */
export class AreaThreads implements AsyncDisposable {
  readonly apps: Map<Area, Pick<AppObject, "handle">> = new Map();
  readonly #workers = new AsyncDisposableStack();

  static async start(
    directories: Readonly<Record<Area, string | null>>,
    options: Pick<FilesOptions, "keep" | "modes" | "write"> & { readonly isForAll: boolean },
    callbacks: AreaCallbacks,
  ): Promise<AreaThreads> {
    await using stack = new AsyncDisposableStack();
    const threads = stack.use(new AreaThreads());
    for (const area of ["share", "inbox"] as const) {
      const directory = directories[area];
      if (directory !== null) await threads.#start({ area, directory, ...options }, callbacks);
    }
    stack.move();
    return threads;
  }

  async #start(
    settings: AreaSettings,
    { logger, onFile, onInboxDirectory }: AreaCallbacks,
  ): Promise<void> {
    const { area } = settings;
    const onMessage = (data: unknown) => {
      const message = data as AreaMessage;
      if (message.type === "file") return onFile(area, message.event, message.peer);
      if (message.type === "directory") return onInboxDirectory(message.peer, message.directory);
      const { level, line, details: { error, ...details } } = message;
      logger.record(level, line, { ...details, error: error && toError(error) });
    };
    const module = import.meta.resolve("./area_worker.ts");
    const source = { module, name: "makeAreaApp", args: [settings] };
    const worker = this.#workers.use(await WorkerApp.start(source, { onMessage, logger }));
    this.apps.set(area, {
      handle(request, session) {
        const { id, name } = peerOf(session);
        const headers = { [PEER_HEADER]: encodeURIComponent(JSON.stringify({ id, name })) };
        const path = [area, ...request.path];
        return worker.handle(request.with({ mount: [], path, headers }), session);
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#workers.disposeAsync();
  }
}
