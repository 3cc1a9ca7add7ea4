import { basename } from "node:path";
import { download, upload } from "@degu/degu/files/client";
import type { RetryEvent } from "@degu/degu/client";
import { type Context, STDIO } from "../machine/context.ts";
import { EXISTS_AT_PEER, explain, insertPeer } from "../words/explain.ts";
import { Failure } from "../failure.ts";
import { ignoreNotFound } from "../machine/local_paths.ts";
import type { Output } from "../terminal/output.ts";
import { toStdoutError } from "../terminal/output_stream.ts";
import { pause } from "../machine/pause.ts";
import type { RemoteEntry, RemoteFiles, RemotePath } from "../peer/remote_files.ts";
import type { FileJob } from "./transfers.ts";

/** The paths of open files, such as those of process substitution in a shell. */
const OPEN_FILE_PATTERN = /^\/(?:dev|proc\/[^/]+)\/fd\//;

/** The time in which Ctrl-C, which also ends the writer of a pipe, arrives at this program. */
const SIGNAL_MILLISECONDS = 100;

export function checkStreamSources(
  sources: readonly string[],
  target: RemotePath,
  operand: string,
): void {
  const source = sources.find((path) => path === STDIO || OPEN_FILE_PATTERN.test(path));
  if (source === undefined) return;
  const name = source === STDIO ? "- is stdin" : `${JSON.stringify(source)} has no name`;
  const advice = source === STDIO ? "; for a file of this name write ./-" : "";
  if (sources.length > 1) throw new Failure(`${name}: put it alone${advice}`, "USAGE");
  if (target.names.length > 0 && !target.mustBeDirectory) return;
  const slash = operand.endsWith(":") || operand.endsWith("/") ? "" : "/";
  throw new Failure(
    `${name}: name the file at the peer, such as ${operand}${slash}NAME${advice}`,
    "USAGE",
  );
}

interface StreamSource {
  readonly path: string;
  readonly name: string | null;
  /** Called when the first byte is needed. */
  readonly open: () => Promise<ReadableStream<Uint8Array>>;
}

export async function findStreamSource(
  output: Output,
  path: string,
): Promise<StreamSource | null> {
  if (path === STDIO) {
    const { stdin } = output.streams;
    const open = () => {
      if (stdin.isTerminal()) output.note("reading the file from the terminal: Ctrl-D ends it");
      return Promise.resolve(stdin.readable);
    };
    return { path: "stdin", name: null, open };
  }
  const info = await ignoreNotFound(Deno.stat(path));
  if (!info?.isFifo) return null;
  // Opening waits until another program opens the FIFO for writing.
  const name = OPEN_FILE_PATTERN.test(path) ? null : basename(path);
  return { path, name, open: async () => (await Deno.open(path)).readable };
}

/** Bytes could reprogram the terminal. */
const BINARY_PROBLEM =
  "it is binary, which a terminal can't show: write it to a file, or add | cat";

export function makeStreamUploadJob(
  { output, signal }: Context,
  files: RemoteFiles,
  source: StreamSource,
  names: readonly string[],
  entry: RemoteEntry | null,
  replace: boolean,
): FileJob {
  if (entry?.kind === "directory") {
    const name = files.formatName(entry.names);
    throw new Failure(
      `${JSON.stringify(`${name}/`)} is a directory: name the file, such as ${name}/NAME`,
      "ALREADY_EXISTS",
    );
  }
  const to = files.formatName(names);
  if (entry !== null && !replace) {
    const problem = insertPeer(EXISTS_AT_PEER, files.connections.peer);
    throw new Failure(`${JSON.stringify(to)}: ${problem}`, "ALREADY_EXISTS", { path: to });
  }
  const stream = makeSourceStream(source, signal);
  return {
    from: source.path,
    to,
    size: null,
    isStream: true,
    copy: async (pool, options) => {
      const uploadOptions = { ...options, replace };
      const result = await upload(pool, stream, files.makeUri(names), uploadOptions);
      // The program before the pipe may have failed.
      if (result.total === 0) output.warn(`${source.path} was empty, so ${to} is an empty file`);
      return result;
    },
  };
}

function makeSourceStream(
  { open }: StreamSource,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  let reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      try {
        reader ??= (await open()).getReader();
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
      } catch (error) {
        throw new Failure(`it can't be read: ${explain(error)}`, null, { cause: error });
      }
      // The end of a program that Ctrl-C has ended must not look like the end of its output.
      await pause(SIGNAL_MILLISECONDS, signal);
      signal.throwIfAborted();
      controller.close();
    },
    cancel: (reason) => reader?.cancel(reason),
  }, { highWaterMark: 0 });
}

export function checkStdoutSource(
  { output }: Context,
  sources: readonly RemotePath[],
  isRecursive: boolean,
): RemotePath {
  const fail = (problem: string) =>
    new Failure(`- is stdout: ${problem}; for a file of this name write ./-`, "USAGE");
  const [source, ...others] = sources;
  if (source === undefined) throw fail("write PEER:PATH before it");
  if (isRecursive) throw fail("leave out -r, because it gets a single file");
  if (others.length > 0) throw fail("get a single file");
  if (output.json) throw fail("leave out --json, whose objects would be mixed with the file");
  return source;
}

export function makeStdoutJob(
  files: RemoteFiles,
  { names, size }: Pick<RemoteEntry, "names" | "size">,
  { streams: { stdout } }: Output,
): FileJob {
  const name = files.formatName(names);
  let writtenBytes = 0;
  return {
    from: name,
    to: "stdout",
    size,
    isStream: true,
    hasWritten: () => writtenBytes > 0,
    copy: (pool, options) => {
      const write = async (bytes: Uint8Array) => {
        if (stdout.isTerminal() && bytes.includes(0)) throw new Failure(BINARY_PROBLEM);
        try {
          for (let count = 0; count < bytes.length;) {
            const newCount = await stdout.write(bytes.subarray(count));
            count += newCount;
            writtenBytes += newCount;
          }
        } catch (error) {
          throw toStdoutError(error);
        }
      };
      const stream = new WritableStream<Uint8Array>({ write }, { highWaterMark: 0 });
      const onRetry = (event: RetryEvent) => files.connections.onRetry(event);
      return download(pool, files.makeUri(names), stream, { ...options, onRetry });
    },
  };
}
