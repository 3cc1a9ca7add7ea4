import { dirname } from "node:path";
import {
  DeguError,
  EmptyPreambleError,
  formatAddress,
  parseHost,
  type ProtocolErrorCode,
  TlsError,
  type TlsErrorCode,
} from "@degu/degu/base";
import type { FileLogDetails } from "@degu/degu/files";
import { isReservedName, TransferError } from "@degu/degu/files/base";
import { ConnectionError, isTransient, StatusError } from "@degu/degu/client";
import { PairingError, type PairingErrorCode } from "@degu/degu/device";
import { type DiscoveryProblem, findDiscoveryProblem } from "@degu/degu/device/discovery";
import type { LogDetails, Logger } from "@degu/degu/server";
import { codeOf, errorCodeOf, hasStatus, isLinkRefusal, isUnreachable } from "./error_codes.ts";
import { Failure, type FailureOptions } from "../failure.ts";
import { formatBytes, formatId, PAIR_ADVICE } from "../terminal/output.ts";

/**
 * The limit of unconfirmed numbers: each number gives an attacker between the devices one chance in
 * a million. An invitation has the same limit.
 */
const MAX_NUMBERS = 5;

const TLS_REASONS: Partial<Record<TlsErrorCode, string>> = {
  UNTRUSTED: "another device answers at ADDRESS, or PEER has a new identity",
  REFUSED_BY_PEER: "PEER does not trust this device any more",
  EXPIRED: "the certificate of PEER has expired, by the clock of this device",
  NOT_YET_VALID: "the certificate of PEER is not valid yet, by the clock of this device",
  NOT_TLS: "another program answers at ADDRESS",
  CLOSED: "ADDRESS closed the connection in the handshake",
};

export const RUN_AGAIN = "run the same command again";
export const RUN_BOTH_AGAIN = "run both commands again";

const TLS_HINTS: Partial<Record<TlsErrorCode, string>> = {
  UNTRUSTED: `unless its new id is in "degu peers", ${PAIR_ADVICE}`,
  REFUSED_BY_PEER: PAIR_ADVICE,
  CLOSED: RUN_AGAIN,
};

const FORGOTTEN_HINT = `if this device is missing in "degu peers" on PEER, ${PAIR_ADVICE}`;

const SERVE_HINT = 'run "degu serve" on PEER';
/** A device that is off looks like a network that drops the packets. */
const ABSENT_HINT = 'see that PEER is on, in this network and runs "degu serve"';

const TYPED_ADDRESS_HINT = "without --address, the stored addresses of PEER are used";

/** A typed address may be wrong: the peer may never have served there, and be as it was. */
interface PeerUse {
  readonly peer?: string;
  readonly options: { readonly address?: unknown };
}

export function makeErrorObject(error: unknown, use?: PeerUse) {
  const { path, peer: failurePeer, fields }: FailureOptions = error instanceof Failure ? error : {};
  // A failure with a path names the peer of the path; without a peer, the path is on this device.
  const shownPeer = failurePeer ?? (path === undefined ? use?.peer : undefined);
  const message = explain(error, use?.peer, use);
  return { code: codeOf(error), message, path, peer: shownPeer, ...fields };
}

export function explain(error: unknown, peer?: string, use?: PeerUse): string {
  const [reason, hint, separator = "; "] = findReasonAndHint(error, peer, use);
  return hint === undefined ? reason : `${reason}${separator}${insertPeer(hint, peer)}`;
}

export function reasonOf(error: unknown, peer?: string): string {
  return findReasonAndHint(error, peer)[0];
}

export function insertPeer(message: string, peer = "the other device"): string {
  return message.replaceAll("PEER", () => peer);
}

