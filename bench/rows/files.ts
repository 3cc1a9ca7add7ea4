/** Row 11: files between devices. `trees.ts` has trees of many small files. */

import type { Contender, Group } from "../measure.ts";
import {
  chooseContenders,
  chooseReferences,
  describePlacement,
  pinnedTo,
  programCommand,
  type Row,
  type RowSetting,
  sumProcessorSeconds,
} from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import { hostname, measureSeconds, type TransferWork } from "../peer.ts";
import { type FilesWork, LARGE_FILE, type Task } from "../peers/files.ts";
import { type Program, runToEnd, startProgram } from "../process.ts";
import { treeGroups } from "./trees.ts";

const mebibyte = 1 << 20;

export const filesRow: Row = {
  number: 11,
  title: "Files: many small ones in trees beside rsync, and a large one beside curl",
  async *groups(setting) {
    // Trees come first, in a file system without recent deletions.
    yield* treeGroups(setting);
    const size = (setting.isQuick ? 128 : 4096) * mebibyte;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "files" });
    const directories = { serverDirectory: `${root}/server`, clientDirectory: `${root}/client` };
    for (const directory of Object.values(directories)) {
      await Deno.mkdir(directory);
      const pieces = ReadableStream.from(new PatternSource(size).pieces(mebibyte));
      await Deno.writeFile(`${directory}/${LARGE_FILE}`, pieces);
    }
    if (setting.trees === undefined) {
      yield makeGroup("download", directories, size, setting);
      yield makeGroup("upload", directories, size, setting);
    } else {
      for (const task of ["download", "upload"] as const) {
        yield makeComparison(task, directories, size, setting);
      }
    }
    await Deno.remove(root, { recursive: true });
  },
};

type Direction = TransferWork["direction"];
type Directories = Pick<FilesWork, "serverDirectory" | "clientDirectory">;

/** Starts a program of a tree that serves the file, or a client of a server that runs a task. */
function startFilesProgram(
  task: FilesWork["task"],
  port: number,
  directories: Directories,
  setting: RowSetting,
  programStack: AsyncDisposableStack,
  tree?: string,
): Promise<Program> {
  const command = programCommand("peers/files.ts", "both cores", setting, tree);
  return startProgram([...command, JSON.stringify({ task, port, ...directories })], programStack);
}

/** Makes a group that compares versions by the processor time of client and server. */
function makeComparison(
  task: Task,
  directories: Directories,
  size: number,
  setting: RowSetting,
): Group {
  const versions = chooseContenders({}, setting);
  return {
    id: `11-tcp-${task}`,
    title: `A file of ${size / mebibyte} MiB: ${task} over tcp`,
    unit: "µs of processor time per MiB",
    placement: describePlacement("both cores", setting),
    references: chooseReferences(versions, setting),
    contenders: versions.map(([name, { tree }]): Contender => ({
      name,
      async start(programStack) {
        const start = (task: FilesWork["task"], port: number) =>
          startFilesProgram(task, port, directories, setting, programStack, tree);
        const server = await start(null, 0);
        const client = await start(task, server.address as number);
        return async () => {
          const run = () => client.request({ command: "run" });
          return await sumProcessorSeconds([server, client], run) * 1e6 / (size / mebibyte);
        };
      },
    })),
  };
}

function makeGroup(
  direction: Direction,
  directories: Directories,
  size: number,
  setting: RowSetting,
): Group {
  const { serverDirectory, clientDirectory } = directories;
  const isDownload = direction === "download";
  const unverifiedTask = isDownload ? "get" : "put";
  const tasks: Task[] = [unverifiedTask, direction];
  if (isDownload) tasks.push("download, hashed");
  const runCurl = async (port: number) => {
    const uri = `http://${hostname}:${port}`;
    const [target, ...args] = isDownload
      ? [
        `${clientDirectory}/down.bin`,
        "--output",
        `${clientDirectory}/down.bin`,
        `${uri}/${LARGE_FILE}`,
      ]
      : [
        `${serverDirectory}/up.bin`,
        "--header",
        "Expect:",
        "-T",
        `${clientDirectory}/${LARGE_FILE}`,
        `${uri}/up.bin`,
      ];
    await Deno.remove(target).catch(() => {});
    return await measureSeconds(async () => {
      await runToEnd([...pinnedTo("both cores", setting), "curl", "--silent", "--fail", ...args]);
      using file = await Deno.open(target, { write: true });
      if (isDownload) await file.sync();
    });
  };
  /** Makes a contender of a server and a client that transfers the file: without a task, curl. */
  const makeContender = (task: Task | null): Contender => ({
    name: task === null ? `curl ${direction}` : `degu ${task}`,
    async start(programStack) {
      const start = (task: FilesWork["task"], port: number) =>
        startFilesProgram(task, port, directories, setting, programStack);
      const port = (await start(null, 0)).address as number;
      const client = task === null ? null : await start(task, port);
      const transfer = () => client?.request({ command: "run" }) ?? runCurl(port);
      return async () => size / mebibyte / await transfer();
    },
  });
  return {
    id: `11-tcp-${direction}`,
    title: `A file of ${size / mebibyte} MiB: ${direction} over tcp`,
    unit: "MiB/s",
    placement: describePlacement("both cores", setting),
    references: [`degu ${unverifiedTask}`],
    contenders: [...tasks, null].map(makeContender),
    notes: [
      "All transfers write to a file and end with fsync; the benchmark calls fsync after curl. The files are in the page cache.",
      isDownload
        ? "“hashed”: the server hashes the file first; otherwise it has cached the digest."
        : "“upload”: the client hashes the file while it sends it, and the server while it writes it.",
    ],
  };
}
