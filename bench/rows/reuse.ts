/**
 * Row 20: files whose bytes the target already has, under another name or as a prefix, beside
 * rsync: the time of a run, and the bytes on the wire in both directions.
 *
 * A relay in front of each server counts the bytes.
 */

import { connect, createServer, type Socket } from "node:net";
import type { Contender, Group } from "../measure.ts";
import { findSkip, type Row, type RowSetting } from "../pair.ts";
import { hostname, measureSeconds } from "../peer.ts";
import { runToEnd } from "../process.ts";
import { serveVersions, startServer, type Version, versionFields } from "./trees.ts";

const MEGABYTE = 1_000_000;
const OLD_TIME = new Date("2026-01-02T03:04:05Z");

/** A source and a target before the run: the sizes of their files by path. */
interface Work {
  readonly id: string;
  readonly title: string;
  readonly targetFiles: Readonly<Record<string, number>>;
  readonly sourceFiles: Readonly<Record<string, number>>;
  /** Returns the path of the target's file that has the bytes of the source's file. */
  readonly basisOf: (path: string) => string;
}

function makeWorks(isQuick: boolean): Work[] {
  const scale = isQuick ? 10 : 1;
  const photos = (directory: string) =>
    Object.fromEntries(
      Array.from({ length: 1000 / scale }, (_, i) => [`${directory}/${i}.jpg`, MEGABYTE]),
    );
  const log = 100 * MEGABYTE / scale;
  return [{
    id: "log",
    title: `A log of ${log / MEGABYTE} MB with a new line`,
    targetFiles: { log },
    sourceFiles: { log: log + 80 },
    basisOf: (path) => path,
  }, {
    id: "photos",
    title: `${1000 / scale} photos of 1 MB in a renamed directory`,
    targetFiles: photos("2026"),
    sourceFiles: photos("holidays/2026"),
    basisOf: (path) => path.slice("holidays/".length),
  }];
}

export const reuseRow: Row = {
  number: 20,
  title: "Bytes that the target already has: a grown log, renamed photos, beside rsync",
  async *groups(setting: RowSetting) {
    const { trees, isQuick } = setting;
    const skippedGroup = trees === undefined
      ? await findSkip("20-reuse", "Bytes that the target already has", "rsync --version")
      : null;
    if (skippedGroup !== null) return yield skippedGroup;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "reuse" });
    const files = `${root}/files`;
    await Deno.mkdir(`${files}/inbox`, { recursive: true });
    const versions = await serveVersions(root, files, trees);
    const rsyncPort = trees === undefined ? await serveRsync(root, files) : null;
    for (const work of makeWorks(isQuick)) yield* makeGroups(root, work, versions, rsyncPort);
  },
};

/** Starts rsync's daemon; resolves to its port. */
async function serveRsync(root: string, files: string): Promise<number> {
  // Without these options, a daemon that root starts writes as the user `nobody`.
  const user = [`uid = ${Deno.uid()}`, `gid = ${Deno.gid()}`];
  const lines = ["use chroot = no", ...user, "[inbox]", `path = ${files}/inbox`, "read only = no"];
  const config = `${root}/rsyncd.conf`;
  await Deno.writeTextFile(config, `${lines.join("\n")}\n`);
  const { port } = await startServer((port) => {
    const options = [`--port=${port}`, `--address=${hostname}`, `--config=${config}`];
    return ["rsync", "--daemon", "--no-detach", ...options];
  });
  return port;
}

let targetCount = 0;

