/**
 * `degu serve`: shares a directory, and takes files into another one.
 *
 * @module
 */

import type { Command } from "npm:commander@^15.1.0";
import { type Address, formatAddress, type Response, type ResponseTuple } from "../../base.ts";
import type { Device, DeviceServer } from "../../device.ts";
import { type FileEvent, FilesApp } from "../../files.ts";
import type { AppObject, Logger, Request, Session } from "../../server.ts";
import { announce } from "../mdns/announce.ts";
import {
  addAddresses,
  addExamples,
  DEFAULT_PORT,
  notOfThisMachine,
  parseListenAddress,
  parseOnce,
  type Run,
} from "../commands.ts";
import { type Context, loggerOf, openDevice } from "../context.ts";
import { FAILED, Failure, USAGE } from "../failure.ts";
import { ServeEvents } from "../serve_events.ts";
import { isIn } from "../own_directory.ts";

/** The options of `degu serve`. */
interface Options {
  readonly share?: string;
  readonly inbox?: string;
  readonly listen?: Address[];
  readonly announce?: boolean;
  readonly verbose?: boolean;
}

/** Adds `degu serve`. */
export function addServe(program: Command, run: Run): void {
  const command = program.command("serve")
    .summary("share a directory, and take files into another one")
    .description(
      "Serves the paired devices, and nobody else, until SIGINT or SIGTERM: these finish what is under way, and a " +
        "second one ends it. Devices that are paired while it runs can connect at once.",
    )
    .option("--share <dir>", "a directory that they can read: ls, get, sync", parseOnce)
    .option(
      "--inbox <dir>",
      "a directory that they can read, write and delete in: put, rm, sync; made if it is not there",
      parseOnce,
    );
  addAddresses(
    command,
    "--listen <address>",
    `where to listen; can be repeated (default: port ${DEFAULT_PORT} of every address)`,
    parseListenAddress,
  );
  command.option("--announce", "let peers find this device on the local network (mDNS)");
  command.option("--verbose", "print a line for each file, not one for all that a peer does");
  command.action((options: Options, command: Command) =>
    run(command, (context) => serve(context, options))
  );
  addExamples(command, [
    ["degu serve --share ~/Pictures", "to read"],
    ["degu serve --inbox ~/Inbox", "to write"],
    ["degu serve --share ~/Pictures --inbox ~/Inbox --listen 192.168.1.7", "both, at one address"],
  ]);
}

async function serve(context: Context, options: Options): Promise<void> {
  const { output, signal } = context;
  await using device = await openDevice(context);
  const served = await readServed(context, device, options);
  using events = new ServeEvents(output, options);
  const app = new ServeApp(served, loggerOf(context), (area, event) => events.add(area, event));
  const start: Listen = (address) => device.listen(address, app);
  const servers = await listen(start, options.listen);
  const serving = servers.map((server) => server.serveForever());
  const addresses = servers.map(({ address }) => formatAddress(address));
  output.result(`serving on ${addresses.join(" ")}`, { addresses, ...served });
  await using _announcement = options.announce === true
    ? startAnnouncing(context, device, servers)
    : null;
  await advise(context, device, served);
  await Promise.race([aborted(signal), Promise.all(serving)]);
  output.note("finishing what is under way; press Ctrl-C again to end it now");
  await Promise.all(servers.map((server) => server.shutdown()));
  await Promise.all(serving);
}

async function readServed(
  { home, output }: Context,
  { name }: Device,
  { share, inbox }: Options,
): Promise<Served> {
  const shared = share === undefined ? null : await checkServed("--share", share, home);
  const taking = inbox === undefined ? null : await checkServed("--inbox", inbox, home);
  if (taking?.isMade === true) output.note(`created ${taking.path}`);
  return { name, share: shared?.path ?? null, inbox: taking?.path ?? null };
}

/** Makes a server at an address. */
type Listen = (address: Address) => DeviceServer;

/** Listens on all addresses; resolves when they are bound. */
async function listen(start: Listen, given: Address[] | undefined): Promise<DeviceServer[]> {
  if (given !== undefined) return await Promise.all(given.map((each) => bind(start, each)));
  try {
    return [await bind(start, ["::", DEFAULT_PORT])];
  } catch (error) {
    // A machine without IPv6.
    if (error instanceof Failure || error instanceof Deno.errors.NotCapable) throw error;
    return [await bind(start, ["0.0.0.0", DEFAULT_PORT])];
  }
}

async function bind(start: Listen, address: Address): Promise<DeviceServer> {
  const server = start(address);
  try {
    await server.ready;
    return server;
  } catch (error) {
    const text = formatAddress(address);
    if (error instanceof Deno.errors.AddrInUse) {
      throw new Failure(
        FAILED,
        `${text} is in use: does another "degu serve" run? If it is another program, take another port, as in ` +
          `--listen ${text.replace(/\d+$/, "7444")}`,
        { cause: error },
      );
    }
    if (!(error instanceof Deno.errors.AddrNotAvailable) || address[0] === "::") throw error;
    throw notOfThisMachine([address], error);
  }
}

/** Announces the device on the local network until it is disposed of. */
function startAnnouncing(
  context: Context,
  { name, id }: Device,
  servers: readonly DeviceServer[],
): AsyncDisposable | null {
  const port = servers.map(({ address }) => address).find((each) => Array.isArray(each))?.[1];
  if (typeof port !== "number") return null; // Unix sockets alone
  const announcement = announce({ name, id, port, logger: loggerOf(context) });
  announcement.announced.then((as) =>
    context.output.note(`announced in the local network as ${as}`)
  );
  return announcement;
}

