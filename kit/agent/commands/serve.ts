/** `degu serve`: shares a directory, and takes files into another directory. */

import { join } from "node:path";
import { Option } from "commander";
import { type Address, formatAddress } from "../../../base.ts";
import { isLoopback, isUnixAddress } from "../../../base/address.ts";
import { pause } from "../../../base/pause.ts";
import { type DeviceServer, type Peer, peerOf, perPeer } from "../../../device.ts";
import { type FileEvent, FilesApp, type FilesOptions } from "../../../files.ts";
import type { AppFunction, AppObject, Logger } from "../../../server.ts";
import { makeStandardLogger } from "../../../net/logger.ts";
import { ServingRecords } from "../../device/serving_records.ts";
import { refusalOf } from "../../files/refusal.ts";
import { DEFAULT_PORT, listenError, parseListenAddress } from "../addresses.ts";
import type { AgentCommand, Context } from "../command.ts";
import { parseOnce, repeated } from "../option_values.ts";
import { loggerOf, openOrMakeDevice, personalDirectory } from "../own_device.ts";
import { explain, explainLine } from "../explain.ts";
import { codeOf, FAILED, Failure, USAGE } from "../failure.ts";
import { Inbox } from "../inbox.ts";
import { ifThere, overlap } from "../local_paths.ts";
import { announce } from "../mdns.ts";
import { HOSTS, mayUseMdns } from "../mdns_links.ts";
import { counted, formatBytes, type Output } from "../output.ts";
import type { Area } from "../remote_files.ts";

/** The inbox of `--inbox` without a value; shells don't expand it in `--inbox=~/Inbox`, either. */
const DEFAULT_INBOX = "~/Inbox";

export interface ServeOptions {
  readonly share?: string;
  readonly inbox?: string;
  readonly inboxForAll?: string;
  readonly newOnly?: boolean;
  readonly listen?: Address[];
  readonly announce?: boolean;
  readonly modes?: boolean;
  readonly verbose?: boolean;
}

export function addServe(program: AgentCommand): void {
  program.command("serve")
    .summary("share a directory, and take files into another one")
    .description(
      "Serves the paired devices, and nobody else, until SIGINT or SIGTERM. The first signal lets transfers " +
        "finish, a second one ends them. Devices that are paired while it runs can connect at once.",
    )
    .option("--share <dir>", "a directory that they can read: ls, get, sync", parseOnce)
    .addOption(
      new Option(
        "--inbox [dir]",
        `a directory in which each of them has one of its own, to read, write and delete in: put, rm, sync; made if it is not there (without DIR: ${DEFAULT_INBOX})`,
      ).preset(DEFAULT_INBOX).argParser(parseOnce),
    )
    .addOption(
      new Option(
        "--inbox-for-all <dir>",
        "instead, one directory for all of them: each sees, replaces and deletes the files of the others",
      ).argParser(parseOnce).conflicts("inbox"),
    )
    .option("--new-only", "let them only add files to the inbox: none is replaced or deleted")
    .option(
      "--listen <address>",
      `where to listen; can be repeated (default: port ${DEFAULT_PORT} of every address)`,
      repeated(parseListenAddress),
    )
    .addOption(new Option("--announce").hideHelp())
    .option("--no-announce", "don't let peers find this device on the local network (mDNS)")
    .option("--no-modes", "don't let peers decide which files in the inbox can be run")
    .addOption(new Option("--verbose").hideHelp())
    .example("degu serve --share ~/Pictures", "to read")
    .example("degu serve --inbox", "to write, each into its own directory of ~/Inbox")
    .example("degu serve --share ~/Shared --inbox-for-all ~/Shared", "one directory for everything")
    .example(
      "degu serve --share ~/Pictures --inbox ~/Inbox --listen 192.168.1.7",
      "both, at one address",
    )
    .does(serve);
}

