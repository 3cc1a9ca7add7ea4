/**
 * Row 5: a server sends one large file.
 *
 * @module
 */

import type { Contender } from "../interleave.ts";
import type { Pair, PeerName } from "../pair.ts";
import { makePairContender } from "../pair.ts";
import { PatternSource } from "../pattern.ts";
import type { FileWork, ServerWork, Taking, TransferWork } from "../work.ts";
import type { Row, RowSetting } from "./row.ts";

const mebibyte = 1 << 20;
const fileName = "large.bin";

interface FilePeers {
  readonly name: string;
  readonly peer: PeerName;
  readonly taking?: Taking;
  /** Whether the bytes come from memory instead of the file. */
  readonly fromMemory?: boolean;
}

const peers: readonly FilePeers[] = [
  { name: "raw", peer: "raw", fromMemory: true },
  { name: "raw, from the file", peer: "raw" },
  { name: "degu FilesApp, writeTo", peer: "degu", taking: "writeTo" },
  { name: "degu FilesApp, BYOB reader", peer: "degu", taking: "byob" },
  { name: "fetch + Deno.serve", peer: "fetch" },
  { name: "node:http", peer: "node_http" },
];

/** Row 5. */
export const filesRow: Row = {
  number: 5,
  title: "FilesApp, one file of 4 GiB",
  async *groups(setting) {
    const size = setting.quick ? 128 * mebibyte : 4096 * mebibyte;
    const directory = await Deno.makeTempDir({ dir: setting.directory, prefix: "files" });
    try {
      await writeFile(`${directory}/${fileName}`, size);
      yield {
        id: "5-file",
        title: `One file of ${size / mebibyte} MiB`,
        unit: "MiB/s",
        better: "higher",
        placement: setting.cores.describe("two"),
        references: ["raw", "raw, from the file", "fetch + Deno.serve"],
        contenders: peers.map((each) => makeContender(each, directory, size, setting)),
        notes: ["“raw” sends from memory. The file is in the page cache as far as it fits there."],
      };
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
};

async function writeFile(path: string, size: number): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  for (const piece of new PatternSource(size).pieces(mebibyte)) {
    let written = 0;
    while (written < piece.length) written += await file.write(piece.subarray(written));
  }
}

function makeContender(
  { name, peer, taking = "stream", fromMemory = false }: FilePeers,
  directory: string,
  size: number,
  setting: RowSetting,
): Contender {
  const pieceLength = setting.writeLength;
  const transfer: TransferWork = {
    kind: "transfer",
    direction: "download",
    framing: "length",
    pieceLength,
    taking,
    origin: "source",
  };
  const file: FileWork = { kind: "file", directory, name: fileName, pieceLength };
  const serverWork: ServerWork = fromMemory ? transfer : file;
  const pair: Pair = {
    name,
    server: peer,
    client: peer,
    serverWork,
    clientWork: fromMemory ? transfer : { ...transfer, uri: `/${fileName}` },
    transport: "tcp",
    serverPlacement: "two",
    clientPlacement: "two",
    amount: size,
    // A file can't be asked for in part by every peer: the whole of it warms the page cache too.
    warmUp: size,
  };
  return makePairContender(pair, setting, 1 / mebibyte);
}
