/** Row 11: files between devices. `trees.ts` has trees of many small ones. */

import type { Contender, Group, Trial } from "../measure.ts";
import {
  describePlacement,
  pinnedTo,
  type Row,
  type RowSetting,
  startProgram,
  stopAll,
} from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import { type FilesWork, LARGE, type Task } from "../peers/files.ts";
import { runToEnd } from "../process.ts";
import { treeGroups } from "./trees.ts";

const mebibyte = 1 << 20;

export const filesRow: Row = {
  number: 11,
  title: "Files: many small ones in trees beside rsync, and a large one beside curl",
  async *groups(setting) {
    // Trees first, in a file system in which nothing was deleted just before.
    yield* treeGroups(setting);
    const size = setting.quick ? 128 * mebibyte : 4096 * mebibyte;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "files" });
    const places = { there: `${root}/there`, here: `${root}/here` };
    for (const place of Object.values(places)) {
      await Deno.mkdir(place);
      const pieces = ReadableStream.from(new PatternSource(size).pieces(mebibyte));
      await Deno.writeFile(`${place}/${LARGE}`, pieces);
    }
    for (const direction of ["download", "upload"] as const) {
      yield makeGroup(direction, places, size, setting);
    }
    await Deno.remove(root, { recursive: true });
  },
};

type Places = Pick<FilesWork, "there" | "here">;

function makeGroup(
  direction: "download" | "upload",
  places: Places,
  size: number,
  setting: RowSetting,
): Group {
  const bare = direction === "download" ? "get" : "put";
  const tasks: Task[] = [bare, `${direction}, verify: false`, direction];
  if (direction === "download") tasks.push("download, hashed meanwhile");
  const rate = (seconds: number) => size / mebibyte / seconds;
  return {
    id: `11-tcp-${direction}`,
    title: `A file of ${size / mebibyte} MiB: ${direction} over tcp`,
    unit: "MiB/s",
    better: "higher",
    placement: describePlacement("two", setting.cores),
    references: [`degu ${bare}`],
    contenders: [
      ...tasks.map((task) => makeContender(task, places, setting, rate)),
      makeCurl(direction, places, setting, rate),
    ],
    notes: [
      "All write to a file and end with fsync; curl is followed by one. The files are in the page cache.",
      direction === "upload"
        ? "“upload” is hashed while it is sent, and while it is written."
        : "“hashed meanwhile”: the server has to hash the file, too, which before it has done already.",
    ],
  };
}

/** A contender of two programs: a server of the directory, and who transfers files from or to it. */
function makeContender(
  task: Task,
  places: Places,
  setting: RowSetting,
  rate: (seconds: number) => number,
): Contender {
  return {
    name: `degu ${task}`,
    async start(): Promise<Trial> {
      const server = await startFiles({ task: null, port: 0, ...places }, setting);
      const port = server.ready as number;
      const client = await startFiles({ task, port, ...places }, setting);
      return {
        measure: async () => rate(await client.ask({ command: "run" }, setting.timeout)),
        stop: () => stopAll([client, server]),
      };
    },
  };
}

function startFiles(work: FilesWork, setting: RowSetting) {
  const path = `${import.meta.dirname}/../peers/files.ts`;
  return startProgram([path, JSON.stringify(work)], "two", setting);
}

function makeCurl(
  direction: "download" | "upload",
  { there, here }: Places,
  setting: RowSetting,
  rate: (seconds: number) => number,
): Contender {
  return {
    name: `curl ${direction}`,
    async start(): Promise<Trial> {
      const server = await startFiles({ task: null, port: 0, there, here }, setting);
      const uri = `http://127.0.0.1:${server.ready}`;
      const [target, ...args] = direction === "download"
        ? [`${here}/down.bin`, "--output", `${here}/down.bin`, `${uri}/${LARGE}`]
        : [`${there}/up.bin`, "--header", "Expect:", "-T", `${here}/${LARGE}`, `${uri}/up.bin`];
      return {
        async measure() {
          await Deno.remove(target).catch(() => {});
          const start = performance.now();
          await runToEnd({
            prefix: pinnedTo("two", setting.cores),
            command: ["curl", "--silent", "--fail", ...args],
            timeout: setting.timeout,
          });
          using file = await Deno.open(target, { write: true });
          if (direction === "download") await file.sync();
          return rate((performance.now() - start) / 1000);
        },
        stop: () => stopAll([server]),
      };
    },
  };
}
