/**
 * Row 11, trees: many small files between two devices, beside rsync.
 *
 * Nothing is removed while this measures, and all of it at the end: ext4 creates files up to ten times more slowly for
 * minutes after many were deleted in the same block group. `TMPDIR` names another file system, or a directory whose
 * surroundings have been quiet.
 *
 * @module
 */

import { Device } from "../../device.ts";
import { type Contender, type Group, makeSkippedGroup, type Trial } from "../measure.ts";
import type { RowSetting } from "../pair.ts";
import { runToEnd } from "../process.ts";

const filesPerDirectory = 100;
const bytes = { least: 1024, most: 4096 };
/** Milliseconds that each way of a slow link takes: 20 for a round trip. */
const delay = 10;
const settleMilliseconds = 2100;
const agent = new URL("../../agent.ts", import.meta.url).pathname;
const agentFlags = [
  "--no-prompt",
  "--no-check",
  "--allow-env=XDG_STATE_HOME,HOME",
  "--allow-net",
  "--allow-read",
  "--allow-write",
  "--allow-sys=hostname,networkInterfaces,uid",
];

/** The contender that makes the same promise. */
const synced = "rsync --fsync over ssh";

/** What a measurement is of. */
type Task = "get" | "put" | "get again" | "put again" | "get 1 %" | "put 1 %";

/** The groups of row 11 with trees. */
export async function* treeGroups(setting: RowSetting): AsyncGenerator<Group, void, undefined> {
  const problem = await findProblem(setting);
  if (problem !== null) return yield makeSkippedGroup("11-tree", "Trees of small files", problem);
  const count = setting.quick ? 1000 : 10_000;
  const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "trees" });
  await using place = await Place.make(root, count, setting);
  for (const task of ["get", "put", "get again", "put again", "get 1 %", "put 1 %"] as const) {
    yield place.group(task, count, false);
  }
  for (const task of ["get", "put"] as const) yield place.group(task, count, true);
}

async function findProblem(setting: RowSetting): Promise<string | null> {
  for (
    const command of [["rsync", "--fsync", "--version"], ["ssh", "-V"], [
      "test",
      "-x",
      "/usr/sbin/sshd",
    ]]
  ) {
    try {
      await runToEnd({ prefix: [], command, timeout: setting.timeout });
    } catch {
      return `${command.join(" ")} does not work here`;
    }
  }
  return null;
}

/** Two paired devices, an SSH server, and an rsync server, all on this machine. */
class Place implements AsyncDisposable {
  readonly #root: string;
  /** What is served: the files, and no key. */
  readonly #files: string;
  readonly #setting: RowSetting;
  readonly #stack = new AsyncDisposableStack();
  #runs = 0;
  #degu = 0;
  #ssh = 0;
  #rsync = 0;

  private constructor(root: string, setting: RowSetting) {
    this.#root = root;
    this.#files = `${root}/files`;
    this.#setting = setting;
  }

  static async make(root: string, count: number, setting: RowSetting): Promise<Place> {
    const place = new Place(root, setting);
    await place.#writeSource(count);
    await Deno.mkdir(`${place.#files}/inbox`);
    place.#degu = await place.#serveDegu();
    place.#ssh = await place.#serveSsh();
    place.#rsync = await place.#serveRsync();
    return place;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What was written stays until the whole benchmark ends.
    await this.#stack.disposeAsync();
  }

