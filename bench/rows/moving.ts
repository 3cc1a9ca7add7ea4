/**
 * Row 11: files between devices.
 *
 * @module
 */

import type { Contender, Group, Trial } from "../interleave.ts";
import { denoCommand } from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import { LARGE, MANY, type MovingWork, type Task } from "../peers/moving.ts";
import { Program, runToEnd } from "../process.ts";
import type { TlsFiles } from "../work.ts";
import { makeSkippedGroup, type Row, type RowSetting } from "./row.ts";
import { treeGroups } from "./trees.ts";

const mebibyte = 1 << 20;
const manyBytes = 1024;

/** Row 11. */
export const movingRow: Row = {
  number: 11,
  title: "Files between devices",
  async *groups(setting) {
    const size = setting.quick ? 128 * mebibyte : 4096 * mebibyte;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "moving" });
    const places = { there: `${root}/there`, here: `${root}/here` };
    try {
      for (const place of Object.values(places)) {
        await Deno.mkdir(`${place}/${MANY}`, { recursive: true });
        await writeLarge(`${place}/${LARGE}`, size);
      }
      yield* largeGroups(setting, places, size, null);
      yield* "problem" in setting.tls
        ? [makeSkippedGroup("11-tls", "Files over TLS", setting.tls.problem)]
        : largeGroups(setting, places, size, setting.tls);
      const count = setting.quick ? 1000 : 10_000;
      await writeMany(`${places.there}/${MANY}`, count);
      yield* manyGroups(setting, places, count);
      yield* treeGroups(setting);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  },
};

interface Places {
  readonly there: string;
  readonly here: string;
}

async function writeLarge(path: string, size: number): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  for (const piece of new PatternSource(size).pieces(mebibyte)) {
    for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
  }
  await file.sync();
}

async function writeMany(directory: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await Deno.writeFile(`${directory}/file ${i}`, new Uint8Array(manyBytes).fill(i));
  }
}

function* largeGroups(
  setting: RowSetting,
  places: Places,
  size: number,
  tls: TlsFiles | null,
): Generator<Group, void, undefined> {
  const over = tls === null ? "tcp" : "tls";
  const unit = { unit: "MiB/s", better: "higher" } as const;
  const placement = setting.cores.describe("two");
  const make = (task: Task, raw = false) =>
    makeContender(
      raw ? task : `degu ${task}`,
      { task, raw, tls, ...places },
      setting,
      size / mebibyte,
    );
  const notes = [
    "All write to a file and end with fsync; curl is followed by one. The files are in the page cache.",
  ];
  yield {
    id: `11-${over}-download`,
    title: `A file of ${size / mebibyte} MiB from another device, ${over}`,
    ...unit,
    placement,
    references: ["degu get", ...(tls === null ? ["raw download"] : [])],
    contenders: [
      ...(tls === null ? [make("raw download", true)] : []),
      make("get"),
      make("download, verify: false"),
      make("download"),
      make("download, hashed meanwhile"),
      makeCurl("download", tls, places, setting, size),
    ],
    notes: [
      ...notes,
      "“hashed meanwhile”: the server has to hash the file, too, which before it has done already.",
    ],
  };
  yield {
    id: `11-${over}-upload`,
    title: `A file of ${size / mebibyte} MiB to another device, ${over}`,
    ...unit,
    placement,
    references: ["degu put", ...(tls === null ? ["raw upload"] : [])],
    contenders: [
      ...(tls === null ? [make("raw upload", true)] : []),
      make("put"),
      make("upload, verify: false"),
      make("upload"),
      makeCurl("upload", tls, places, setting, size),
    ],
    notes: [
      "“upload” is hashed while it is sent, and while it is written.",
    ],
  };
}

