/**
 * Row 11: files between devices. `trees.ts` has trees of many small ones.
 *
 * @module
 */

import type { Contender, Group, Trial } from "../measure.ts";
import { makeSkippedGroup } from "../measure.ts";
import { type Row, type RowSetting, startProgram } from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import type { TlsFiles } from "../peer.ts";
import { type FilesWork, LARGE, type Task } from "../peers/files.ts";
import { runToEnd } from "../process.ts";
import { treeGroups } from "./trees.ts";

const mebibyte = 1 << 20;

/** Row 11. */
export const filesRow: Row = {
  number: 11,
  title:
    "Files between devices: 4 GiB each way, with and without digest and TLS, and trees of small files",
  async *groups(setting) {
    // Trees first, in a file system in which nothing was deleted just before.
    yield* treeGroups(setting);
    const size = setting.quick ? 128 * mebibyte : 4096 * mebibyte;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "files" });
    const places = { there: `${root}/there`, here: `${root}/here` };
    try {
      for (const place of Object.values(places)) {
        await Deno.mkdir(place);
        await writeLarge(`${place}/${LARGE}`, size);
      }
      const { tls } = setting;
      yield* largeGroups(setting, places, size, null);
      if ("problem" in tls) yield makeSkippedGroup("11-tls", "Files over TLS", tls.problem);
      else yield* largeGroups(setting, places, size, tls);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  },
};

type Places = Pick<FilesWork, "there" | "here">;

async function writeLarge(path: string, size: number): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  for (const piece of new PatternSource(size).pieces(mebibyte)) {
    for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
  }
  await file.sync();
}

function* largeGroups(
  setting: RowSetting,
  places: Places,
  size: number,
  tls: TlsFiles | null,
): Generator<Group, void, undefined> {
  const over = tls === null ? "tcp" : "tls";
  for (const direction of ["download", "upload"] as const) {
    const bare = direction === "download" ? "get" : "put";
    const tasks: Task[] = [bare, `${direction}, verify: false`, direction];
    if (direction === "download") tasks.push("download, hashed meanwhile");
    const make = (task: Task) =>
      makeContender(`degu ${task}`, { task, tls, ...places }, setting, size);
    yield {
      id: `11-${over}-${direction}`,
      title: `A file of ${size / mebibyte} MiB: ${direction} over ${over}`,
      unit: "MiB/s",
      better: "higher",
      placement: setting.cores.describe("two"),
      references: [`degu ${bare}`],
      contenders: [...tasks.map(make), makeCurl(direction, tls, places, setting, size)],
      notes: [
        "All write to a file and end with fsync; curl is followed by one. The files are in the page cache.",
        direction === "upload"
          ? "“upload” is hashed while it is sent, and while it is written."
          : "“hashed meanwhile”: the server has to hash the file, too, which before it has done already.",
      ],
    };
  }
}

/** A contender of two programs: a server of the directory, and who transfers files from or to it. */
function makeContender(
  name: string,
  work: Omit<FilesWork, "port">,
  setting: RowSetting,
  size: number,
): Contender {
  return {
    name,
    async start(): Promise<Trial> {
      const server = await startServer(work, setting);
      const port = server.ready as number;
      const client = await startFiles({ ...work, port }, setting).catch(async (error) => {
        await server.stop();
        throw error;
      });
      return {
        async measure() {
          const seconds = await client.ask({ command: "run", amount: 1 }, setting.timeout);
          return size / mebibyte / seconds;
        },
        async stop() {
          await client.stop();
          await server.stop();
        },
      };
    },
  };
}

function startServer(work: Omit<FilesWork, "port">, setting: RowSetting) {
  return startFiles({ ...work, task: null, port: 0 }, setting);
}

function startFiles(work: FilesWork, setting: RowSetting) {
  const path = `${import.meta.dirname}/../peers/files.ts`;
  return startProgram([path, JSON.stringify(work)], "two", setting);
}

/** curl over the same server. */
function makeCurl(
  direction: "download" | "upload",
  tls: TlsFiles | null,
  { there, here }: Places,
  setting: RowSetting,
  size: number,
): Contender {
  return {
    name: `curl ${direction}`,
    async start(): Promise<Trial> {
      const server = await startServer({ task: null, tls, there, here }, setting);
      const uri = `${tls === null ? "http" : "https"}://127.0.0.1:${server.ready}`;
      const secure = tls === null
        ? []
        : ["--insecure", "--cert", tls.client.certFile, "--key", tls.client.keyFile];
      const [target, ...args] = direction === "download"
        ? [`${here}/down.bin`, "--output", `${here}/down.bin`, `${uri}/${LARGE}`]
        : [
          `${there}/up.bin`,
          ...["--header", "Expect:"],
          "-T",
          `${here}/${LARGE}`,
          `${uri}/up.bin`,
        ];
      return {
        async measure() {
          await Deno.remove(target).catch(() => {});
          const start = performance.now();
          await runToEnd({
            prefix: setting.cores.prefix("two"),
            command: ["curl", "--silent", "--fail", ...secure, ...args],
            timeout: setting.timeout,
          });
          using file = await Deno.open(target, { write: true });
          if (direction === "download") await file.sync();
          return size / mebibyte / ((performance.now() - start) / 1000);
        },
        stop: () => server.stop(),
      };
    },
  };
}