  /** Programs that do the same, over a link with a delay or without. */
  group(task: Task, count: number, isSlow: boolean): Group {
    const title = `${count} files of 1 to 4 KiB: ${task}`;
    const overSsh = (...flags: string[]) => (port: number, source: string, target: string) => [
      ...["rsync", "-rt", ...flags, "-e", this.#remoteShell(port)],
      ...this.#ends(task, source, target, `127.0.0.1:${this.#files}`),
    ];
    const toFresh = task === "get" || task === "put";
    return {
      id: `11-tree-${task.replaceAll(" ", "-")}${isSlow ? "-slow" : ""}`,
      title: isSlow ? `${title}, ${2 * delay} ms of round trip` : title,
      unit: "s",
      better: "lower",
      placement: "both ends on all cores",
      references: ["rsync over ssh", "rsync daemon", ...(toFresh ? [synced] : [])],
      contenders: [
        this.#contender("rsync over ssh", task, isSlow, this.#ssh, overSsh()),
        ...(toFresh ? [this.#contender(synced, task, isSlow, this.#ssh, overSsh("--fsync"))] : []),
        this.#contender("rsync daemon", task, isSlow, this.#rsync, (port, source, target) => [
          ...["rsync", "-rt"],
          ...this.#ends(task, source, target, `rsync://127.0.0.1:${port}/all`),
        ]),
        this.#contender("degu sync", task, isSlow, this.#degu, (port, source, target) => [
          ...["deno", "run", ...agentFlags, agent, "--home", `${this.#root}/b`, "--quiet"],
          ...["sync", "--address", `127.0.0.1:${port}`],
          ...task.startsWith("get")
            ? [`a:${source}`, `${this.#files}/${target}`]
            : [`${this.#files}/${source}`, `a:${target.replace(/^inbox\//, "")}`],
        ]),
      ],
      notes: [
        "“rsync” leaves it to the system when files reach the disk. With `--fsync` (from 3.2.4) it syncs each of them, which is the promise that Degu makes.",
        "Degu also syncs every directory, compares the SHA-256 of each file, and starts in 0.12 s.",
      ],
    };
  }

  #contender(
    name: string,
    task: Task,
    isSlow: boolean,
    port: number,
    makeCommand: (port: number, source: string, target: string) => string[],
  ): Contender {
    return {
      name,
      start: (): Promise<Trial> => {
        const relay = isSlow ? startRelay(port) : null;
        const run = (target: string) =>
          runToEnd({
            prefix: [],
            command: makeCommand(relay?.port ?? port, "source", target),
            timeout: this.#setting.timeout,
          });
        const fresh = () => `${task.startsWith("put") ? "inbox/" : ""}target${this.#runs++}`;
        let target = fresh();
        return Promise.resolve({
          warmUp: () => run(target),
          measure: async () => {
            if (task === "get" || task === "put") target = fresh();
            if (task.endsWith("%")) await this.#change();
            const start = performance.now();
            await run(target);
            return (performance.now() - start) / 1000;
          },
          stop: async () => await relay?.close(),
        });
      },
    };
  }

  /** Where rsync copies from and to. */
  #ends(task: Task, source: string, target: string, remote: string): string[] {
    return task.startsWith("get")
      ? [`${remote}/${source}/`, `${this.#files}/${target}/`]
      : [`${this.#files}/${source}/`, `${remote}/${target}/`];
  }

  #remoteShell(port: number): string {
    const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"];
    return `ssh -p ${port} -i ${this.#root}/key ${options.map((each) => `-o ${each}`).join(" ")}`;
  }

  async #writeSource(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const directory = `${this.#files}/source/d${Math.floor(i / filesPerDirectory)}`;
      if (i % filesPerDirectory === 0) await Deno.mkdir(directory, { recursive: true });
      await Deno.writeFile(`${directory}/file ${i}`, randomBytes());
    }
    // Younger ones have no identity that survives a change.
    await new Promise((resolve) => setTimeout(resolve, settleMilliseconds));
  }

  /** Writes one file in a hundred anew. */
  async #change(): Promise<void> {
    for await (const { name } of Deno.readDir(`${this.#files}/source`)) {
      const directory = `${this.#files}/source/${name}`;
      for await (const file of Deno.readDir(directory)) {
        await Deno.writeFile(`${directory}/${file.name}`, randomBytes());
        break;
      }
    }
  }

  async #serveDegu(): Promise<number> {
    await this.#pair();
    const args = ["serve", "--share", this.#files, "--inbox", `${this.#files}/inbox`];
    const command = ["deno", "run", ...agentFlags, agent, "--home", `${this.#root}/a`, "--json"];
    const port = await freePort();
    this.#run([...command, ...args, "--listen", `127.0.0.1:${port}`]);
    await reachable(port);
    return port;
  }

  async #pair(): Promise<void> {
    await using a = await Device.open(`${this.#root}/a`, { name: "a" });
    await using b = await Device.open(`${this.#root}/b`, { name: "b" });
    await using invitation = await a.invite({ listen: [["127.0.0.1", 0]], serving: [] });
    await b.join(invitation.line, { serving: [] });
    await invitation.paired;
  }

  async #serveSsh(): Promise<number> {
    const timeout = this.#setting.timeout;
    for (const key of ["host", "key"]) {
      const path = `${this.#root}/${key}`;
      const command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path];
      await runToEnd({ prefix: [], command, timeout });
    }
    await Deno.mkdir("/run/sshd", { recursive: true }).catch(() => {});
    const port = await freePort();
    const options = [
      "ListenAddress=127.0.0.1",
      `HostKey=${this.#root}/host`,
      `AuthorizedKeysFile=${this.#root}/key.pub`,
      "StrictModes=no",
      "PidFile=none",
      "UsePAM=no",
      "PermitRootLogin=yes",
    ];
    this.#run([
      ...["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", `${port}`],
      ...options.flatMap((option) => ["-o", option]),
    ]);
    await reachable(port);
    return port;
  }

  async #serveRsync(): Promise<number> {
    const port = await freePort();
    const configuration = `${this.#root}/rsyncd.conf`;
    await Deno.writeTextFile(
      configuration,
      `use chroot = no\nuid = 0\ngid = 0\n[all]\npath = ${this.#files}\nread only = no\n`,
    );
    this.#run([
      ...["rsync", "--daemon", "--no-detach", `--config=${configuration}`],
      ...[`--port=${port}`, "--address=127.0.0.1"],
    ]);
    await reachable(port);
    return port;
  }

  /** Starts a server that ends with this. */
  #run([executable, ...args]: string[]): void {
    const process = new Deno.Command(executable!, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#stack.defer(async () => {
      process.kill("SIGKILL");
      await process.status;
    });
  }
}

