/** Row 21: a large file over TLS, verified, beside a bare script and rsync over ssh. */

import type { Contender, Group } from "../measure.ts";
import { describePlacement, findSkip, programCommand, type Row, type RowSetting } from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import { hostname, time } from "../peer.ts";
import { type FilesWork, LARGE } from "../peers/files.ts";
import { runToEnd, startProgram } from "../process.ts";
import { serveSsh, sshCommand } from "./trees.ts";

const mebibyte = 1 << 20;
const rsync = "rsync --fsync over ssh";

export const largeRow: Row = {
  number: 21,
  title: "A large file over TLS: beside a bare script, and rsync over ssh",
  async *groups(setting) {
    const needed = ["rsync --fsync --version", "ssh -V", "test -x /usr/sbin/sshd"];
    const skip = await findSkip("21", "A large file over TLS", ...needed);
    if (skip !== null) return yield skip;
    const size = (setting.quick ? 128 : 1024) * mebibyte;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "large" });
    const directories = { serverDirectory: `${root}/server`, clientDirectory: `${root}/client` };
    for (const directory of Object.values(directories)) {
      await Deno.mkdir(directory);
      const pieces = ReadableStream.from(new PatternSource(size).pieces(mebibyte));
      await Deno.writeFile(`${directory}/${LARGE}`, pieces);
    }
    const sshPort = await serveSsh(root);
    for (const direction of ["download", "upload"] as const) {
      yield makeGroup(direction, { root, sshPort, size, ...directories }, setting);
    }
  },
};

interface LargeTransfer {
  readonly root: string;
  readonly sshPort: number;
  readonly size: number;
  readonly serverDirectory: string;
  readonly clientDirectory: string;
}

function makeGroup(
  direction: "download" | "upload",
  transfer: LargeTransfer,
  setting: RowSetting,
): Group {
  const { root, sshPort, size, serverDirectory, clientDirectory } = transfer;
  const isDownload = direction === "download";
  const perSecond = (seconds: number) => size / mebibyte / seconds;
  const script = (name: string, path: string): Contender => ({
    name,
    async start(running) {
      const start = (task: FilesWork["task"], port: number) => {
        const work: FilesWork = { task, port, serverDirectory, clientDirectory, tls: setting.tls };
        const command = programCommand(path, "both cores", setting);
        return startProgram([...command, JSON.stringify(work)], running);
      };
      const server = await start(null, 0);
      const client = await start(direction, server.address as number);
      await client.request({ command: "run" });
      return async () => perSecond(await client.request({ command: "run" }));
    },
  });
  const target = isDownload ? `${clientDirectory}/down.bin` : `${serverDirectory}/up.bin`;
  const command = [
    ...["rsync", "--times", "--whole-file", "--fsync", "-e", sshCommand(root, sshPort).join(" ")],
    ...isDownload
      ? [`${hostname}:${serverDirectory}/${LARGE}`, target]
      : [`${clientDirectory}/${LARGE}`, `${hostname}:${target}`],
  ];
  return {
    id: `21-${direction}`,
    title: `A file of ${size / mebibyte} MiB: ${direction} over TLS`,
    unit: "MiB/s",
    placement: describePlacement("both cores", setting),
    references: ["bare script", rsync],
    contenders: [
      script("degu", "peers/files.ts"),
      script("bare script", "peers/bare_files.ts"),
      {
        name: rsync,
        start() {
          return Promise.resolve(async () => {
            await Deno.remove(target).catch(() => {});
            return perSecond(await time(() => runToEnd(command)));
          });
        },
      },
    ],
    notes: [
      "“bare script” has the primitives of Degu, `node:tls` with certificates on both ends, SHA-256 and `Deno.FsFile`, and no protocol.",
      "All compare a digest of the whole file, and end with fsync. A server that has sent a file before knows its SHA-256. The files are in the page cache.",
    ],
  };
}
