/**
 * Row 11, trees: many small files between two devices, beside rsync.
 *
 * Files are removed only at the end: after many deletions in a block group, ext4 creates files up
 * to ten times more slowly for minutes. `TMPDIR` can name another file system, or a directory in
 * another part of the disk.
 */

import { randomBytes, randomInt } from "node:crypto";
import { connect, createServer } from "node:net";
import { pipeline, Transform } from "node:stream";
import { Device } from "../../device/mod.ts";
import { findUnusedPort } from "../../tests/support/ports.ts";
import type { Contender, Group } from "../measure.ts";
import { findSkip, type RowSetting } from "../pair.ts";
import { hostname, measureSeconds } from "../peer.ts";
import { waitForEntityTags } from "../peers/files.ts";
import { measureProcessorSeconds, readProcessorSeconds, runToEnd, spawn } from "../process.ts";

const filesPerDirectory = 100;
/** The delay of a slow link in each direction, so 20 ms for a round trip. */
const delayMilliseconds = 10;
const thisTree = new URL("../../", import.meta.url).pathname;

/** Installs the program of a tree as a user does; resolves to the path of its launcher. */
async function installDegu(root: string, tree: string): Promise<string> {
  const run = ["deno", "run", "--quiet", "--no-check", "--allow-all"];
  const archive = await runToEnd([...run, `${tree}tools/archive.ts`, root]);
  await runToEnd(["tar", "-xzf", archive.trim(), "--strip-components=1", "-C", root]);
  await runToEnd(["env", `DENO_INSTALL_ROOT=${root}`, "sh", `${root}/install.sh`]);
  return `${root}/bin/degu`;
}

/** The contender that syncs files to the disk, as Degu does. */
const rsyncWithFsync = "rsync --fsync over ssh";

const tasks = ["get", "put", "get again", "put again", "get 1 %", "put 1 %"] as const;
type Task = typeof tasks[number];

export async function* treeGroups(setting: RowSetting): AsyncGenerator<Group, void, undefined> {
  const { trees, isQuick } = setting;
  const requiredCommands = ["rsync --fsync --version", "ssh -V", "test -x /usr/sbin/sshd"];
  const skippedGroup = trees === undefined
    ? await findSkip("11-tree", "Trees of small files", ...requiredCommands)
    : null;
  if (skippedGroup !== null) return yield skippedGroup;
  const count = isQuick ? 1000 : 10_000;
  const sources = { source: count, few: 300 };
  const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "trees" });
  const setup = await makeSetup(root, sources, setting);
  for (const task of tasks) yield makeGroup(setup, task, "source", "time");
  yield makeGroup(setup, "put", "few", "time");
  // A delay changes the time, and not the processor time.
  if (trees !== undefined) return;
  for (const task of ["get", "put"] as const) yield makeGroup(setup, task, "source", "slow");
  for (const source of ["few", "source"] as const) {
    yield makeGroup(setup, "put", source, "processor");
  }
}

/** The names of the directories with files to copy, with their numbers of files. */
type Sources = Readonly<Record<"source" | "few", number>>;

/** What a group measures: the time, also over a slow link, or the processor time of both ends. */
type Figure = "time" | "slow" | "processor";

/** Two paired devices of each version, and an SSH server, all on this machine. */
type Setup = Awaited<ReturnType<typeof makeSetup>>;

async function makeSetup(root: string, sources: Sources, { trees }: RowSetting) {
  // The served directory has the files, but no key.
  const files = `${root}/files`;
  for (const [source, count] of Object.entries(sources)) {
    for (let i = 0; i < count; i++) {
      const directory = `${files}/${source}/d${Math.floor(i / filesPerDirectory)}`;
      if (i % filesPerDirectory === 0) await Deno.mkdir(directory, { recursive: true });
      await Deno.writeFile(`${directory}/file ${i}`, makeContent());
    }
  }
  await Deno.mkdir(`${files}/inbox`);
  await waitForEntityTags();
  const versions = await serveVersions(root, files, trees);
  const sshServer = trees === undefined ? await serveSsh(root) : null;
  return { root, files, sources, versions, sshServer };
}

let targetCount = 0;