function findReasonAndHint(
  error: unknown,
  peer: string | undefined,
  { options: { address: typedAddress } }: PeerUse = { options: {} },
): [reason: string, hint?: string | undefined, separator?: string] {
  const withPeer = (message: string) => insertPeer(message, peer);
  // A device that is not paired yet has no stored address.
  const addressHint = peer === undefined ? undefined : TYPED_ADDRESS_HINT;
  if (!(error instanceof Error)) return [`${error}`];
  if (error instanceof TlsError) {
    const isOfAddress = TLS_REASONS[error.code]?.includes("ADDRESS") === true;
    const hint = isOfAddress && typedAddress !== undefined ? addressHint : TLS_HINTS[error.code];
    return [describeTlsReason(error, peer), hint];
  }
  if (error instanceof PairingError) return [describePairingProblem(error)];
  if (error instanceof EmptyPreambleError) {
    return [withPeer("PEER closed the connection without an answer"), FORGOTTEN_HINT];
  }
  if (error instanceof Deno.errors.NotCapable) {
    const [, path] = /^Requires all access to (".*"), /s.exec(error.message) ?? [];
    // Most paths in /proc, /sys and /dev need all permissions, which the user should not grant.
    return path === undefined
      ? [error.message, "docs/permissions.md has the flags of each command"]
      : [`Deno permits no access to ${path}`, path.startsWith('"/dev/std') ? "write -" : undefined];
  }
  if (isUnreachable(error) && !isConnectionCut(error)) {
    const attempts = attemptsOf(error);
    if (lacksNetwork(attempts)) return [NO_NETWORK_TEXT];
    if (attempts.length === 0) return [describeMissingAddress(peer)];
    // The kernel of a hanging peer accepts connections, but its program does not send data.
    const isHanging = (attempt: unknown) =>
      attempt instanceof ConnectionError && attempt.fault === "timed out" && !attempt.isConnecting;
    const hasAny = (...faults: ConnectionError["fault"][]) =>
      attempts.some((each) => each instanceof ConnectionError && faults.includes(each.fault));
    let hint = hasAny("unknown name", "unknown interface") ? undefined : ABSENT_HINT;
    // Without a route, the cable of this machine is out, or its network is another one.
    if (attempts.every((each) => errorCodeOf(each) === "ENETUNREACH")) hint = undefined;
    else if (attempts.some(isHanging)) hint = RUN_AGAIN;
    else if (typedAddress !== undefined) hint = addressHint;
    else if (hasAny("refused")) hint = SERVE_HINT;
    return [`${withPeer("PEER does not answer")} (${describeAttempts(attempts)})`, hint, ": "];
  }
  if (error instanceof ConnectionError) {
    const { missingBytes, silentSeconds } = error;
    if (missingBytes !== null) {
      const missingText = formatBytes(missingBytes);
      return [`${withPeer("PEER closed the connection")} when ${missingText} were missing`];
    }
    if (error.code === "BODY_INCOMPLETE") {
      return [withPeer("PEER closed the connection before all data had arrived"), RUN_AGAIN];
    }
    const seconds = silentSeconds ?? error.unreadSeconds;
    if (seconds !== null) return [withPeer(`PEER has been silent for ${seconds} s`)];
    return [withPeer("the connection to PEER was lost"), RUN_AGAIN];
  }
  const problem = error instanceof DeguError ? error.problem : error.message;
  return [describeSystemProblem(error.message, errorCodeOf(error)) ?? problem];
}

export function describeRemoteRefusal(name: string): string {
  return `the answer at ${name} was no, or it has disconnected`;
}

const NOT_CONFIRMED_LOCALLY =
  "not confirmed on this device: if the numbers differ, an attacker may be between the devices: " +
  'use "degu invite" or "degu send --line"';

const PAIRING_ADVICE: Partial<
  Record<NonNullable<PairingError["reason"]> | PairingErrorCode, string>
> = {
  "timed out": `: ${RUN_BOTH_AGAIN}`,
  "busy": `: if you have not started that, answer no on the other device; then ${RUN_AGAIN}`,
  "no numbers left": ", and run that again",
  "line unusable":
    '; run "degu invite" again on the other device; if another device has used it, "degu peers" ' +
    "there lists that device",
  "ANSWER_LOST": `, so it may trust this device already: ${PAIR_ADVICE}`,
};

const ID_PATTERN = /\b[a-z2-7]{51}[aq]\b/g;