/** Warns about whatever still keeps peers from using the server. */
async function advise(
  { output }: Context,
  device: Device,
  { share, inbox }: Served,
): Promise<void> {
  if (share === null && inbox === null) {
    output.note(
      "no file is served: add --share DIR to let peers read it, --inbox DIR to let them write it",
    );
  }
  if ((await device.peers()).length > 0) return;
  output.note('no device is paired with this one yet: run "degu invite" in another terminal');
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** What is served. */
export interface Served {
  /** The name of the device. */
  readonly name: string;
  /** The directory that peers can read; `null` for none. */
  readonly share: string | null;
  /** The directory that peers can read and write; `null` for none. */
  readonly inbox: string | null;
}

/** What the path `/` answers with. */
export type About = { readonly [Key in keyof Served]: Key extends "name" ? string : boolean };

const NOT_FOUND: ResponseTuple = [404, "Not Found", {}, null];
const encoder = new TextEncoder();

/** Serves the share below `/share/`, the inbox below `/inbox/`, and at `/` reports which of them exist. */
export class ServeApp implements AppObject {
  readonly #about: Uint8Array;
  readonly #apps: ReadonlyMap<string | null, FilesApp>;

  /**
   * Serves directories.
   *
   * @param onFile Called for each file that a peer gets, puts or deletes, with the directory that it is in.
   * @throws what {@linkcode FilesApp} does.
   */
  constructor(
    { name, share, inbox }: Served,
    logger: Pick<Logger, "warn">,
    onFile: (area: "share" | "inbox", event: FileEvent) => void = () => {},
  ) {
    const about: About = { name, share: share !== null, inbox: inbox !== null };
    this.#about = encoder.encode(JSON.stringify(about));
    const apps = new Map<string | null, FilesApp>();
    const optionsOf = (area: "share" | "inbox") => {
      return { list: true, logger, onFile: (event: FileEvent) => onFile(area, event) };
    };
    if (share !== null) apps.set("share", new FilesApp(share, optionsOf("share")));
    if (inbox !== null) {
      apps.set("inbox", new FilesApp(inbox, { ...optionsOf("inbox"), write: true }));
    }
    this.#apps = apps;
  }

  /** Answers a request. */
  handle(
    request: Request,
    session: Session,
  ): ResponseTuple | Response | Promise<ResponseTuple | Response> {
    const part = request.shiftPath();
    const app = this.#apps.get(part);
    if (app !== undefined) return app.handle(request, session);
    if (part !== null) return NOT_FOUND;
    if (request.method !== "GET") return [405, "only GET", { allow: "GET" }, null];
    return [200, "OK", { "content-type": "application/json" }, this.#about];
  }
}

/** A directory to serve. */
export interface ServedDirectory {
  /** Its real path. */
  readonly path: string;
  /** Whether it is new. */
  readonly isMade: boolean;
}

/**
 * Checks the directory of `--share` or `--inbox`. An inbox that is not there is made, for its owner alone, if the directory
 * that it is to be in is there.
 *
 * @throws {Failure} if there is no such directory, if the permission to write to an inbox is missing, or if the
 * device itself is in it, or it in the device: peers could read its keys.
 */
export async function checkServed(
  option: "--share" | "--inbox",
  dir: string,
  home: string,
): Promise<ServedDirectory> {
  const there = await realDirectory(option, dir);
  const path = there ?? await makeDirectory(option, dir);
  const isMade = there === null;
  const device = await Deno.realPath(home);
  if (isIn(device, path) || isIn(path, device)) {
    if (isMade) await Deno.remove(path);
    throw new Failure(
      USAGE,
      `${option}: ${dir} has the directory of this device in it, ${home}, or is in that, so peers could read its ` +
        "keys: serve another directory, or move the device and say where it is with --home",
    );
  }
  if (option === "--inbox") checkWritable(path);
  return { path, isMade };
}

/** Otherwise this would be noticed only when the first peer is refused. */
function checkWritable(path: string): void {
  if (Deno.permissions.requestSync({ name: "write", path }).state === "granted") return;
  throw new Failure(
    FAILED,
    `--inbox: Requires write access to ${path}, run again with --allow-write=${path}`,
  );
}

/** The real path of a directory; `null` if nothing is there. */
async function realDirectory(option: string, dir: string): Promise<string | null> {
  try {
    const real = await Deno.realPath(dir);
    if ((await Deno.stat(real)).isDirectory) return real;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    if (!(error instanceof Deno.errors.NotADirectory)) throw error;
  }
  throw noDirectory(option, dir);
}

/** Makes an inbox, but not those that it is in: a typing error in a path should not make a tree. */
async function makeDirectory(option: string, dir: string): Promise<string> {
  try {
    if (option !== "--inbox") throw new Deno.errors.NotFound();
    await Deno.mkdir(dir, { mode: 0o700 });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) throw noDirectory(option, dir); // a link to nothing
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Failure(
      FAILED,
      `${option}: there is no directory ${dir}; make it first: mkdir -p ${dir}`,
    );
  }
  return await Deno.realPath(dir);
}

function noDirectory(option: string, dir: string): Failure {
  return new Failure(FAILED, `${option}: ${dir} is no directory`);
}
