import { type Address, formatAddress } from "@degu/degu/base";
import { type DeviceServer, type Peer, peerOf } from "@degu/degu/device";
import { announce, DISCOVERY_HOSTS, isDiscoveryPermitted } from "@degu/degu/device/discovery";
import { FilesApp } from "@degu/degu/files";
import { type AppObject, type Session, standardLogger } from "@degu/degu/server";
import { pause } from "../machine/pause.ts";
import {
  checkCanListen,
  isReachableByOthers,
  listen,
  listUsableAddresses,
} from "../machine/addresses.ts";
import { type Context, VERSIONS_OF_PEERS } from "../machine/context.ts";
import { makeLogger, openDevice, openOrCreateDevice } from "../machine/open_device.ts";
import { formatCount, type Output, PAIR_ADVICE } from "../terminal/output.ts";
import {
  explain,
  explainDiscoveryProblem,
  makeRewordingLogger,
  type PeerRequest,
} from "../words/explain.ts";
import { Failure } from "../failure.ts";
import { ServeEvents } from "../serve/serve_events.ts";
import { markInbox } from "../machine/inbox_marker.ts";
import { type InboxPeer, makeServeApp, removeOldUploads } from "../serve/serve_app.ts";
import {
  checkDirectories,
  checkServesAny,
  type DirectoryOptions,
} from "../serve/served_directories.ts";

export interface ServeOptions extends DirectoryOptions {
  readonly listen?: Address[];
  readonly announce?: boolean;
}

export async function serve(context: Context, options: ServeOptions): Promise<void> {
  checkServesAny(options);
  const { home, output, signal } = context;
  const checkArguments = async () => {
    await checkCanListen(options.listen);
    await checkDirectories(options, home, output);
  };
  await using device = options.create === false
    ? await openDevice(context)
    : await openOrCreateDevice(context, checkArguments);
  const { share, inbox } = await checkDirectories(options, home, output);
  const directories = { name: device.name, share, inbox };
  const isForAll = options.inboxForAll !== undefined;
  using events = new ServeEvents(output);
  // Strangers can cause these lines, so their number is limited.
  using refusalLogger = standardLogger({ print: (line) => output.warn(line) });
  const peerRequests = new PeerRequests();
  const findRequest = (connectionName: string) => peerRequests.find(connectionName);
  const filesLogger = makeRewordingLogger(
    (level, line) => refusalLogger[level === "warn" ? "info" : level](line),
    findRequest,
  );
  const handle = makeServeApp(directories, filesLogger, (area, event) => events.add(area, event), {
    write: options.newOnly === true ? "add" : true,
    keep: options.keep,
    isForAll,
    onInboxDirectory: (peer, directory) => peerRequests.addInboxDirectory(peer, directory),
  });
  const app: AppObject = {
    onConnect: (session) => {
      peerRequests.add(session);
      return true;
    },
    handle: (request, session, api) => {
      peerRequests.add(session, request.path);
      return handle(request, session, api);
    },
  };
  if (inbox !== null) {
    // Serve the inbox also if a peer has filled the disk.
    await markInbox(inbox).catch((error: unknown) => output.warn(explain(error)));
  }
  if (inbox !== null && !isForAll) await removeOldUploads(inbox);
  if (inbox !== null && options.keep !== undefined) {
    checkVersions(inbox, options.keep, output);
  }
  using serverLogger = standardLogger({
    // The lines of a stack.
    print: (lines, level) =>
      lines.split("\n").forEach((line) => level === "info" ? output.note(line) : output.warn(line)),
  });
  const logger = makeRewordingLogger(serverLogger.record, findRequest);
  const otherAddresses = await device.serving().catch(() => []);
  if (otherAddresses.length > 0) {
    const list = otherAddresses.map(formatAddress).join(" ");
    output.note(`another server of this device is running on ${list}: one can serve everything`);
  }
  const servers = await listen((address) => device.serve(address, app, { logger }), options.listen);
  using openServers = new DisposableStack();
  // If this function fails, the servers end without a warning of the library.
  for (const server of servers) openServers.defer(() => server.close());
  const serversEnded = servers.map((server) => server.serveForever());
  const addresses = servers.map(({ address }) => formatAddress(address));
  const usableAddresses = servers.flatMap(({ address }) => listUsableAddresses(address));
  output.printResult([
    `serving on ${[...new Set(usableAddresses.map(formatAddress))].join(" ")}`,
    ...share === null ? [] : [`share, which peers can read: ${share}`],
    ...inbox === null ? [] : [
      `inbox, ${isForAll ? "which all peers share" : "with a directory for each peer"}: ${inbox}`,
    ],
  ], { addresses, ...directories });
  const port = options.announce === false ? null : findExternalPort(servers);
  const isAnnounced = port !== null && isDiscoveryPermitted();
  await using announcement = isAnnounced
    ? announce(device, port, { logger: makeLogger(context) })
    : null;
  announcement?.announced.then((announcedName) => output.note(describeAnnouncement(announcedName)));
  if (port !== null && !isAnnounced) {
    output.note(
      `not announced in the local network: that needs --allow-net=${
        DISCOVERY_HOSTS.join(",")
      } and ` +
        "--allow-sys=networkInterfaces; or use --no-announce",
    );
  }
  // An error of the disk, which the library logs, must not end the server.
  const peers = await device.peers().catch(() => null);
  if (peers?.length === 0) {
    output.note(`there are no peers: ${PAIR_ADVICE}`);
  }
  await Promise.race([pause(Infinity, signal), Promise.all(serversEnded)]);
  output.note("stopping after the running transfers; press Ctrl-C again to stop immediately");
  await Promise.all(servers.map((server) => server.shutdown()));
  await Promise.all(serversEnded);
}

