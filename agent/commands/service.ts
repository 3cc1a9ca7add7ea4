import type { Command } from "commander";
import { formatAddress } from "@degu/degu/base";
import { join, realPath } from "../machine/paths.ts";
import { DEFAULT_PORT, isUnixAddress } from "../machine/addresses.ts";
import type { CommonOptions, Context } from "../machine/context.ts";
import { checkDeletedInbox } from "../peer/deletions.ts";
import { openDevice, openOrCreateDevice } from "../machine/open_device.ts";
import { findPeer } from "../peer/peer_client.ts";
import { Failure } from "../failure.ts";
import {
  checkMirrorTarget,
  describeMissingDirectory,
  findDeviceDirectory,
  ignoreNotFound,
  toLocalPath,
} from "../machine/local_paths.ts";
import {
  findModule,
  makeConnectPermissions,
  makeCopyPermissions,
  makeDevicePermissions,
  makeRunCommand,
  makeServePermissions,
  mergePermissions,
  type Permissions,
} from "../machine/needed_permissions.ts";
import { parseRemotePath, parseSyncOperands } from "../peer/remote_files.ts";
import { checkDirectories, checkServesAny } from "../serve/served_directories.ts";
import { formatTime } from "../terminal/output.ts";
import type { ServeOptions } from "./serve.ts";
import type { SyncOptions } from "./sync.ts";

interface Units {
  /** The name of the units, without their extensions, unless other units have it. */
  readonly name: string;
  /** The texts by extension. The last unit is enabled. */
  readonly texts: ReadonlyMap<string, string>;
}

/** The time from the end of a run of sync to the next run. */
const DEFAULT_INTERVAL_SECONDS = 60;
/** The name of a unit has at most 255 characters, with its number and its extension. */
const MAX_NAME_LENGTH = 200;

export async function installUnits(
  context: Context,
  command: Command,
  version: string,
): Promise<number> {
  checkSystem();
  const { output } = context;
  const isOnlyPrinted = command.optsWithGlobals<{ readonly print?: boolean }>().print === true;
  const module = findModule(version);
  const { name: baseName, texts } =
    await (command.name() === "serve"
      ? makeServeUnits(context, module, command)
      : makeSyncUnits(context, module, command));
  if (isOnlyPrinted) {
    for (const [extension, text] of texts) {
      const path = join("~/.config/systemd/user", `${baseName}.${extension}`);
      output.printSource(`# ${path}\n${text}`, { path, text });
    }
    return 0;
  }
  const dir = await findUnitDirectory(context).catch((error) => {
    if (!(error instanceof NoSystemdFailure)) throw error;
    const line = `setsid -f degu ${command.name() === "sync" ? "sync --every 60" : "serve"}`;
    throw new Failure(`${error.message}; else run "${line}" with the same options`);
  });
  const service = texts.get("service")!;
  const installedUnits = await readUnits(dir);
  const freeName = findFreeName(installedUnits, baseName, service);
  if (command.name() === "serve") {
    const others = Array.from(installedUnits.keys()).filter((unit) =>
      /^degu(-\d+)?\.service$/.test(unit) && nameOf(unit) !== freeName
    );
    await checkPorts(others, findPorts(service));
    await (await openOrCreateDevice(context)).close();
    await checkDirectories(command.opts<ServeOptions>(), context.home, output);
  }
  await Deno.mkdir(dir, { recursive: true });
  for (const [extension, text] of texts) {
    const path = join(dir, `${freeName}.${extension}`);
    await writeUnit(path, text);
    output.printResult(`wrote ${path}`, { path, text });
  }
  const name = `${freeName}.${[...texts.keys()].at(-1)!}`;
  await runSystemctl("daemon-reload");
  await runSystemctl("enable", name);
  await runSystemctl("restart", name);
  output.note(
    `installed and started ${name}; "loginctl enable-linger" keeps it running when you are not logged in, ` +
      `"journalctl --user --unit ${name.split(".")[0]}" shows its output`,
  );
  return 0;
}