function randomBytes(): Uint8Array {
  const length = bytes.least + Math.floor(Math.random() * (bytes.most - bytes.least + 1));
  return crypto.getRandomValues(new Uint8Array(length));
}

async function freePort(): Promise<number> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await Promise.resolve();
  return listener.addr.port;
}

/** Waits until a server accepts connections. */
async function reachable(port: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (true) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** A relay that delivers everything {@link delay} milliseconds later. */
function startRelay(to: number): { readonly port: number; close(): Promise<void> } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const carry = async (from: Deno.TcpConn, into: Deno.TcpConn) => {
    let last = Promise.resolve();
    const later = (action: () => Promise<unknown>) => {
      const due = new Promise((resolve) => setTimeout(resolve, delay));
      last = last.then(() => due).then(action).then(() => {}, () => {});
    };
    const buffer = new Uint8Array(65536);
    try {
      for (let count; (count = await from.read(buffer)) !== null;) {
        const piece = buffer.slice(0, count);
        later(async () => {
          for (let at = 0; at < piece.length;) at += await into.write(piece.subarray(at));
        });
      }
    } catch {
      // Broken off: the other end sees it as an end.
    }
    later(() => into.closeWrite());
    await last;
  };
  const relay = async (near: Deno.TcpConn) => {
    using _near = near;
    using far = await Deno.connect({ hostname: "127.0.0.1", port: to });
    near.setNoDelay(true);
    far.setNoDelay(true);
    await Promise.all([carry(near, far), carry(far, near)]);
  };
  const serving = (async () => {
    for await (const near of listener) relay(near).catch(() => {});
  })().catch(() => {});
  return {
    port: (listener.addr as Deno.NetAddr).port,
    async close() {
      listener.close();
      await serving;
    },
  };
}