function describeAnnouncement(name: string): string {
  const problem = explainDiscoveryProblem();
  if (problem === null) return `announced in the local network as ${name}`;
  return problem.code === "no network"
    ? `${problem.text}: announced on it as ${name}, and in the local network once it has one`
    : `not announced, because ${problem.text}: on other devices, give an address of this device with --address`;
}

/** Log lines also refer to connections that have ended. */
const MAX_REMEMBERED_CONNECTIONS = 1000;

class PeerRequests {
  readonly #requestsByConnection = new Map<
    string,
    { readonly peer: Peer; readonly path: readonly string[] }
  >();
  readonly #inboxDirectories = new Map<string, string>();

  addInboxDirectory({ id }: InboxPeer, directory: string): void {
    this.#inboxDirectories.set(id, directory);
  }

  add(session: Session, path: readonly string[] = []): void {
    const connectionName = `${session}`;
    this.#requestsByConnection.delete(connectionName);
    this.#requestsByConnection.set(connectionName, { peer: peerOf(session), path: [...path] });
    const [oldestConnection] = this.#requestsByConnection.keys();
    if (this.#requestsByConnection.size > MAX_REMEMBERED_CONNECTIONS) {
      this.#requestsByConnection.delete(oldestConnection!);
    }
  }

  find(connectionName: string): PeerRequest | undefined {
    const request = this.#requestsByConnection.get(connectionName);
    if (request === undefined) return undefined;
    const { peer, path } = request;
    return { peer: peer.name, file: this.#formatPath(peer, path) };
  }

  #formatPath({ id }: Peer, [area, ...names]: readonly string[]): string | undefined {
    if (area === undefined || area === "") return undefined;
    const directory = area === "inbox" ? this.#inboxDirectories.get(id) : undefined;
    return [area, ...directory === undefined ? [] : [directory], ...names].join("/");
  }
}

function findExternalPort(servers: readonly DeviceServer[]): number | null {
  const [firstAddress] = servers.map(({ address }) => address).filter(isReachableByOthers);
  return firstAddress?.[1] ?? null;
}

/** Checks that versions can be kept. */
function checkVersions(inbox: string, days: number, output: Output): void {
  try {
    new FilesApp(inbox, { write: true, keep: days });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotSupported)) throw error;
    const problem =
      `--keep: ${error.message}: leave out --keep, or name a directory on another disk`;
    throw new Failure(problem, null, { path: inbox });
  }
  output.note(`keeping ${VERSIONS_OF_PEERS}, for ${formatCount(days, "day")}`);
}
