import { EmptyPreambleError, TlsError } from "@degu/degu/base";
import type { Client, ConnectionPool } from "@degu/degu/client";
import { pause } from "../machine/pause.ts";
import type { Context } from "../machine/context.ts";
import { CONNECT_SECONDS, readJson } from "../peer/peer_client.ts";
import { reasonOf, RUN_BOTH_AGAIN } from "../words/explain.ts";
import { isUnreachable } from "../words/error_codes.ts";
import { Failure } from "../failure.ts";
import { resolve } from "../machine/paths.ts";
import {
  joinByLine,
  joinSender,
  type LineAdvice,
  readInvitationLine,
  UNATTENDED_TIMEOUT_SECONDS,
} from "../pair/join_device.ts";
import { isLine } from "../pair/line_kinds.ts";
import {
  findDirectoryPath,
  findTarget,
  makeDownloadJob,
  makeMissingTargetFailure,
} from "../copy/download_target.ts";
import { checkOutsideInbox } from "../machine/inbox_marker.ts";
import {
  checkWritable,
  findDeviceDirectory,
  ignoreNotFound,
  toLocalPath,
} from "../machine/local_paths.ts";
import { NumberPrompt } from "../terminal/number_prompt.ts";
import { formatBytes, formatDevice } from "../terminal/output.ts";
import { PeerConnections } from "../peer/peer_connections.ts";
import { RemoteFiles } from "../peer/remote_files.ts";
import {
  DONE_URI,
  END_URI,
  isSendableName,
  type ReceiveResult,
  type SentEntry,
} from "../serve/send_session.ts";
import { openTemporaryDevice } from "../machine/open_device.ts";
import { Transfers } from "../copy/transfers.ts";

export async function runReceive(
  context: Context,
  firstOperand: string | undefined,
  secondOperand: string | undefined,
  { from, force = false }: { readonly from?: string; readonly force?: boolean },
): Promise<number> {
  const { home, output } = context;
  const operands = [firstOperand, secondOperand].filter((operand) => operand !== undefined);
  const { lines = [], dirs = [] } = Object.groupBy(
    operands,
    (operand) => isLine(operand) ? "lines" : "dirs",
  );
  const paths = dirs.map(toLocalPath);
  if (lines.length > 1 || paths.length > 1 || lines.length > 0 && from !== undefined) {
    throw new Failure("give at most one directory, and one line or --from", "USAGE");
  }
  const [line] = lines;
  const numberPrompt = line === undefined ? NumberPrompt.make(output) : null;
  // Check the target before the user compares numbers.
  const path = paths[0] ?? ".";
  if (await ignoreNotFound(Deno.stat(path)) === null) throw await makeMissingFailure(path);
  const target = await findTarget(path, true);
  await checkWritable(target.path);
  // The received files must not change the permanent device.
  const deviceDirectory = await findDeviceDirectory(home);
  await deviceDirectory.check(target.path);
  await checkOutsideInbox(target.path);
  const invitationLine = line === undefined
    ? null
    : await readInvitationLine(context, line, LINE_ADVICE, UNATTENDED_TIMEOUT_SECONDS);
  await using temporaryDevice = await openTemporaryDevice(context);
  const { device } = temporaryDevice;
  const sender = invitationLine !== null
    ? await joinByLine(context, device, invitationLine, { serving: [] }, LINE_ADVICE)
    : await joinSender(context, device, numberPrompt, from, { serving: [] });
  output.note(`receiving from ${formatDevice(sender)} into ${resolve(target.path)}`);

  const stopController = new AbortController();
  const signal = AbortSignal.any([context.signal, stopController.signal]);
  const clientOptions = { connectTimeout: CONNECT_SECONDS, signal };
  const connections = new PeerConnections(
    { ...context, signal },
    sender.name,
    await device.client(sender, clientOptions),
  );
  const downloadOptions = {
    // Each `degu send` has new keys. Parts are found by this constant name instead.
    serverName: "degu send",
    // The sender is not a peer, so its files must not be executable.
    modeMask: 0o666,
  };
  using files = new RemoteFiles(connections, "share", signal);
  // The usual advice names "degu serve" and "degu pair", which are not for a sender.
  const fail = (error: unknown): never => {
    const cause = error instanceof Failure ? error.cause : error;
    const isDisconnected = isUnreachable(cause) || cause instanceof EmptyPreambleError ||
      cause instanceof TlsError;
    if (!isDisconnected) throw error;
    throw new Failure(`${sender.name} has disconnected: ${RETRY_ADVICE}`, null, { cause });
  };
  const finishController = new AbortController();
  const pollEnded = pollSender(
    await device.client(sender, clientOptions),
    finishController.signal,
    () => {
      stopController.abort(new Failure(`${sender.name} has stopped sending`));
    },
  );
  try {
    const entries = await connections.call(fetchEntries).catch(fail);
    for (const line of formatEntries(sender.name, entries)) output.note(line);
    using transfers = new Transfers({ ...context, signal }, "get", deviceDirectory, {
      retryAdvice: RETRY_ADVICE,
    });
    const jobs = await transfers.prepare(entries, false, ({ name }) => name, async (entry) => {
      const { name, kind, size } = entry;
      const names = [name];
      // Some disks ignore invisible characters.
      if (/^\p{Default_Ignorable_Code_Point}*\./u.test(name) && !force) {
        throw new Failure(DOT_NAME_PROBLEM);
      }
      if (kind === "file") {
        const options = { ...downloadOptions, replace: force };
        return makeDownloadJob(files, { names, size }, target, options);
      }
      const root = await findDirectoryPath(target, name);
      await deviceDirectory.check(root);
      await checkOutsideInbox(root);
      if (!force && await ignoreNotFound(Deno.lstat(root)) !== null) {
        throw new Failure(DIRECTORY_EXISTS_PROBLEM);
      }
      return { names, root, listsUnchanged: true, options: { ...downloadOptions, replace: force } };
    });
    await transfers.copy(files, jobs).catch(fail);
    const exitCode = transfers.report.finish();
    await reportResult(connections, transfers.report.totals).catch((error) => {
      const problem = exitCode === 0 ? "all files have arrived, but " : "";
      const reason = reasonOf(error, sender.name);
      output.warn(`${problem}${sender.name} was not notified: ${reason}`);
    });
    return exitCode;
  } finally {
    finishController.abort();
    await pollEnded;
  }
}

