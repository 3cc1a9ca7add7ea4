/**
 * Row 20: what the target has already, under another name or as a beginning, beside rsync: the time
 * of a run, and the bytes on the wire in both directions.
 *
 * A relay in front of each server counts the bytes. As in row 11, files are removed at the end.
 */

import { connect, createServer, type Socket } from "node:net";
import type { Contender, Group } from "../measure.ts";
import { findSkip, type Row, type RowSetting } from "../pair.ts";
import { hostname, time } from "../peer.ts";
import { runToEnd } from "../process.ts";
import { agentArguments, serve, serveDegu } from "./trees.ts";

const MEGABYTE = 1_000_000;
const agent = ["deno", "run", "--no-prompt", "--no-check", ...agentArguments];
const OLD = new Date("2026-01-02T03:04:05Z");

/** A source, and what the target has of it before: the sizes of files by their paths. */
interface Work {
  readonly id: string;
  readonly title: string;
  readonly before: Readonly<Record<string, number>>;
  readonly after: Readonly<Record<string, number>>;
  /** By the path of a file of the source, the file of the target that has its bytes. */
  readonly sameAs: (path: string) => string;
}

function worksOf(isQuick: boolean): Work[] {
  const scale = isQuick ? 10 : 1;
  const photos = (directory: string) =>
    Object.fromEntries(
      Array.from({ length: 1000 / scale }, (_, i) => [`${directory}/${i}.jpg`, MEGABYTE]),
    );
  const [log, video] = [100 * MEGABYTE / scale, 500 * MEGABYTE / scale];
  return [{
    id: "log",
    title: `A line more in a log of ${log / MEGABYTE} MB`,
    before: { log },
    after: { log: log + 80 },
    sameAs: (path) => path,
  }, {
    id: "photos",
    title: `${1000 / scale} photos of 1 MB in a renamed directory`,
    before: photos("2026"),
    after: photos("holidays/2026"),
    sameAs: (path) => path.slice("holidays/".length),
  }, {
    id: "video",
    title: `A video of ${video / MEGABYTE} MB in a new place`,
    before: { "camera/video": video },
    after: { "films/first film": video },
    sameAs: () => "camera/video",
  }];
}

export const reuseRow: Row = {
  number: 20,
  title: "What the target has already: a grown log, renamed photos, a moved video, beside rsync",
  async *groups(setting: RowSetting) {
    const skip = await findSkip("20-reuse", "What the target has already", "rsync --version");
    if (skip !== null) return yield skip;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "reuse" });
    const files = `${root}/files`;
    await Deno.mkdir(`${files}/inbox`, { recursive: true });
    const ports = [await serveRsync(root, files), await serveDegu(root, files)] as const;
    for (const work of worksOf(setting.quick)) yield* makeGroups(root, work, ports);
  },
};

/** Starts the daemon of rsync; resolves to its port. */
async function serveRsync(root: string, files: string): Promise<number> {
  // Without these options, a daemon that root starts writes as the user `nobody`.
  const user = [`uid = ${Deno.uid()}`, `gid = ${Deno.gid()}`];
  const lines = ["use chroot = no", ...user, "[inbox]", `path = ${files}/inbox`, "read only = no"];
  const config = `${root}/rsyncd.conf`;
  await Deno.writeTextFile(config, `${lines.join("\n")}\n`);
  return await serve((port) => {
    const options = [`--port=${port}`, `--address=${hostname}`, `--config=${config}`];
    return ["rsync", "--daemon", "--no-detach", ...options];
  });
}

let targets = 0;

async function* makeGroups(
  root: string,
  work: Work,
  [rsyncPort, deguPort]: readonly [number, number],
): AsyncGenerator<Group, void, undefined> {
  const files = `${root}/files`;
  const [basis, source] = [`${root}/${work.id}-before`, `${root}/${work.id}`];
  await makeFiles(basis, work.before, () => null);
  await makeFiles(source, work.after, (path) => `${basis}/${work.sameAs(path)}`);
  const bytes = new Map<string, number[]>();
  const rsync = (port: number, target: string) => [
    ...["rsync", "-rt", "--delete", `--port=${port}`],
    ...[`${source}/`, `${hostname}::inbox/${target}/`],
  ];
  const sync = (port: number, target: string) => [
    ...[...agent, "--home", `${root}/b`, "--quiet", "sync", "--delete"],
    ...["--address", `${hostname}:${port}`, source, `a:${target}`],
  ];
  const contender = (name: string, port: number, command: typeof sync): Contender => ({
    name,
    async start(running) {
      const relay = running.use(await countingRelay(port));
      const counted: number[] = [];
      bytes.set(name, counted);
      return async () => {
        const target = `target${targets++}`;
        // Both programs give a new file the name, so that links can't be changed.
        await runToEnd(["cp", "-al", basis, `${files}/inbox/${target}`]);
        relay.bytes = 0;
        const seconds = await time(() => runToEnd(command(relay.port, target)));
        counted.push(relay.bytes);
        await runToEnd(["diff", "-r", source, `${files}/inbox/${target}`]);
        await runToEnd(["rm", "-r", `${files}/inbox/${target}`]);
        return seconds;
      };
    },
  });
  const names = { "rsync, its daemon": [rsyncPort, rsync], "degu sync": [deguPort, sync] } as const;
  const about = {
    title: work.title,
    placement: "both ends on all cores",
    references: ["rsync, its daemon"],
  };
  yield {
    ...about,
    id: `20-${work.id}`,
    unit: "s",
    contenders: Object.entries(names).map(([name, [port, command]]) =>
      contender(name, port, command)
    ),
    notes: [
      "Of a renamed file rsync knows nothing: it looks only at the file of the same name.",
      "Its daemon encrypts nothing, and leaves it to the system when files reach the disk.",
    ],
  };
  yield {
    ...about,
    id: `20-${work.id}-bytes`,
    title: `${work.title}: what passed on the wire, in both directions`,
    unit: "KB",
    contenders: Object.keys(names).map((name) => ({
      name,
      start: () => Promise.resolve(() => Promise.resolve(bytes.get(name)!.shift()! / 1000)),
    })),
  };
}

/** Makes files of random bytes, or with those of another file, and their times. */
async function makeFiles(
  directory: string,
  sizes: Readonly<Record<string, number>>,
  beginningOf: (path: string) => string | null,
): Promise<void> {
  for (const [path, size] of Object.entries(sizes)) {
    const full = `${directory}/${path}`;
    await Deno.mkdir(full.slice(0, full.lastIndexOf("/")), { recursive: true });
    const beginning = beginningOf(path);
    if (beginning !== null) await Deno.copyFile(beginning, full);
    using file = await Deno.open(full, { write: true, create: true, append: true });
    const missingBytes = size - (await file.stat()).size;
    for (let at = 0; at < missingBytes; at += 65536) {
      await file.write(crypto.getRandomValues(new Uint8Array(Math.min(65536, missingBytes - at))));
    }
    const time = beginning === null || missingBytes === 0 ? OLD : new Date(+OLD + 86_400_000);
    await file.utime(time, time);
  }
}

/** Starts a relay to a port of this machine that counts the bytes of both directions. */
async function countingRelay(to: number) {
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: hostname, port: to, noDelay: true });
    const pass = (from: Socket, onto: Socket) => {
      from.on("data", (piece) => counter.bytes += piece.length);
      from.pipe(onto);
      from.on("error", () => onto.destroy());
      from.unref();
    };
    pass(near, far);
    pass(far, near);
  });
  server.listen(0, hostname);
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  const counter = { port, bytes: 0, [Symbol.dispose]: () => void server.close() };
  return counter;
}