function describePairingProblem(error: PairingError): string {
  const { code, reason, problem, peerName, cause } = error;
  if (code === "UNREACHABLE" && cause instanceof AggregateError && lacksNetwork(cause.errors)) {
    return NO_NETWORK_TEXT;
  }
  if (reason === "local") return NOT_CONFIRMED_LOCALLY;
  if (reason === "remote") {
    return `${describeRemoteRefusal(`${peerName}`)}: run the commands that have ended again`;
  }
  if (reason === "no invitation" && cause instanceof AggregateError) {
    return cause.errors.every(isUnreachable)
      ? describeAttempts(cause.errors)
      : "no device that pairs or sends has answered: give HOST:PORT as the other device prints it";
  }
  const shortProblem = problem.replaceAll(ID_PATTERN, formatId);
  return `${shortProblem}${PAIRING_ADVICE[reason ?? code] ?? ""}`;
}

function describeTlsReason({ code, address, message }: TlsError, peer: string | undefined): string {
  const reason = TLS_REASONS[code];
  if (reason === undefined || address === null && reason.includes("ADDRESS")) return message;
  const addressText = address === null ? "" : formatAddress(address);
  return insertPeer(reason, peer).replace("ADDRESS", () => addressText);
}

function describeAttempts(attempts: readonly unknown[]): string {
  const addressesByProblem = Map.groupBy(attempts, describeAttemptProblem);
  const descriptions = Array.from(addressesByProblem, ([problem, [attempt, ...otherAttempts]]) => {
    const address = addressOf(attempt);
    if (address === null) return problem;
    const count = otherAttempts.length;
    const otherText = count === 0 ? "" : ` and ${count} other address${count === 1 ? "" : "es"}`;
    return `${formatAddress(address)}${otherText}: ${problem}`;
  });
  return descriptions.join("; ");
}

function describeAttemptProblem(error: unknown): string {
  const message = error instanceof Error ? error.message : `${error}`;
  if (!(error instanceof ConnectionError)) return message;
  const { code, fault, address, isConnecting, silentSeconds, unreadSeconds } = error;
  if (unreadSeconds !== null) return `it took over ${unreadSeconds} s to read what was sent`;
  if (silentSeconds !== null) {
    return isConnecting
      ? `no response in ${silentSeconds} s`
      : `it was silent for ${silentSeconds} s`;
  }
  if (address === null) return message;
  switch (fault) {
    case "unknown name":
      return "the name can't be looked up";
    case "unknown interface":
      return `this machine has no interface ${parseHost(String(address[0]))?.zone}`;
    case "refused":
      return "no program listens";
    case "unreachable":
      // EHOSTUNREACH: a host of this network that is absent, for example.
      return code === "ENETUNREACH" ? "this machine has no route" : "the host can't be reached";
    case "timed out":
      return isConnecting ? "no response" : "connected, but no response";
    case "reset":
      return "the connection was reset";
  }
  return message;
}

function isConnectionCut(error: unknown): boolean {
  return error instanceof ConnectionError && error.fault === "reset" && error.address === null;
}

/** Returns no attempts if no address is known, and a search has found none. */
function attemptsOf(error: Error): readonly unknown[] {
  const { cause } = error;
  return cause instanceof AggregateError ? cause.errors : [error];
}

const NO_NETWORK_TEXT = "this machine has no network";

const DISCOVERY_PROBLEM_TEXTS = {
  "no network": NO_NETWORK_TEXT,
  "only IPv6":
    "the networks of this machine have only IPv6, and announcements and searches need IPv4",
};

/** A missing permission is no problem of the network. */
export function explainDiscoveryProblem():
  | { readonly code: Exclude<DiscoveryProblem, "not permitted">; readonly text: string }
  | null {
  const code = findDiscoveryProblem();
  return code === null || code === "not permitted"
    ? null
    : { code, text: DISCOVERY_PROBLEM_TEXTS[code] };
}

function addressOf(attempt: unknown): ConnectionError["address"] {
  return attempt instanceof ConnectionError ? attempt.address : null;
}

function isOfLoopback(attempt: unknown): boolean {
  const address = addressOf(attempt);
  return Array.isArray(address) && parseHost(address[0])?.reach === "loopback";
}

/** Returns true if this machine has no network, and an attempt needed one. */
function lacksNetwork(attempts: readonly unknown[]): boolean {
  return !attempts.some(isOfLoopback) && explainDiscoveryProblem()?.code === "no network";
}