/** Makes a group of programs with the same task. */
function makeGroup(setup: Setup, task: Task, source: keyof Sources, figure: Figure): Group {
  const { root, files, sources, versions, sshServer } = setup;
  const isSlow = figure === "slow";
  const title = `${sources[source]} files of 1 to 4 KiB: ${task}`;
  const id = `11-tree-${task.replaceAll(" ", "-")}${source === "few" ? "-few" : ""}`;
  const isGet = task.startsWith("get");
  const makeRsyncCommand = (...flags: string[]) => (port: number, target: string) => [
    ...["rsync", "-a", ...flags, "-e", sshCommand(root, port).join(" ")],
    ...isGet
      ? [`${hostname}:${files}/${source}/`, `${files}/${target}/`]
      : [`${files}/${source}/`, `${hostname}:${files}/inbox/${target}/`],
  ];
  const makeSyncCommand = ({ command }: Version) => (port: number, target: string) => [
    ...[...command, "--quiet", "sync", "--address", `${hostname}:${port}`],
    ...isGet ? [`a:${source}`, `${files}/${target}`] : [`${files}/${source}`, `a:${target}`],
  ];
  const isNewTarget = task === "get" || task === "put";
  const makeContender = (
    name: string,
    port: number,
    makeCommand: ReturnType<typeof makeRsyncCommand>,
    measure: (command: string[]) => Promise<number> = (command) =>
      measureSeconds(() => runToEnd(command)),
  ): Contender => ({
    name,
    async start() {
      const contenderPort = isSlow ? await startSlowRelay(port) : port;
      let target = `target${targetCount++}`;
      const run = () => measure(makeCommand(contenderPort, target));
      await run();
      return async () => {
        if (isNewTarget) target = `target${targetCount++}`;
        if (task.endsWith("%")) await changeFiles(`${files}/${source}`);
        return await run();
      };
    },
  });
  if (sshServer === null) {
    return {
      id,
      title,
      ...versionFields(versions),
      contenders: versions.map((version) =>
        makeContender(version.name, version.port, makeSyncCommand(version), version.measure)
      ),
    };
  }
  const [degu] = versions;
  const isProcessor = figure === "processor";
  const makeRsyncContender = (name: string, ...flags: string[]) =>
    makeContender(
      name,
      sshServer.port,
      makeRsyncCommand(...flags),
      isProcessor ? sshServer.measure : undefined,
    );
  return {
    id: figure === "time" ? id : `${id}-${figure}`,
    title: isSlow
      ? `${title}, ${2 * delayMilliseconds} ms of round trip`
      : isProcessor
      ? `${title}, processor time of both ends`
      : title,
    unit: "s",
    placement: "both ends on all cores",
    references: ["rsync over ssh", ...(isNewTarget ? [rsyncWithFsync] : [])],
    contenders: [
      makeRsyncContender("rsync over ssh"),
      ...(isNewTarget ? [makeRsyncContender(rsyncWithFsync, "--fsync")] : []),
      makeContender(
        "degu sync",
        degu.port,
        makeSyncCommand(degu),
        isProcessor ? degu.measure : undefined,
      ),
    ],
    notes: [
      "rsync syncs files to the disk only with `--fsync` (3.2.4 or later). Degu always does.",
      "Degu also syncs every directory, compares the SHA-256 of each file, and starts in 0.12 s.",
    ],
  };
}

/** Replaces one file in each directory, which is 1 % of all files. */
async function changeFiles(source: string): Promise<void> {
  for await (const { name } of Deno.readDir(source)) {
    for await (const file of Deno.readDir(`${source}/${name}`)) {
      await Deno.writeFile(`${source}/${name}/${file.name}`, makeContent());
      break;
    }
  }
}

/** Makes the content of a file: 1 to 4 KiB of random bytes. */
function makeContent(): Uint8Array {
  return randomBytes(randomInt(1024, 4097));
}

/** A version of the program: a running `degu serve`, and the command of its peer. */
export interface Version {
  /** The name in tables. */
  readonly name: string;
  readonly port: number;
  /** The beginning of a command of the peer of `degu serve`. */
  readonly command: readonly string[];
  /** Runs a command of the peer; resolves to the processor time of both ends in seconds. */
  measure(command: readonly string[]): Promise<number>;
}

/** Serves the files by the program of this tree, or of each version to compare. */
export async function serveVersions(
  root: string,
  files: string,
  trees: RowSetting["trees"] = { degu: thisTree },
): Promise<[Version, ...Version[]]> {
  const versions: Version[] = [];
  for (const [name, tree] of Object.entries(trees)) {
    const versionRoot = `${root}/version${versions.length}`;
    versions.push({ name, ...await serveDegu(versionRoot, files, tree) });
  }
  return versions as [Version, ...Version[]];
}