function checkSystem(): void {
  if (Deno.build.os !== "windows") return;
  throw new Failure("degu service needs systemd, which Windows does not have");
}

/** Returns the texts of the units that degu has written, by the names of their files. */
async function readUnits(dir: string): Promise<ReadonlyMap<string, string>> {
  const units = new Map<string, string>();
  if (await ignoreNotFound(Deno.stat(dir)) === null) return units;
  for await (const { name, isFile } of Deno.readDir(dir)) {
    if (!isFile || !/^degu(-\d+|-sync-[\w-]*)?\.(service|timer)$/.test(name)) continue;
    const text = await ignoreNotFound(Deno.readTextFile(join(dir, name)));
    if (text?.startsWith(FIRST_LINE)) units.set(name, text);
  }
  return units;
}

/** Returns the name of the units of the same job, or a name that no units have. */
function findFreeName(units: ReadonlyMap<string, string>, name: string, text: string): string {
  const jobOf = (unit: string) => unit.split("\n")[1];
  for (const [unit, unitText] of units) {
    if (jobOf(unitText) === jobOf(text)) return nameOf(unit);
  }
  const names = new Set(Array.from(units.keys(), nameOf));
  for (let number = 1;; number++) {
    const candidate = number === 1 ? name : `${name}-${number}`;
    if (!names.has(candidate)) return candidate;
  }
}

async function checkPorts(units: readonly string[], ports: readonly number[]): Promise<void> {
  for (const [unit, shown] of await showUnits(units)) {
    const port = findPorts(findCommand(shown) ?? "").find((each) => ports.includes(each));
    if (port === undefined) continue;
    const message = `${unit} has port ${port}: choose another port with --listen`;
    throw new Failure(message, "IN_USE", { fields: { unit, port } });
  }
}

function findPorts(command: string): number[] {
  if (!/\sserve\s/.test(command)) return [];
  const listens = command.matchAll(/\s--listen\s\S*:(\d+)/g);
  const ports = Array.from(listens, ([, port]) => Number(port));
  return ports.length === 0 ? [DEFAULT_PORT] : ports.filter((port) => port !== 0);
}

async function writeUnit(path: string, text: string): Promise<void> {
  if ((await ignoreNotFound(Deno.readTextFile(path)))?.startsWith(FIRST_LINE) === false) {
    const message = `${JSON.stringify(path)} exists, but was not written by degu service install`;
    throw new Failure(message, "ALREADY_EXISTS", { path });
  }
  await Deno.writeTextFile(path, text);
}

/** @param service The name of the only service to remove. */
export async function removeUnits(context: Context, service?: string): Promise<void> {
  checkSystem();
  const { output } = context;
  const dir = await findUnitDirectory(context);
  const names = [...(await readUnits(dir)).keys()].filter((unit) =>
    service === undefined || nameOf(unit) === nameOf(service)
  ).toSorted();
  if (names.length === 0) {
    if (service === undefined) return output.note(NO_SERVICE_MESSAGE);
    const message = `degu service install has not installed ${JSON.stringify(service)}`;
    throw new Failure(message, "NOT_FOUND");
  }
  await runSystemctl("disable", ...names);
  // systemd refuses to stop a unit that does not run and whose file it can't read.
  const stoppable = Array.from(await showUnits(names)).filter(([, { LoadState, ActiveState }]) =>
    LoadState === "loaded" || ActiveState !== "inactive"
  ).map(([name]) => name);
  if (stoppable.length > 0) await runSystemctl("stop", ...stoppable);
  for (const name of names) {
    await Deno.remove(join(dir, name));
    output.printResult(`removed ${join(dir, name)}`, { removed: join(dir, name) });
  }
  await runSystemctl("daemon-reload");
}