export function describeMissingAddress(peer = "the other device", hasSearched = true): string {
  const problem = explainDiscoveryProblem();
  const searchResult = !hasSearched
    ? ""
    : problem?.code === "only IPv6"
    ? `, and it was not found, because ${problem.text}`
    : ", and it was not found in this network";
  return insertPeer(`no address of PEER is known${searchResult}: ${SERVE_HINT}`, peer);
}

const CONNECTION_END_TEXTS: Readonly<Record<string, string>> = {
  NOT_TLS: ": refused: it does not use TLS",
  NO_CERTIFICATE: ": refused: it has no certificate of a device",
  UNTRUSTED: ": refused: it is a device that is not paired with this one",
  REFUSED_BY_PEER: ": disconnected: it looks for another device, or has forgotten this one",
} satisfies Partial<Record<TlsErrorCode | ProtocolErrorCode, string>>;

const NUMBERS_USED_UP =
  `${MAX_NUMBERS} devices have asked, and no number was confirmed, so no other device can ask: use a ` +
  "line, or run the same command again; if you did not run degu on these devices, another person in this network did";

export function rewordLogLine(
  line: string,
  { who, error }: Partial<LogDetails> = {},
  file?: string,
): string {
  const fileText = file === undefined ? "" : ` at ${file}`;
  const { silentSeconds = null, unreadSeconds = null }: Partial<ConnectionError> =
    error instanceof ConnectionError ? error : {};
  if (silentSeconds !== null) {
    return `${who} was silent for ${silentSeconds} s${fileText}, so its connection was closed`;
  }
  if (unreadSeconds !== null) {
    return `${who} took over ${unreadSeconds} s to read what was sent${fileText}, so its connection was closed`;
  }
  const code = errorCodeOf(error);
  if (code === "BODY_INCOMPLETE") return `${who} disconnected in the middle of ${file ?? "a file"}`;
  const endText = CONNECTION_END_TEXTS[`${code}`];
  if (endText !== undefined) return `${who}${endText}`;
  if (error instanceof PairingError && error.code === "NOT_OPEN") return NUMBERS_USED_UP;
  const problem = describeSystemProblem(line, code);
  return problem === null
    ? formatByteCounts(line)
    : `${line.replace(SYSTEM_ERROR_PATTERN, "")}${problem}`;
}

const REFUSED_ACTION_REASONS: Readonly<Record<string, string>> = {
  "put 412": "a file of this name exists",
  "delete 404": "it does not exist",
  "delete 409": "the directory is not empty",
  "delete 412": "the file has changed",
  "share 405": "peers can only read the share",
  "inbox 405": "peers can only add files to the inbox (--new-only)",
};

function describeRefusedAction(
  peer: string,
  { action, path, status, isInUse, problem }: NonNullable<FileLogDetails["refusal"]>,
  error: unknown,
): string {
  const statusReason = isInUse ? undefined : REFUSED_ACTION_REASONS[`${action} ${status}`];
  const reason = statusReason ??
    REFUSED_ACTION_REASONS[`${path[0]} ${status}`] ??
    describeSystemProblem(problem, errorCodeOf(error)) ?? formatByteCounts(problem);
  return `${peer} wanted to ${action} ${path.join("/")}: ${reason}`;
}

export interface PeerRequest {
  readonly peer: string;
  readonly file: string | undefined;
}

type Level = Parameters<Required<Logger>["record"]>[0];

export function makeRewordingLogger(
  write: (level: Level, line: string, details: LogDetails) => void,
  findRequest: (who: string) => PeerRequest | undefined = () => undefined,
): Required<Logger> {
  const record: Required<Logger>["record"] = (level, message, details: FileLogDetails) => {
    const { who, error } = details;
    // A peer tries several addresses at once, and closes all but the first connection.
    if (details.kind === "handshake" && error instanceof TlsError && error.code === "CLOSED") {
      return;
    }
    const request = who === null ? undefined : findRequest(who);
    const { refusal } = details;
    if (refusal !== undefined && request !== undefined) {
      // The client itself tries such an upload again, so the refusal is no problem. An error of the
      // disk may stay.
      const refusalLevel = refusal.isInUse && error === undefined ? "debug" : level;
      const line = describeRefusedAction(request.peer, refusal, error);
      return write(refusalLevel, line, details);
    }
    // An app leaves the body of a refused request unread, and the refusal has its own line.
    if (details.kind === "body" && error === undefined) level = "debug";
    if (request === undefined) return write(level, rewordLogLine(message, details), details);
    const { peer, file } = request;
    const prefix = `${who}: `;
    const line = message.startsWith(prefix) ? `${peer}: ${message.slice(prefix.length)}` : message;
    write(level, rewordLogLine(line, { ...details, who: peer }, file), details);
  };
  const log = (level: Level) => (message: string) => {
    record(level, message, { kind: "other", who: null, error: undefined });
  };
  return {
    debug: log("debug"),
    info: log("info"),
    warn: log("warn"),
    error: log("error"),
    record,
  };
}