async function serve(context: Context, options: ServeOptions): Promise<void> {
  const { home, output, signal } = context;
  await using device = await openOrMakeDevice(context);
  const { share, inbox } = await checkDirectories(options, home, output);
  const served = { name: device.name, share, inbox };
  const isForAll = options.inboxForAll !== undefined;
  // Units of an earlier version may have these.
  if (options.verbose) output.warn("--verbose has no effect any more: remove it");
  if (options.announce) output.warn("--announce has no effect any more: remove it");
  using events = new ServeEvents(output);
  const app = makeServeApp(served, loggerOf(context), (area, event) => events.add(area, event), {
    modes: options.modes !== false,
    write: options.newOnly === true ? "add" : true,
    isForAll,
  });
  if (inbox !== null && !isForAll) await sweep(inbox);
  // What strangers cause is said, too: a line a second for each kind.
  const logger = makeStandardLogger((line, level) => {
    if (level === "info") output.note(explainLine(line));
    else output.warn(explainLine(line));
  });
  using closing = new DisposableStack();
  closing.defer(() => logger.close());
  const servers = await listen((address) => device.serve(address, app, { logger }), options.listen);
  const serving = servers.map((server) => server.serveForever());
  const addresses = servers.map(({ address }) => formatAddress(address));
  await using _record = inbox === null || isForAll
    ? null
    : await new ServingRecords(device.dir).addInbox(inbox);
  output.result(`serving on ${addresses.join(" ")}`, { addresses, ...served });
  const port = options.announce === false ? null : portForOthers(servers);
  const isAnnounced = port !== null && mayUseMdns();
  await using announcement = isAnnounced
    ? announce({ name: device.name, id: device.id, port, logger: loggerOf(context) })
    : null;
  announcement?.announced.then((as) => output.note(`announced in the local network as ${as}`));
  if (port !== null && !isAnnounced) {
    output.note(
      `not announced in the local network: that needs --allow-net=${HOSTS.join(",")} and ` +
        "--allow-sys=networkInterfaces; or use --no-announce",
    );
  }
  if (share === null && inbox === null) {
    output.note(
      "no file is served: add --share DIR to let peers read it, --inbox DIR to let them write it",
    );
  }
  if ((await device.peers()).length === 0) {
    output.note('no device is paired with this one yet: run "degu pair" in another terminal');
  }
  await Promise.race([pause(Infinity, signal), Promise.all(serving)]);
  output.note("finishing what is under way; press Ctrl-C again to end it now");
  await Promise.all(servers.map((server) => server.shutdown()));
  await Promise.all(serving);
}

/** A TCP port at which other machines reach this one; `null` without. */
function portForOthers(servers: readonly DeviceServer[]): number | null {
  for (const { address } of servers) {
    const [host, port] = isUnixAddress(address) ? [] : address;
    if (host !== undefined && !isLoopback(host)) return port!;
  }
  return null;
}

function inboxPath(given: string): string {
  if (given !== DEFAULT_INBOX) return given;
  const person = personalDirectory();
  if (person !== null) return join(person, "Inbox");
  throw new Failure("HOME is not set: name the directory, as in --inbox DIR");
}

/** Resolves when the servers serve; without addresses there is one, at every address. */
export async function listen(
  start: (address: Address) => Promise<DeviceServer>,
  given: Address[] | undefined,
  port: number = DEFAULT_PORT,
): Promise<DeviceServer[]> {
  const bind = (address: Address) =>
    start(address).catch((error) => {
      throw listenError([address], error);
    });
  if (given !== undefined) return await Promise.all(given.map(bind));
  try {
    return [await bind(["::", port])];
  } catch (error) {
    // A machine without IPv6 listens with IPv4 alone.
    if (error instanceof Failure || error instanceof Deno.errors.NotCapable) throw error;
    return [await bind(["0.0.0.0", port])];
  }
}

export type Served = Readonly<Record<Area, string | null> & { name: string }>;

/** The answer for the path `/`. */
export type About = Readonly<Record<Area, boolean> & { name: string }>;

/** What peers may do in the inbox, and whether it is one directory for all of them. */
interface InboxOptions extends Pick<FilesOptions, "modes" | "write"> {
  readonly isForAll?: boolean;
}

/**
 * Makes the app: the share below `/share/`, the inbox below `/inbox/`, and at `/` a report which of
 * the two exist.
 *
 * @param options `modes` and `write` are those of the inbox.
 */