/** Returns the fields of a group that compares versions by processor time. */
export function versionFields(versions: readonly Version[]) {
  return {
    unit: "s of processor time",
    placement: "both ends on all cores",
    references: versions.slice(-1).map(({ name }) => name),
  };
}

/** Pairs two devices, and starts `degu serve` of a tree on one of them. */
async function serveDegu(
  root: string,
  files: string,
  tree: string,
): Promise<Omit<Version, "name">> {
  {
    // The import map is that of this tree, so the device of another tree can't be loaded here.
    await using a = await Device.open(`${root}/a`, { name: "a" });
    await using b = await Device.open(`${root}/b`, { name: "b" });
    await using invitation = await a.invite({ listen: [[hostname, 0]], serving: [] });
    await b.join(invitation.line, { serving: [] });
    await invitation.paired;
  }
  const launcher = await installDegu(root, tree);
  const shareOptions = ["--share", files, "--inbox-for-all", `${files}/inbox`];
  const { port, pid } = await startServer((port) => [
    ...[launcher, "--home", `${root}/a`, "--json", "serve", ...shareOptions],
    ...["--listen", `${hostname}:${port}`],
  ]);
  return {
    port,
    command: [launcher, "--home", `${root}/b`],
    measure: (command) => measureBothEnds(pid, command),
  };
}

/** Runs a command; resolves to its processor time and that of its server, in seconds. */
async function measureBothEnds(serverPid: number, command: readonly string[]): Promise<number> {
  const startSeconds = await readProcessorSeconds(serverPid);
  const seconds = await measureProcessorSeconds(command);
  // The processor time of the processes of `sshd` counts when they have ended.
  while (await runToEnd(["cat", `/proc/${serverPid}/task/${serverPid}/children`]) !== "");
  return seconds + await readProcessorSeconds(serverPid) - startSeconds;
}

/** Returns the ssh command for the server of {@link serveSsh}, without host and remote command. */
export function sshCommand(root: string, port: number): string[] {
  const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
  const key = `${root}/key`;
  return ["ssh", "-p", `${port}`, "-i", key, ...options.flatMap((option) => ["-o", option])];
}

/** Starts `sshd` with its own host key. */
export async function serveSsh(root: string): Promise<Pick<Version, "port" | "measure">> {
  for (const key of ["host", "key"]) {
    await runToEnd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${root}/${key}`]);
  }
  await Deno.mkdir("/run/sshd", { recursive: true }).catch(() => {});
  const options = [
    ...[`ListenAddress=${hostname}`, `HostKey=${root}/host`, `AuthorizedKeysFile=${root}/key.pub`],
    ...["StrictModes=no", "PidFile=none", "UsePAM=no", "PermitRootLogin=yes"],
    // `scp` uses SFTP.
    "Subsystem=sftp internal-sftp",
    // Otherwise the shell would read ~/.bashrc, which can take longer than the transfer.
    `SetEnv=HOME=${root}`,
  ].flatMap((option) => ["-o", option]);
  const { port, pid } = await startServer((port) => [
    ...["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", `${port}`, ...options],
  ]);
  return { port, measure: (command) => measureBothEnds(pid, command) };
}

/**
 * Starts a server at a free port, and waits until it accepts connections. The server ends with the
 * benchmark.
 */
export async function startServer(
  makeCommand: (port: number) => string[],
): Promise<{ readonly port: number; readonly pid: number }> {
  const port = await findUnusedPort();
  const { pid } = spawn(makeCommand(port), { stdin: "null", stdout: "null", stderr: "null" });
  for (const deadline = performance.now() + 10_000;;) {
    try {
      (await Deno.connect({ hostname, port })).close();
      return { port, pid };
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Starts a relay that delays all bytes by {@link delayMilliseconds}; resolves to its port. */
async function startSlowRelay(serverPort: number): Promise<number> {
  const makeDelay = () =>
    new Transform({
      transform(piece, _encoding, callback) {
        setTimeout(() => this.push(piece), delayMilliseconds);
        callback();
      },
      flush: (callback) => void setTimeout(callback, delayMilliseconds),
    });
  const server = createServer({ noDelay: true }, (clientSocket) => {
    const serverSocket = connect({ host: hostname, port: serverPort, noDelay: true });
    pipeline(clientSocket, makeDelay(), serverSocket, () => clientSocket.destroy());
    pipeline(serverSocket, makeDelay(), clientSocket, () => serverSocket.destroy());
  });
  server.listen(0, hostname);
  await new Promise((resolve) => server.once("listening", resolve));
  server.unref();
  return (server.address() as { port: number }).port;
}