/**
 * In a home directory, files whose names begin with a dot control logins and shells. Some disks
 * ignore invisible characters before the dot.
 */
const DOT_NAME_PROBLEM =
  "its name begins with a dot, and some of these files change the behavior of programs: ask why it is sent, and receive it with --force";

async function makeMissingFailure(path: string): Promise<Failure> {
  // A code of croc, such as 12-alpha-beta, an address, or a peer.
  if (!/^\d+(?:-[a-z]+)+$|:/.test(path)) return await makeMissingTargetFailure(path);
  const problem = "is neither a directory nor the line of degu send: leave it out, or see --help";
  return new Failure(`${JSON.stringify(path)} ${problem}`, "USAGE");
}

const LINE_ADVICE: LineAdvice = {
  command: "degu receive",
  noLine: 'give the line that "degu send" on the other device has printed, or leave it out to ' +
    "compare a number",
  unusableLine: 'run "degu send" again on the other device',
};

const RETRY_ADVICE = `${RUN_BOTH_AGAIN}: a partial file is continued, and a directory with --force`;

/** A file of the sender could do harm among existing files, such as the files of a program. */
const DIRECTORY_EXISTS_PROBLEM =
  "the directory exists already: receive into another directory; --force continues an interrupted " +
  "transfer, and replaces files that differ";

const MAX_PRINTED_ENTRIES = 20;

function formatEntries(senderName: string, entries: readonly SentEntry[]): string[] {
  const lines = entries.slice(0, MAX_PRINTED_ENTRIES).map(({ name, kind, size }) =>
    `  ${kind === "directory" ? `${name}/` : `${name} (${formatBytes(size)})`}`
  );
  const moreCount = entries.length - lines.length;
  return [`${senderName} sends:`, ...lines, ...(moreCount > 0 ? [`  and ${moreCount} more`] : [])];
}

/** Polls the sender, so that each device detects when the other device stops. */
async function pollSender(
  client: Client,
  finishSignal: AbortSignal,
  onEnd: () => void,
): Promise<void> {
  while (!finishSignal.aborted) {
    try {
      const options = { signal: finishSignal };
      using connection = await client.connect(options);
      let status = 204;
      while (status === 204) {
        const pollPauseEnded = pause(POLL_SENDER_MILLISECONDS, finishSignal);
        ({ status } = await connection.get(END_URI, {}, options));
        // A usual sender delays its response, so this pause has already ended.
        if (status === 204) await pollPauseEnded;
      }
      if (status === 200) return onEnd();
    } catch {
      // The transfers detect a sender that has disconnected.
    }
    await pause(POLL_SENDER_MILLISECONDS, finishSignal);
  }
}

const POLL_SENDER_MILLISECONDS = 1000;
/** The limit of the list, which has room for more files than a command line can have. */
const MAX_LIST_BYTES = 8_000_000;

async function fetchEntries(pool: ConnectionPool): Promise<SentEntry[]> {
  await using response = await pool.get("/");
  const entries = await readJson(response, MAX_LIST_BYTES);
  const entriesByName = new Map<string, SentEntry>();
  for (const entry of Array.isArray(entries) ? entries : [null]) {
    const { name, kind, size } = entry ?? {};
    const isEntry = isSendableName(name) && !entriesByName.has(name) &&
      ["file", "directory"].includes(kind) &&
      Number.isSafeInteger(size) && size >= 0;
    if (!isEntry) throw new Failure("that device answers, but does not run degu send");
    entriesByName.set(name, entry);
  }
  return [...entriesByName.values()];
}

async function reportResult(connections: PeerConnections, result: ReceiveResult): Promise<void> {
  const isSuccess = result.unread + result.unstored === 0;
  const body = isSuccess ? null : new TextEncoder().encode(JSON.stringify(result));
  // The request is idempotent, so it can be repeated.
  await connections.call(async (pool) => {
    await using response = await pool.post(DONE_URI, {}, body);
    if (!response.ok) throw new Failure(`it answered with status ${response.status}`);
  });
}
