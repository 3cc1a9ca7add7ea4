/**
 * Row 11, trees: many small files between two devices, beside rsync.
 *
 * Files are removed only at the end: ext4 creates files up to ten times more slowly for minutes
 * after many were deleted in the same block group. `TMPDIR` can name another file system, or a
 * directory in a quiet part of the disk.
 */

import { randomBytes, randomInt } from "node:crypto";
import { connect, createServer } from "node:net";
import { pipeline, Transform } from "node:stream";
import { Device } from "../../device.ts";
import { findUnusedPort } from "../../tests/support/ports.ts";
import type { Contender, Group } from "../measure.ts";
import { findSkip, type RowSetting } from "../pair.ts";
import { hostname, time } from "../peer.ts";
import { settle } from "../peers/files.ts";
import { runToEnd, spawn } from "../process.ts";

const filesPerDirectory = 100;
/** Milliseconds in each direction of a slow link: 20 for a round trip. */
const delay = 10;
/** The permissions and the path of the program, as after `deno run` or `deno install`. */
export const agentArguments = [
  ...[
    "--allow-env=HOME,XDG_STATE_HOME,LOCALAPPDATA,USERPROFILE",
    "--allow-net",
    "--allow-read",
    "--allow-write",
  ],
  "--allow-sys=hostname,networkInterfaces,statfs,uid",
  new URL("../../agent/main.ts", import.meta.url).pathname,
];
const agent = ["deno", "run", "--no-prompt", "--no-check", ...agentArguments];

/** The contender with the same promise. */
const synced = "rsync --fsync over ssh";

const tasks = ["get", "put", "get again", "put again", "get 1 %", "put 1 %"] as const;
type Task = typeof tasks[number];

export async function* treeGroups(setting: RowSetting): AsyncGenerator<Group, void, undefined> {
  const needed = ["rsync --fsync --version", "ssh -V", "test -x /usr/sbin/sshd"];
  const skip = await findSkip("11-tree", "Trees of small files", ...needed);
  if (skip !== null) return yield skip;
  const count = setting.quick ? 1000 : 10_000;
  const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "trees" });
  const place = await makePlace(root, count);
  for (const task of tasks) yield makeGroup(place, task, count, false);
  for (const task of ["get", "put"] as const) yield makeGroup(place, task, count, true);
}

/** Two paired devices and an SSH server, all on this machine. */
type Place = Awaited<ReturnType<typeof makePlace>>;

async function makePlace(root: string, count: number) {
  // The served directory has the files, but no key.
  const files = `${root}/files`;
  for (let i = 0; i < count; i++) {
    const directory = `${files}/source/d${Math.floor(i / filesPerDirectory)}`;
    if (i % filesPerDirectory === 0) await Deno.mkdir(directory, { recursive: true });
    await Deno.writeFile(`${directory}/file ${i}`, makeContent());
  }
  await Deno.mkdir(`${files}/inbox`);
  await settle();
  return { root, files, deguPort: await serveDegu(root, files), sshPort: await serveSsh(root) };
}

let targets = 0;

/** Programs with the same task, over a link with or without a delay. */
function makeGroup(place: Place, task: Task, count: number, isSlow: boolean): Group {
  const { root, files, deguPort, sshPort } = place;
  const title = `${count} files of 1 to 4 KiB: ${task}`;
  const isGet = task.startsWith("get");
  const rsync = (...flags: string[]) => (port: number, target: string) => [
    ...["rsync", "-rt", ...flags, "-e", sshCommand(root, port).join(" ")],
    ...isGet
      ? [`${hostname}:${files}/source/`, `${files}/${target}/`]
      : [`${files}/source/`, `${hostname}:${files}/inbox/${target}/`],
  ];
  const sync = (port: number, target: string) => [
    ...[...agent, "--home", `${root}/b`, "--quiet", "sync", "--address", `${hostname}:${port}`],
    ...isGet ? ["a:source", `${files}/${target}`] : [`${files}/source`, `a:${target}`],
  ];
  const toFresh = task === "get" || task === "put";
  const contender = (name: string, port: number, command: typeof sync): Contender => ({
    name,
    async start() {
      const reachedAt = isSlow ? await slowly(port) : port;
      let target = `target${targets++}`;
      const run = () => runToEnd(command(reachedAt, target));
      await run();
      return async () => {
        if (toFresh) target = `target${targets++}`;
        if (task.endsWith("%")) await changeSome(`${files}/source`);
        return await time(run);
      };
    },
  });
  return {
    id: `11-tree-${task.replaceAll(" ", "-")}${isSlow ? "-slow" : ""}`,
    title: isSlow ? `${title}, ${2 * delay} ms of round trip` : title,
    unit: "s",
    placement: "both ends on all cores",
    references: ["rsync over ssh", ...(toFresh ? [synced] : [])],
    contenders: [
      contender("rsync over ssh", sshPort, rsync()),
      ...(toFresh ? [contender(synced, sshPort, rsync("--fsync"))] : []),
      contender("degu sync", deguPort, sync),
    ],
    notes: [
      "“rsync” leaves it to the system when files reach the disk. With `--fsync` (from 3.2.4) it syncs each of them, which is the promise that Degu makes.",
      "Degu also syncs every directory, compares the SHA-256 of each file, and starts in 0.12 s.",
    ],
  };
}