async function* makeGroups(
  root: string,
  work: Work,
  versions: readonly [Version, ...Version[]],
  rsyncPort: number | null,
): AsyncGenerator<Group, void, undefined> {
  const files = `${root}/files`;
  const [basisDirectory, sourceDirectory] = [`${root}/${work.id}-before`, `${root}/${work.id}`];
  await createFiles(basisDirectory, work.targetFiles, () => null);
  await createFiles(
    sourceDirectory,
    work.sourceFiles,
    (path) => `${basisDirectory}/${work.basisOf(path)}`,
  );
  const bytesByContender = new Map<string, number[]>();
  const makeRsyncCommand = (port: number, target: string) => [
    ...["rsync", "-rt", "--delete", `--port=${port}`],
    ...[`${sourceDirectory}/`, `${hostname}::inbox/${target}/`],
  ];
  const makeSyncCommand = ({ command }: Version) => (port: number, target: string) => [
    ...[...command, "--quiet", "sync", "--delete"],
    ...["--address", `${hostname}:${port}`, sourceDirectory, `a:${target}`],
  ];
  const makeContender = (
    name: string,
    port: number,
    makeCommand: typeof makeRsyncCommand,
    measure: (command: string[]) => Promise<number> = (command) =>
      measureSeconds(() => runToEnd(command)),
  ): Contender => ({
    name,
    async start(programStack) {
      const relay = programStack.use(await startCountingRelay(port));
      const byteCounts: number[] = [];
      bytesByContender.set(name, byteCounts);
      return async () => {
        const target = `target${targetCount++}`;
        // Hard links suffice: both programs replace a changed file by a new file.
        await runToEnd(["cp", "-al", basisDirectory, `${files}/inbox/${target}`]);
        relay.bytes = 0;
        const seconds = await measure(makeCommand(relay.port, target));
        byteCounts.push(relay.bytes);
        await runToEnd(["diff", "-r", sourceDirectory, `${files}/inbox/${target}`]);
        await runToEnd(["rm", "-r", `${files}/inbox/${target}`]);
        return seconds;
      };
    },
  });
  if (rsyncPort === null) {
    return yield {
      id: `20-${work.id}`,
      title: work.title,
      ...versionFields(versions),
      contenders: versions.map((version) =>
        makeContender(version.name, version.port, makeSyncCommand(version), version.measure)
      ),
    };
  }
  const [degu] = versions;
  const commands = {
    "rsync, its daemon": [rsyncPort, makeRsyncCommand],
    "degu sync": [degu.port, makeSyncCommand(degu)],
  } as const;
  const commonFields = {
    title: work.title,
    placement: "both ends on all cores",
    references: ["rsync, its daemon"],
  };
  yield {
    ...commonFields,
    id: `20-${work.id}`,
    unit: "s",
    contenders: Object.entries(commands).map(([name, [port, makeCommand]]) =>
      makeContender(name, port, makeCommand)
    ),
    notes: [
      "rsync doesn't detect renamed files: it compares only files of the same name.",
      "rsync's daemon doesn't encrypt, and doesn't sync files to the disk.",
    ],
  };
  yield {
    ...commonFields,
    id: `20-${work.id}-bytes`,
    title: `${work.title}: bytes on the wire, in both directions`,
    unit: "KB",
    contenders: Object.keys(commands).map((name) => ({
      name,
      start: () =>
        Promise.resolve(() => Promise.resolve(bytesByContender.get(name)!.shift()! / 1000)),
    })),
  };
}

/**
 * Creates files with fixed times. A file starts with the bytes of another file, if
 * `initialContentPathOf` returns its path; all other bytes are random.
 */
async function createFiles(
  directory: string,
  sizes: Readonly<Record<string, number>>,
  initialContentPathOf: (path: string) => string | null,
): Promise<void> {
  for (const [path, size] of Object.entries(sizes)) {
    const filePath = `${directory}/${path}`;
    await Deno.mkdir(filePath.slice(0, filePath.lastIndexOf("/")), { recursive: true });
    const initialContentPath = initialContentPathOf(path);
    if (initialContentPath !== null) await Deno.copyFile(initialContentPath, filePath);
    using file = await Deno.open(filePath, { write: true, create: true, append: true });
    const missingBytes = size - (await file.stat()).size;
    for (let written = 0; written < missingBytes; written += 65536) {
      await file.write(
        crypto.getRandomValues(new Uint8Array(Math.min(65536, missingBytes - written))),
      );
    }
    const time = initialContentPath === null || missingBytes === 0
      ? OLD_TIME
      : new Date(+OLD_TIME + 86_400_000);
    await file.utime(time, time);
  }
}

/** Starts a relay to a port of this machine that counts the bytes of both directions. */
async function startCountingRelay(serverPort: number) {
  const server = createServer({ noDelay: true }, (clientSocket) => {
    const serverSocket = connect({ host: hostname, port: serverPort, noDelay: true });
    const pass = (source: Socket, target: Socket) => {
      source.on("data", (piece) => relay.bytes += piece.length);
      source.pipe(target);
      source.on("error", () => target.destroy());
      source.unref();
    };
    pass(clientSocket, serverSocket);
    pass(serverSocket, clientSocket);
  });
  server.listen(0, hostname);
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  const relay = { port, bytes: 0, [Symbol.dispose]: () => void server.close() };
  return relay;
}