export async function listServices(context: Context): Promise<void> {
  checkSystem();
  const { output } = context;
  const units = [...(await readUnits(await findUnitDirectory(context))).keys()];
  if (units.length === 0) return output.note(NO_SERVICE_MESSAGE);
  const names = [...new Set(units.map(nameOf))].toSorted();
  const timers = names.map((name) => `${name}.timer`);
  const text = await runSystemctl("list-timers", "--output=json", ...timers);
  const runs: { readonly activates: string; readonly next: number | null }[] = JSON.parse(text);
  const formatRun = (time: Date | null) => time === null ? "none" : formatTime(time);
  for (const [unit, shown] of await showUnits(names.map((name) => `${name}.service`))) {
    const next = runs.find(({ activates }) => activates === unit)?.next ?? null;
    const nextRun = next === null ? null : new Date(next / 1000);
    const { ExecMainStartTimestamp: start, ExecMainExitTimestamp: end } = shown;
    const lastRun = start === "" ? null : new Date(start);
    // CLD_EXITED of waitid(2) is 1. For a signal, the exit code is as in a shell.
    const base = shown.ExecMainCode === "1" ? 0 : 128;
    const exitCode = end === "" ? null : base + Number(shown.ExecMainStatus);
    const state = shown.LoadState === "loaded" ? shown.ActiveState : shown.LoadState;
    const command = findCommand(shown);
    const last = `last run ${formatRun(lastRun)}, exit code ${exitCode ?? "none"}`;
    output.printResult([
      `${unit}: ${state}; ${last}; next run ${formatRun(nextRun)}`,
      `  ${command ?? "(no command)"}`,
    ], { unit, state, command, lastRun, exitCode, nextRun });
  }
}

const NO_SERVICE_MESSAGE = "degu service install has not installed any service";

function nameOf(unit: string): string {
  return unit.replace(/\.(service|timer)$/, "");
}

const SHOWN_PROPERTIES = [
  "Id",
  "LoadState",
  "ActiveState",
  "ExecStart",
  "ExecMainStartTimestamp",
  "ExecMainExitTimestamp",
  "ExecMainCode",
  "ExecMainStatus",
] as const;

/** The properties of a unit, which are empty if systemd doesn't know them. */
type ShownUnit = Readonly<Record<typeof SHOWN_PROPERTIES[number], string>>;

async function showUnits(units: readonly string[]): Promise<ReadonlyMap<string, ShownUnit>> {
  if (units.length === 0) return new Map();
  const text = await runSystemctl("show", `--property=${SHOWN_PROPERTIES}`, ...units);
  const shownUnits = text.split("\n\n").map((lines) => {
    const find = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(lines)?.[1] ?? "";
    return Object.fromEntries(SHOWN_PROPERTIES.map((name) => [name, find(name)])) as ShownUnit;
  });
  return new Map(shownUnits.map((shown) => [shown.Id, shown]));
}

/** Returns the command without Deno and its flags. systemd doesn't quote its words. */
function findCommand({ ExecStart }: ShownUnit): string | null {
  const [, words] = / argv\[\]=(.*?) ; ignore_errors=/.exec(ExecStart) ?? [];
  return words?.replace(/^.*? (?=--home )/, "degu ").replaceAll("$$", () => "$") ?? null;
}

const NO_BUS_PATTERN = /^Failed to connect to .*\b(bus|scope)\b/i;
const NOT_LOGGED_IN_MESSAGE =
  "the systemd of this user does not run: if this machine has systemd, log in as this user, but not " +
  'with su or sudo, or run "loginctl enable-linger"';

class NoSystemdFailure extends Failure {}