async function changeSome(source: string): Promise<void> {
  for await (const { name } of Deno.readDir(source)) {
    for await (const file of Deno.readDir(`${source}/${name}`)) {
      await Deno.writeFile(`${source}/${name}/${file.name}`, makeContent());
      break;
    }
  }
}

/** Makes 1 to 4 KiB. */
function makeContent(): Uint8Array {
  return randomBytes(randomInt(1024, 4097));
}

/** Pairs two devices, and lets one of them serve; resolves to its port. */
export async function serveDegu(root: string, files: string): Promise<number> {
  {
    await using a = await Device.open(`${root}/a`, { name: "a" });
    await using b = await Device.open(`${root}/b`, { name: "b" });
    await using invitation = await a.invite({ listen: [[hostname, 0]], serving: [] });
    await b.join(invitation.line, { serving: [] });
    await invitation.paired;
  }
  const shared = ["--share", files, "--inbox-for-all", `${files}/inbox`];
  return await serve((port) => [
    ...[...agent, "--home", `${root}/a`, "--json", "serve", ...shared],
    ...["--listen", `${hostname}:${port}`],
  ]);
}

/** Returns the ssh command for the server of {@link serveSsh}, without host and remote command. */
export function sshCommand(root: string, port: number): string[] {
  const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
  const key = `${root}/key`;
  return ["ssh", "-p", `${port}`, "-i", key, ...options.flatMap((each) => ["-o", each])];
}

export async function serveSsh(root: string): Promise<number> {
  for (const key of ["host", "key"]) {
    await runToEnd(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${root}/${key}`]);
  }
  await Deno.mkdir("/run/sshd", { recursive: true }).catch(() => {});
  const options = [
    ...[`ListenAddress=${hostname}`, `HostKey=${root}/host`, `AuthorizedKeysFile=${root}/key.pub`],
    ...["StrictModes=no", "PidFile=none", "UsePAM=no", "PermitRootLogin=yes"],
    // The shell would otherwise read ~/.bashrc, which can take longer than everything else.
    `SetEnv=HOME=${root}`,
  ].flatMap((option) => ["-o", option]);
  return await serve((port) => [
    ...["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", `${port}`, ...options],
  ]);
}

/**
 * Starts a server that ends with the benchmark, at a free port, and waits until it accepts
 * connections.
 */
export async function serve(makeCommand: (port: number) => string[]): Promise<number> {
  const port = await findUnusedPort();
  spawn(makeCommand(port), { stdin: "null", stdout: "null", stderr: "null" });
  for (const deadline = performance.now() + 10_000;;) {
    try {
      (await Deno.connect({ hostname, port })).close();
      return port;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/**
 * Starts a relay that delivers all bytes {@link delay} milliseconds later; resolves to its port.
 */
async function slowly(to: number): Promise<number> {
  const later = () =>
    new Transform({
      transform(piece, _encoding, done) {
        setTimeout(() => this.push(piece), delay);
        done();
      },
      flush: (done) => void setTimeout(done, delay),
    });
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: hostname, port: to, noDelay: true });
    pipeline(near, later(), far, () => near.destroy());
    pipeline(far, later(), near, () => far.destroy());
  });
  server.listen(0, hostname);
  await new Promise((resolve) => server.once("listening", resolve));
  server.unref();
  return (server.address() as { port: number }).port;
}