// ───────────────────────── errors of files

/**
 * Errors of the file system, as Deno and Node's modules write them:
 * `Permission denied (os error 13): stat '/x'`, `EACCES: permission denied, open '/x'`.
 */
const SYSTEM_ERROR_PATTERN =
  /(?:\b[A-Z]\w+: )?(?:\b([^:]*) \(os error \d+\)|\b(?:E[A-Z]+|UNKNOWN): ([^,]*))[:,] \w+ '(.*?)'(?: -> '(.*)')?$/s;

/** Returns the path and the reason of the system: `"/x": permission denied`. */
function describeSystemProblem(text: string, errorCode: unknown): string | null {
  const [, denoReason, nodeReason, firstPath, secondPath] = SYSTEM_ERROR_PATTERN.exec(text) ?? [];
  const paths = [secondPath, firstPath].filter((each) => each !== undefined);
  // A deleted file is moved to its version, whose name is reserved.
  const path = paths.find((each) => !each.split("/").some(isReservedName)) ?? paths[0];
  const reason = denoReason ?? nodeReason;
  if (path === undefined || reason === undefined) return null;
  // Users don't know reserved names: show the directory that contains the reserved name.
  const names = path.split("/");
  const reservedIndex = names.findIndex(isReservedName);
  const shownPath = reservedIndex < 0
    ? path
    : names.slice(0, reservedIndex).join("/") || dirname(path);
  const shownReason = reason === "unknown error" ? `${reason} (${errorCode})` : reason;
  const firstLetter = shownReason.charAt(0).toLowerCase();
  // The file is too large, not the directory that is shown for it.
  const preposition = shownPath !== path && reason === "File too large" ? "in " : "";
  return `${preposition}${JSON.stringify(shownPath)}: ${firstLetter}${
    shownReason.slice(1).replace(/\.$/, "")
  }`;
}

export type FileAction = "get" | "put" | "delete";

export const EXISTS_AT_PEER = "another file of this name exists on PEER: --force replaces it";

const CHANGED_AT_PEER = `the file on PEER changed during the transfer, and was kept: ${RUN_AGAIN}`;

const NOT_WRITABLE_AT_PEER =
  'PEER can\'t write to its inbox: see the output of "degu serve" on PEER';

/** By the code of a `TransferError` or the status of a response, for one action or for all. */
const TRANSFER_PROBLEMS: Readonly<Record<string, string>> = {
  CHANGED: `it changed while it was copied: ${RUN_AGAIN}`,
  DIGEST_MISMATCH: `the received file differs from the sent file: ${RUN_AGAIN}`,
  EXISTS: EXISTS_AT_PEER,
  LINK: "its path on PEER has a symbolic link, which is not followed",
  ONLY_ADDS: "PEER only accepts new files (degu serve --new-only): existing files stay as they are",
  ROOT_GONE: "the directory that PEER serves is missing, or is not a directory",
  "IN_USE 403": `another program has it open on PEER, or PEER may not use it: ${RUN_AGAIN}`,
  "404": "it does not exist any more",
  "503": `PEER is busy (status 503): ${RUN_AGAIN}`,
  "get EXISTS": "another file of this name exists on this device: --force replaces it",
  "get UNREADABLE": "PEER can't read it: see its permissions there",
  "get 403": "PEER can't read it: see its permissions there",
  "put OTHER_DISK": "PEER can't store it on the disk that is mounted there",
  "put UNREADABLE": "it can't be read",
  "put 400": `PEER has refused it (status 400): ${RUN_AGAIN}`,
  // Reserved names were refused before.
  "put 403": NOT_WRITABLE_AT_PEER,
  "put 404": "PEER has refused the path (status 404)",
  "put 405": "PEER accepts no files any more",
  // A file in the peer's list was reported before the upload.
  "put 409": `another command is sending it, or another entry has just got its name: ${RUN_AGAIN}`,
  // Even with --force, a file that has changed since the list is not replaced.
  "put 412": CHANGED_AT_PEER,
  "put 413": "it is larger than PEER accepts",
  "put 414": "its path is too long for PEER",
  "delete CHANGED": CHANGED_AT_PEER,
  "delete IN_USE":
    `another command or program is changing it on PEER, or a disk is mounted there: ${RUN_AGAIN}`,
  "delete NO_DELETIONS": "PEER deletes no files, because that was not tested on its system",
  "delete 403": NOT_WRITABLE_AT_PEER,
  "delete 409": "the directory is not empty",
  "delete 412": CHANGED_AT_PEER,
};

