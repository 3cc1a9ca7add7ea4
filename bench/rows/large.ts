/** Row 21: a large file over TLS, verified by a digest, beside a bare script and rsync over ssh. */

import type { Contender, Group } from "../measure.ts";
import { describePlacement, findSkip, programCommand, type Row, type RowSetting } from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import { hostname, measureSeconds } from "../peer.ts";
import { type FilesWork, LARGE_FILE } from "../peers/files.ts";
import { runToEnd, startProgram } from "../process.ts";
import { serveSsh, sshCommand } from "./trees.ts";

const mebibyte = 1 << 20;
const rsyncContender = "rsync --fsync over ssh";

export const largeRow: Row = {
  number: 21,
  title: "A large file over TLS: beside a bare script, and rsync over ssh",
  async *groups(setting) {
    const requiredCommands = ["rsync --fsync --version", "ssh -V", "test -x /usr/sbin/sshd"];
    const skippedGroup = await findSkip("21", "A large file over TLS", ...requiredCommands);
    if (skippedGroup !== null) return yield skippedGroup;
    const size = (setting.isQuick ? 128 : 1024) * mebibyte;
    const root = await Deno.makeTempDir({ dir: setting.directory, prefix: "large" });
    const directories = { serverDirectory: `${root}/server`, clientDirectory: `${root}/client` };
    for (const directory of Object.values(directories)) {
      await Deno.mkdir(directory);
      const pieces = ReadableStream.from(new PatternSource(size).pieces(mebibyte));
      await Deno.writeFile(`${directory}/${LARGE_FILE}`, pieces);
    }
    const { port: sshPort } = await serveSsh(root);
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
  const makeScriptContender = (name: string, path: string): Contender => ({
    name,
    async start(programStack) {
      const start = (task: FilesWork["task"], port: number) => {
        const work: FilesWork = { task, port, serverDirectory, clientDirectory, tls: setting.tls };
        const command = programCommand(path, "both cores", setting);
        return startProgram([...command, JSON.stringify(work)], programStack);
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
      ? [`${hostname}:${serverDirectory}/${LARGE_FILE}`, target]
      : [`${clientDirectory}/${LARGE_FILE}`, `${hostname}:${target}`],
  ];
  return {
    id: `21-${direction}`,
    title: `A file of ${size / mebibyte} MiB: ${direction} over TLS`,
    unit: "MiB/s",
    placement: describePlacement("both cores", setting),
    references: ["bare script", rsyncContender],
    contenders: [
      makeScriptContender("degu", "peers/files.ts"),
      makeScriptContender("bare script", "peers/bare_files.ts"),
      {
        name: rsyncContender,
        start() {
          return Promise.resolve(async () => {
            await Deno.remove(target).catch(() => {});
            return perSecond(await measureSeconds(() => runToEnd(command)));
          });
        },
      },
    ],
    notes: [
      "“bare script” uses the same primitives as Degu (`node:tls` with certificates on both ends, SHA-256, `Deno.FsFile`), but no protocol.",
      "All transfers verify a digest of the whole file, and end with fsync. After the first download, servers have cached the SHA-256 of the file. The files are in the page cache.",
    ],
  };
}
