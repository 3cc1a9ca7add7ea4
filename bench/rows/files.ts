/** Row 11: files between devices. `trees.ts` has trees of many small files. */

import type { Contender, Group } from "../measure.ts";
import type { Row, RowSetting } from "../pair.ts";
import { describePlacement, pinnedTo, programCommand } from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import { hostname, measureSeconds, type TransferWork } from "../peer.ts";
import { type FilesWork, LARGE_FILE, type Task } from "../peers/files.ts";
import { runToEnd, startProgram } from "../process.ts";
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
    yield makeGroup("download", directories, size, setting);
    yield makeGroup("upload", directories, size, setting);
    await Deno.remove(root, { recursive: true });
  },
};

type Direction = TransferWork["direction"];
type Directories = Pick<FilesWork, "serverDirectory" | "clientDirectory">;

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
  const startFilesProgram = (
    task: FilesWork["task"],
    port: number,
    programStack: AsyncDisposableStack,
  ) => {
    const command = programCommand("peers/files.ts", "both cores", setting);
    return startProgram([...command, JSON.stringify({ task, port, ...directories })], programStack);
  };
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
      const port = (await startFilesProgram(null, 0, programStack)).address as number;
      const client = task === null ? null : await startFilesProgram(task, port, programStack);
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