async function runSystemctl(...args: string[]): Promise<string> {
  // With a value of LD_PRELOAD or LD_LIBRARY_PATH, Deno does not run what --allow-run names.
  const env = { TZ: "UTC", LD_PRELOAD: "", LD_LIBRARY_PATH: "" };
  const command = new Deno.Command("systemctl", { args: ["--user", ...args], env });
  try {
    const { success, stdout, stderr } = await command.output();
    if (success) return new TextDecoder().decode(stdout);
    const problem = new TextDecoder().decode(stderr).trim();
    if (NO_BUS_PATTERN.test(problem)) throw new NoSystemdFailure(NOT_LOGGED_IN_MESSAGE);
    throw new Failure(`systemctl --user ${args[0]}: ${problem}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      const message = "Deno does not permit degu to run systemctl (--allow-run=systemctl)";
      throw new Failure(message, "NOT_PERMITTED", { cause: error });
    }
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new NoSystemdFailure("there is no systemd on this machine", null, { cause: error });
  }
}

/** Asks systemd for the directory, because the environment of systemd may differ. */
async function findUnitDirectory({ output, askDeno }: Context): Promise<string> {
  const permission = { name: "run", command: "systemctl" } as const;
  const { state } = Deno.permissions.querySync(permission);
  if (state === "prompt" && output.streams.stdin.isTerminal()) {
    output.note("degu needs systemctl, to start and stop services: if Deno asks, type y");
    askDeno?.(permission);
  }
  const text = await runSystemctl("show", "--property=UnitPath", "--value");
  // A path with a space or another special character is quoted.
  const paths = Array.from(
    text.matchAll(/"((?:[^"\\]|\\.)*)"|\S+/g),
    ([word, quoted]) => quoted?.replaceAll(/\\(.)/g, "$1") ?? word,
  );
  const path = paths.find((path) => path.endsWith("/systemd/user.control"));
  if (path === undefined) {
    const message = "systemctl --user show: UnitPath has no directory systemd/user.control; got ";
    throw new Failure(`${message}${JSON.stringify(text.trim())}`);
  }
  return path.replace(/\.control$/, "");
}

async function makeServeUnits(
  context: Context,
  module: string,
  command: Command,
): Promise<Units> {
  const options = command.opts<ServeOptions>();
  checkServesAny(options);
  const { home, output } = context;
  // The inbox is created once it is known that the service can be installed.
  const { share, inbox } = await checkDirectories(options, home, output, false);
  const inboxOption = options.inboxForAll === undefined ? "inbox" : "inboxForAll";
  const { listen = [], announce = true } = options;
  if (listen.some(isUnixAddress)) {
    throw new Failure("--listen: a service can listen only at IP addresses", "USAGE");
  }
  const permissions = await makeServePermissions(home, {
    share: share === null ? [] : [share],
    inbox: inbox === null ? [] : [inbox],
    listen,
    announce,
  });
  const serveOptions = formatOptions(command, { share, [inboxOption]: inbox }, ["create"]);
  const args = ["serve", ...serveOptions, "--no-create"];
  const unitSection = formatUnitSection(["serve", home], "Degu: files for paired devices");
  const unit = `${unitSection}Documentation=https://jsr.io/@degu/degu

[Service]
ExecStart=${formatCommandLine([module, "--home", home], permissions, args)}
Restart=on-failure
RestartSec=5
TimeoutStopSec=5min
LimitNOFILE=4096
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=default.target
`;
  return { name: "degu", texts: new Map([["service", unit]]) };
}

async function makeSyncUnits(
  context: Context,
  module: string,
  command: Command,
): Promise<Units> {
  const [from = "", to = ""] = command.args;
  const { isDownload, remote, local: localOperand } = parseSyncOperands(from, to);
  const path = parseRemotePath(remote);
  const local = toLocalPath(localOperand);
  const options = command.opts<CommonOptions & SyncOptions>();
  const { delete: mayDelete = false, dryRun = false, move = false } = options;
  const { every = DEFAULT_INTERVAL_SECONDS } = options;
  if (dryRun) throw new Failure("--dry-run is for a single run: leave it out", "USAGE");
  if (!isDownload) checkDeletedInbox(path, options);
  await using device = await openDevice(context);
  const peer = await findPeer(device, path.peer);
  const dir = await ignoreNotFound(realPath(local));
  if (dir === null) {
    throw new Failure(await describeMissingDirectory(local));
  }
  if (!(await Deno.stat(dir)).isDirectory) {
    throw new Failure(`${JSON.stringify(local)} is not a directory`);
  }
  const deviceDirectory = await findDeviceDirectory(context.home);
  await deviceDirectory.check(dir);
  if (mayDelete && isDownload) await checkMirrorTarget(dir, context.home);
  const permissions = mergePermissions(
    await makeDevicePermissions(context.home),
    makeCopyPermissions([dir], isDownload, move),
    makeConnectPermissions([peer], options),
  );
  // The timer repeats the run.
  const args = [
    "sync",
    ...formatOptions(command, {}, ["create", "every"]),
    ...isDownload ? ["--no-create"] : [],
    ...isDownload ? [remote, dir] : [dir, remote],
  ];
  const preposition = isDownload ? "from" : "to";
  const remoteNames = [peer.name, ...path.names];
  const name = `degu-sync-${preposition}-${remoteNames.join("-")}`
    .replaceAll(/[^0-9A-Za-z_-]/g, "_").slice(0, MAX_NAME_LENGTH);
  const job = ["sync", context.home, dir, preposition, ...remoteNames];
  const description = `Degu: ${preposition} ${remote.replaceAll("%", "%%")}`;
  const unitSection = formatUnitSection(job, description);
  const service = `${unitSection}
[Service]
Type=oneshot
ExecStart=${formatCommandLine([module, "--home", context.home, "--quiet"], permissions, args)}
`;
  const timer = `${unitSection}
[Timer]
OnActiveSec=1s
OnStartupSec=1min
OnUnitInactiveSec=${every}s
AccuracySec=1s

[Install]
WantedBy=timers.target
`;
  return { name, texts: new Map([["service", service], ["timer", timer]]) };
}

function formatOptions(
  command: Command,
  paths: Readonly<Record<string, string | null>> = {},
  omittedOptions: readonly string[] = [],
): string[] {
  return command.options.flatMap((option) => {
    const { long, flags, negate } = option;
    const name = option.attributeName();
    if (omittedOptions.includes(name)) return [];
    const value = paths[name] ?? command.getOptionValue(name);
    if (negate || value === false) return negate && value === false ? [long!] : [];
    if (value === undefined) return [];
    if (value === true) return [long!];
    // A list whose second item is a number is a single address with a port.
    const valueList = Array.isArray(value) && typeof value[1] !== "number" ? value : [value];
    const isAddress = flags.includes("<address>");
    return valueList.flatMap((item) => [long!, isAddress ? formatAddress(item) : `${item}`]);
  });
}

/** The first line of each generated unit. Other files are neither replaced nor removed. */
const FIRST_LINE = "# Written by degu service install; degu service remove takes it away.\n";

/** @param job What the units are for. Units of another job aren't replaced. */
function formatUnitSection(job: readonly string[], description: string): string {
  return `${FIRST_LINE}# ${JSON.stringify(job)}\n[Unit]\nDescription=${description}\n`;
}

function formatCommandLine(
  program: readonly string[],
  permissions: Permissions,
  args: readonly string[],
): string {
  const quoteAll = (...words: readonly string[]) => words.map(quoteWord).join(" ");
  // A compiled program has the permissions that it was compiled with.
  if (Deno.build.standalone) return [quoteAll(...program), quoteAll(...args)].join(" \\\n  ");
  const words = makeRunCommand(permissions);
  const isPath = (word: string) => /^--allow-(?:read|write)=/.test(word);
  const isOther = (word: string) => /^--allow-/.test(word) && !isPath(word);
  return [
    quoteAll(...words.filter((word) => !isPath(word) && !isOther(word))),
    ...words.filter(isPath).map(quoteWord),
    quoteAll(...words.filter(isOther)),
    quoteAll(...program),
    quoteAll(...args),
  ].join(" \\\n  ");
}

/** Quotes a word for systemd, which expands percent and dollar signs. */
function quoteWord(text: string): string {
  // A line end in a word would begin another line of the unit.
  if (/\p{Cc}/u.test(text)) {
    throw new Failure(
      `${JSON.stringify(text)} can't be in a unit of systemd: it has a control character`,
      "USAGE",
    );
  }
  const literal = text.replaceAll("%", "%%").replaceAll("$", "$$$$");
  const escaped = literal.replaceAll(/["\\]/g, "\\$&");
  return /^[^\s"'\\;]+$/.test(text) ? literal : `"${escaped}"`;
}