export function makeServeApp(
  { name, share, inbox }: Served,
  logger: Pick<Logger, "warn">,
  onFile: (area: Area, event: FileEvent) => void,
  { isForAll = false, write = true, modes = true }: InboxOptions = {},
): AppFunction {
  const about: About = { name, share: share !== null, inbox: inbox !== null };
  const bytes = new TextEncoder().encode(JSON.stringify(about));
  const apps = new Map<string | null, Pick<AppObject, "handle">>();
  const files = (area: Area, dir: string, top: readonly string[], options: FilesOptions) => {
    const report = (event: FileEvent) => onFile(area, { ...event, path: [...top, ...event.path] });
    return new FilesApp(dir, { list: true, reuse: true, logger, onFile: report, ...options });
  };
  if (share !== null) apps.set("share", files("share", share, [], {}));
  if (inbox !== null && isForAll) apps.set("inbox", files("inbox", inbox, [], { write, modes }));
  else if (inbox !== null) {
    const directories = new Inbox(inbox);
    const appOf = (peer: Peer): AppFunction => {
      let name: string | null = null;
      let app: FilesApp | null = null;
      return async (request, session) => {
        try {
          name ??= await directories.directoryOf(peer);
          await directories.make(name);
          app ??= files("inbox", join(inbox, name), [name], { write, modes });
        } catch (error) {
          const refusal = refusalOf(error);
          if (refusal === null) throw error;
          logger.warn(`${peer.name}: ${refusal.message}`);
          return refusal.answer(request);
        }
        return await app.handle(request, session);
      };
    };
    apps.set("inbox", perPeer(appOf));
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

/** Removes what was left unfinished a day ago, also by peers that don't come back. */
async function sweep(inbox: string): Promise<void> {
  // Each app does so when it is made.
  for (const dir of await new Inbox(inbox).directories()) new FilesApp(dir, { write: true });
}

function keysInside(option: string, dir: string, device: string): Failure {
  return new Failure(
    `${option}: ${dir} has the directory of the device in it, ${device}, or is in that, so peers could read its ` +
      "keys: serve another directory, or move the device and say where it is with --home",
    USAGE,
  );
}

/**
 * Checks the directories of the options together, and makes a missing inbox.
 *
 * @returns Their real paths.
 */
export async function checkDirectories(
  { share: shared, inbox: ofEach, inboxForAll: forAll, newOnly = false }: ServeOptions,
  home: string,
  output: Output,
): Promise<{ readonly share: string | null; readonly inbox: string | null }> {
  const given = forAll ?? ofEach;
  if (given === undefined && newOnly) {
    throw new Failure("--new-only is for an inbox: add --inbox", USAGE);
  }
  const checkShare = async () => shared === undefined ? null : await checkServed(shared, home);
  if (given === undefined) return { share: await checkShare(), inbox: null };
  const dir = inboxPath(given);
  if (forAll !== undefined) {
    const inbox = await checkInbox(dir, home, output, { option: "--inbox-for-all" });
    // If both are one directory, it may have just been made.
    return { share: await checkShare(), inbox };
  }
  const share = await checkShare();
  const check = async (path: string) => {
    if (share !== null && overlap(share, path)) {
      throw new Failure(
        `--share: ${share} has the inbox in it, ${path}, or is in that, so peers could read the files of others: ` +
          "share another directory, or use --inbox-for-all",
        USAGE,
      );
    }
    await new Inbox(path).check();
  };
  return { share, inbox: await checkInbox(dir, home, output, { check }) };
}

/**
 * Checks the directory of `--share` or `--inbox`, and returns its real path. The directory of the
 * device may be neither inside it nor around it.
 */
export async function checkServed(
  dir: string,
  home: string,
  option = "--share",
): Promise<string> {
  const path = await labelled(option, ifThere(Deno.realPath(dir)));
  if (path === null) {
    const problem = `${option}: there is no directory ${dir}; make it first: mkdir -p ${dir}`;
    throw new Failure(problem, FAILED, { code: "NOT_THERE", path: dir });
  }
  if (!(await Deno.stat(path)).isDirectory) {
    throw new Failure(`${option}: ${dir} is no directory: name the one that it is in`);
  }
  // A missing permission is reported now, not at the first request of a peer.
  await labelled(option, canBeUsed(path));
  const own = await Deno.realPath(home);
  if (overlap(path, own)) throw keysInside(option, dir, own);
  return path;
}

async function canBeUsed(dir: string): Promise<void> {
  for await (const { name } of Deno.readDir(dir)) {
    // Permission to list a directory doesn't include permission to use its files.
    await ifThere(Deno.lstat(join(dir, name)));
    return;
  }
}

/** Writes a file with a reserved name, which no peer sees, and removes it. */
export async function canBeWritten(dir: string): Promise<void> {
  const path = join(dir, `.${crypto.randomUUID()}.degu-part`);
  (await Deno.open(path, { write: true, createNew: true })).close();
  await Deno.remove(path);
}

/** Names the option in the error of a promise that rejects. */
function labelled<T>(option: string, result: Promise<T>): Promise<T> {
  return result.catch((error) => {
    throw labelledError(option, error);
  });
}

function labelledError(option: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) return error;
  return new Failure(`${option}: ${explain(error)}`, FAILED, { cause: error });
}

/**
 * Checks the directory of an inbox in the same way. A missing directory is made, for its owner
 * alone; its parents are not, since a typing error in a path should not make a tree.
 *
 * @param options The option that has named it, and a further check.
 */
export async function checkInbox(
  dir: string,
  home: string,
  output: Output,
  { option = "--inbox", check }: {
    readonly option?: string;
    readonly check?: (path: string) => Promise<void>;
  } = {},
): Promise<string> {
  // Making the directory also shows now, not at the first upload, whether its parent may be
  // written.
  const isMade = await Deno.mkdir(dir, { mode: 0o700 }).then(() => true, (error) => {
    const { AlreadyExists, NotFound, NotADirectory } = Deno.errors;
    const isKnown = [AlreadyExists, NotFound, NotADirectory].some((each) => error instanceof each);
    if (!isKnown) throw labelledError(option, error);
    return false; // the check below reports the known errors
  });
  try {
    const path = await checkServed(dir, home, option);
    await canBeWritten(path).catch((error) => {
      // A peer may have filled the disk, and the inbox must still be served after that.
      if (codeOf(error) !== "FULL") throw labelledError(option, error);
      output.warn(`${option}: ${explain(error)}`);
    });
    await check?.(path);
    if (isMade) output.note(`created ${path}`);
    return path;
  } catch (error) {
    if (isMade) await Deno.remove(dir);
    throw error;
  }
}

/** The silence of a peer after which a line sums up its actions. */
const SILENCE_MILLISECONDS = 1000;
const VERBS = { get: "downloaded", put: "uploaded", delete: "deleted" } as const;

/** The actions of a peer since its last silence. */
interface Activity {
  readonly name: string;
  /** The first of the actions. */
  readonly text: string;
  count: number;
  cut: number;
  readonly sums: Map<FileEvent["action"], { files: number; bytes: number; last: string }>;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/**
 * Reports the files that peers get, put and delete: with `--json` as an object for each file,
 * otherwise as a line for each peer that falls silent. A failing output is reported once, and
 * serving continues.
 */
export class ServeEvents implements Disposable {
  readonly #output: Output;
  readonly #activities = new Map<string, Activity>();
  #isLost = false;
  #isDisposed = false;

  constructor(output: Output) {
    this.#output = output;
  }

  add(area: string, { session, action, status, bytes, complete, path: names }: FileEvent): void {
    if (session === undefined) return;
    const { id, name } = peerOf(session);
    const path = [area, ...names].join("/");
    if (this.#output.json) {
      return this.#print({ event: action, peer: name, id, path, status, bytes, complete });
    }
    const size = `${formatBytes(bytes)}${complete ? "" : ", cut off"}`;
    const text = `${name} ${VERBS[action]} ${path}${action === "delete" ? "" : ` (${size})`}`;
    const activity = this.#activities.get(id) ??
      { name, text, count: 0, cut: 0, sums: new Map(), timer: undefined };
    this.#activities.set(id, activity);
    const sum = activity.sums.get(action) ?? { files: 0, bytes: 0, last: "" };
    activity.sums.set(action, sum);
    // A resumed file takes several exchanges.
    if (sum.last !== path) sum.files++;
    sum.last = path;
    sum.bytes += bytes;
    activity.count++;
    if (!complete) activity.cut++;
    clearTimeout(activity.timer);
    // A download that the end of the server has cut is reported after that end.
    if (this.#isDisposed) this.#flush(id);
    else activity.timer = setTimeout(() => this.#flush(id), SILENCE_MILLISECONDS);
  }

  #print(object: Record<string, unknown>): void {
    try {
      this.#output.result("", object);
    } catch (error) {
      if (!this.#isLost) this.#output.warn(`what peers do can't be reported: ${explain(error)}`);
      this.#isLost = true;
    }
  }

  #flush(id: string): void {
    const { name, text, count, cut, sums, timer } = this.#activities.get(id)!;
    this.#activities.delete(id);
    clearTimeout(timer);
    if (count === 1) return this.#output.note(text);
    const parts = Array.from(sums, ([action, { files, bytes }]) => {
      const size = action === "delete" ? "" : ` (${formatBytes(bytes)})`;
      return `${VERBS[action]} ${counted(files, "file")}${size}`;
    });
    this.#output.note(`${name} ${parts.join(", ")}${cut === 0 ? "" : `; ${cut} cut off`}`);
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const id of [...this.#activities.keys()]) this.#flush(id);
  }
}
