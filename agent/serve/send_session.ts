import { basename, dirname } from "node:path";
import { json, reply } from "@degu/degu";
import { type FileEvent, FilesApp, fileUri, isReservedName } from "@degu/degu/files";
import type { AppFunction, Logger, ResponseTuple, Session } from "@degu/degu/server";
import { realPath, resolve } from "../machine/paths.ts";
import { pause } from "../machine/pause.ts";
import { Failure } from "../failure.ts";
import {
  findDeviceDirectory,
  ignoreNotFound,
  makeMissingSourceFailure,
} from "../machine/local_paths.ts";

export interface SentEntry {
  readonly name: string;
  readonly kind: "file" | "directory";
  readonly size: number;
}

interface Source extends SentEntry {
  readonly path: string;
}

/** The URI of the long poll: 200 when the sender stops, 204 after {@linkcode POLL_MILLISECONDS}. */
export const END_URI = "/end";
/**
 * The URI at which the receiver reports its end: without a body, success; with a
 * {@linkcode ReceiveResult}, that files have failed.
 */
export const DONE_URI = "/done";

const POLL_MILLISECONDS = 5000;
/** The time without a request after which the receiver counts as disconnected. */
const SILENCE_MILLISECONDS = 20_000;
const CHECK_MILLISECONDS = 1000;
/** The time for the receiver to disconnect after the sender has stopped. */
const CLOSE_MILLISECONDS = 1000;

export function isSendableName(name: unknown): name is string {
  if (name === "") return false;
  try {
    fileUri(name as string);
    return !isReservedName(name as string);
  } catch {
    return false;
  }
}

/** @param deviceDirectories The directories with keys, which must not leave this machine. */
export async function findSources(
  paths: readonly string[],
  deviceDirectories: readonly string[],
): Promise<Source[]> {
  const devices = await Promise.all(deviceDirectories.map(findDeviceDirectory));
  const sources = new Map<string, Source>();
  for (const operand of paths) {
    const quotedOperand = JSON.stringify(operand);
    const name = basename(resolve(operand));
    const path = await ignoreNotFound(realPath(operand));
    if (path === null) throw await makeMissingSourceFailure(operand);
    const info = await Deno.stat(path);
    const { isFile, isDirectory, size } = info;
    if (!isFile && !isDirectory) {
      throw new Failure(`${quotedOperand} is neither a file nor a directory`);
    }
    if (!Number.isSafeInteger(size)) {
      throw new Failure(`${quotedOperand}: it has more than 2⁵³ − 1 bytes`);
    }
    for (const { checkServed } of devices) checkServed(path, quotedOperand);
    if (!isSendableName(name)) {
      const advice = /^\.\.?;/.test(name)
        ? 'a name can\'t begin with ".;" or "..;"'
        : "name its files and directories";
      throw new Failure(`${quotedOperand} has no name that can be sent: ${advice}`, "USAGE");
    }
    const otherPath = sources.get(name)?.path;
    if (otherPath !== undefined) {
      const problem = otherPath === path
        ? `${quotedOperand} is named twice: name it once`
        : `${JSON.stringify(otherPath)} has the same name: send ${quotedOperand} separately`;
      throw new Failure(problem, "USAGE");
    }
    await ignoreNotFound(checkReadable(path, isFile));
    const kind = isFile ? "file" : "directory";
    sources.set(name, { name, kind, size: isFile ? size : 0, path });
  }
  return [...sources.values()];
}

/** Otherwise only the receiver would report the file, after both users have compared numbers. */
async function checkReadable(path: string, isFile: boolean): Promise<void> {
  if (isFile) return (await Deno.open(path)).close();
  for await (const _entry of Deno.readDir(path)) return;
}

export interface ReceiveResult {
  readonly stored: number;
  /** The files that the sender could not read. */
  readonly unread: number;
  /** The files that the receiver could not store, or has refused. */
  readonly unstored: number;
}

const MAX_RESULT_BYTES = 1000;

function parseResult(text: string): ReceiveResult | null {
  const [, ...numbers] =
    /^\{"stored":(\d{1,15}),"unread":(\d{1,15}),"unstored":(\d{1,15})\}$/.exec(text) ?? [];
  const [stored, unread, unstored] = numbers.map(Number);
  return stored === undefined ? null : { stored, unread: unread!, unstored: unstored! };
}

export class SendSession {
  /** Resolves to `null` once the receiver has stored all files, or to the numbers of files. */
  readonly resultReported: Promise<ReceiveResult | null>;
  readonly app: AppFunction;
  readonly #endController = new AbortController();
  readonly #sessions = new Set<Session>();
  #lastRequestAt = -Infinity;

  constructor(
    sources: readonly Source[],
    logger: Pick<Logger, "warn">,
    onFile: (name: string, event: FileEvent) => void,
  ) {
    const { promise, resolve: reportResult } = Promise.withResolvers<ReceiveResult | null>();
    this.resultReported = promise;
    const apps = new Map<string | null, FilesApp["handle"]>();
    for (const { name, kind, path } of sources) {
      const isDirectory = kind === "directory";
      const onFileEvent = (event: FileEvent) =>
        onFile(name, isDirectory ? event : { ...event, path: [] });
      const options = { list: isDirectory, reuse: true, logger, onFile: onFileEvent };
      const app = new FilesApp(isDirectory ? path : dirname(path), options);
      apps.set(name, async (request, session) => {
        if (!isDirectory) {
          // Serve only this file of the directory.
          if (request.path.length > 0) return reply(404);
          request.path.push(basename(path));
        }
        return await app.handle(request, session);
      });
    }
    const entries = sources.map(({ path: _, ...entry }): SentEntry => entry);
    this.app = async (request, session) => {
      this.#lastRequestAt = performance.now();
      const { method, uri, body } = request;
      const [firstSegment, secondSegment] = [request.shiftPath(), request.shiftPath()];
      const app = firstSegment === "share" ? apps.get(secondSegment) : undefined;
      if (app !== undefined) return await app(request, session);
      if (method === "GET" && uri === "/") return json(entries);
      if (method === "GET" && uri === END_URI) return await this.#waitForEnd(session);
      if (method !== "POST" || uri !== DONE_URI) return reply(404);
      if (body === null) reportResult(null);
      else {
        const result = parseResult(await body.text({ maxBytes: MAX_RESULT_BYTES }));
        if (result === null) return reply(400);
        reportResult(result);
      }
      return reply(200);
    };
  }

  async #waitForEnd(session: Session): Promise<ResponseTuple> {
    this.#sessions.add(session);
    session.signal.addEventListener("abort", () => this.#sessions.delete(session), { once: true });
    await pause(POLL_MILLISECONDS, this.#endController.signal, session.signal);
    return reply(this.#endController.signal.aborted ? 200 : 204);
  }

  async waitUntilSilent(signal: AbortSignal): Promise<void> {
    const startedAt = performance.now();
    const silentMilliseconds = () => performance.now() - Math.max(this.#lastRequestAt, startedAt);
    while (!signal.aborted && silentMilliseconds() <= SILENCE_MILLISECONDS) {
      await pause(CHECK_MILLISECONDS, signal);
    }
  }

  async end(): Promise<void> {
    this.#endController.abort();
    const timeoutSignal = AbortSignal.timeout(CLOSE_MILLISECONDS);
    await Promise.all(
      Array.from(this.#sessions, ({ signal }) => pause(Infinity, signal, timeoutSignal)),
    );
  }
}