function* manyGroups(
  setting: RowSetting,
  places: Places,
  count: number,
): Generator<Group, void, undefined> {
  const make = (task: Task) =>
    makeContender(`degu ${task}`, { task, raw: false, tls: null, ...places }, setting, count);
  const placement = setting.cores.describe("two");
  yield {
    id: "11-list",
    title: `A list of ${count} entries`,
    unit: "entries/s",
    better: "higher",
    placement,
    references: ["degu list at once"],
    contenders: [make("list at once"), make("list")],
    notes: ["“at once” collects and parses the whole, and checks nothing of it."],
  };
  yield {
    id: "11-many",
    title: `${count} files of ${manyBytes} bytes over one connection`,
    unit: "files/s",
    better: "higher",
    placement,
    references: ["tar"],
    contenders: [makeTar(places, count), make("each, verify: false"), make("each")],
    notes: ["Each download is synced to the disk (file and directory); tar syncs nothing."],
  };
}

/** A contender of two programs: a server of the directory, and who moves files from or to it. */
function makeContender(
  name: string,
  work: Omit<MovingWork, "port">,
  setting: RowSetting,
  amount: number,
): Contender {
  return {
    name,
    async start(): Promise<Trial> {
      const server = await startServer(work, setting);
      const client = await startProgram({ ...work, port: server.ready as number }, setting)
        .catch(async (error) => {
          await server.stop();
          throw error;
        });
      return {
        warmUp: () => Promise.resolve(),
        async measure() {
          const { seconds } = await client.ask({ command: "run", amount: 1 }, setting.timeout);
          return amount / seconds!;
        },
        async stop() {
          await client.stop();
          await server.stop();
        },
      };
    },
  };
}

function startServer(work: Omit<MovingWork, "port">, setting: RowSetting): Promise<Program> {
  return startProgram({ ...work, task: null, port: 0 }, setting);
}

function startProgram(work: MovingWork, setting: RowSetting): Promise<Program> {
  const path = `${import.meta.dirname}/../peers/moving.ts`;
  return Program.start({
    prefix: setting.cores.prefix("two"),
    command: [...denoCommand(setting), path, JSON.stringify(work)],
    timeout: 60,
  });
}

/** curl over the same server. */
function makeCurl(
  direction: "download" | "upload",
  tls: TlsFiles | null,
  places: Places,
  setting: RowSetting,
  size: number,
): Contender {
  const { there, here } = places;
  return {
    name: `curl ${direction}`,
    async start(): Promise<Trial> {
      const server = await startServer({ task: null, raw: false, tls, ...places }, setting);
      const scheme = tls === null ? "http" : "https";
      const uri = `${scheme}://127.0.0.1:${server.ready}`;
      const secure = tls === null ? [] : [
        "--insecure",
        ...["--cert", tls.client.certFile, "--key", tls.client.keyFile],
      ];
      const args = direction === "download"
        ? ["--output", `${here}/down.bin`, `${uri}/${LARGE}`]
        : ["--header", "Expect:", "--upload-file", `${here}/${LARGE}`, `${uri}/up.bin`];
      const target = direction === "download" ? `${here}/down.bin` : `${there}/up.bin`;
      return {
        warmUp: () => Promise.resolve(),
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

/** The same files as one archive over a socket. */
function makeTar({ there, here }: Places, count: number): Contender {
  const start = (args: readonly string[], streams: Deno.CommandOptions) =>
    new Deno.Command("tar", { args: [...args], stderr: "null", ...streams }).spawn();
  return {
    name: "tar",
    start: () =>
      Promise.resolve({
        warmUp: () => Promise.resolve(),
        async measure() {
          const begin = performance.now();
          using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
          const accepted = listener.accept();
          const outgoing = await Deno.connect({ port: listener.addr.port });
          const incoming = await accepted;
          const sender = start(["-c", "-C", `${there}/${MANY}`, "."], { stdout: "piped" });
          const receiver = start(["-x", "-C", `${here}/${MANY}`], { stdin: "piped" });
          const statuses = [sender.status, receiver.status];
          await Promise.all([
            sender.stdout.pipeTo(outgoing.writable),
            incoming.readable.pipeTo(receiver.stdin),
          ]);
          for (const { success } of await Promise.all(statuses)) {
            if (!success) throw new Error("tar failed");
          }
          return count / ((performance.now() - begin) / 1000);
        },
        stop: () => Promise.resolve(),
      }),
  };
}