export function explainTransfer(error: unknown, action: FileAction, peer: string): string {
  if (error instanceof StatusError) return describeStatusProblem(error, action, peer);
  if (!(error instanceof TransferError)) return explain(error, peer);
  const { code, cause, nameProblem, problem } = error;
  if (code === "DISK_FULL") return describeSpaceProblem(error, peer);
  if (code === "OVER_HALF") {
    return `${problem}, so no file is copied or deleted without --delete-all; --dry-run ` +
      "--delete-all lists them";
  }
  if (nameProblem !== null) {
    const disk = action === "get" ? "the disk" : `the disk of ${peer}`;
    return `${disk} can't hold the name: it ${nameProblem}`;
  }
  const key = isLinkRefusal(cause)
    ? "LINK"
    : code === "IN_USE" && hasStatus(cause, 403)
    ? "IN_USE 403"
    : code;
  const text = findTransferProblem(key, action, peer);
  if (text !== null) return text;
  if (cause instanceof StatusError) return describeStatusProblem(cause, action, peer);
  const mayRepeat = code === "IN_USE" && cause === undefined || code === "TARGET_CHANGED" ||
    isTransient(error);
  return mayRepeat ? `${problem}; ${RUN_AGAIN}` : problem;
}

function findTransferProblem(
  key: string | number,
  action: FileAction,
  peer: string,
): string | null {
  const problem = TRANSFER_PROBLEMS[`${action} ${key}`] ?? TRANSFER_PROBLEMS[key];
  return problem === undefined ? null : insertPeer(problem, peer);
}

function describeStatusProblem(
  { status, uri }: StatusError,
  action: FileAction,
  peer: string,
): string {
  if (action === "delete" && status === 409 && uri?.endsWith("/") === false) {
    return "a file has the name of one of its directories";
  }
  const problem = findTransferProblem(status, action, peer);
  if (problem !== null) return problem;
  if (status >= 500) return `${peer} has an internal problem (status ${status})`;
  return status >= 300 && status < 400
    ? `it has become a directory: ${RUN_AGAIN}`
    : `${peer} has answered with status ${status}`;
}

function describeSpaceProblem(
  { needed: neededBytes, free: freeBytes, kept: partialFile, at }: TransferError,
  peer: string,
): string {
  const location = `on the target's disk${at === "local" ? "" : ` at ${peer}`}`;
  const freeText = freeBytes === null ? "less is" : `${formatBytes(freeBytes)} are`;
  const isFull = freeBytes === null || freeBytes === 0;
  const problem = neededBytes === 0
    ? `no more files fit ${location}`
    : neededBytes !== null
    ? `needs ${formatBytes(neededBytes)}, and ${freeText} free ${location}`
    : isFull
    ? `no space is left ${location}, or a quota is reached`
    : `only ${freeText} free ${location}, or a quota is reached`;
  return partialFile === null
    ? problem
    : `${problem}; ${partialFile.path} keeps the ${
      formatBytes(partialFile.bytes)
    } that have arrived`;
}

function formatByteCounts(text: string): string {
  return text.replace(
    /(\d+)(?: bytes)?(?= are (?:needed|free)| of interrupted)/g,
    (_whole, bytes) => formatBytes(Number(bytes)),
  );
}
