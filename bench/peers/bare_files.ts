/**
 * Verified files over TLS without Degu: a script with the same primitives, `node:tls`
 * with certificates on both ends, SHA-256 and `Deno.FsFile`, and no protocol. The sender's digest
 * follows the file; the receiver compares it with its own, and syncs the file before it confirms.
 */

import { once } from "node:events";
import { createHash } from "node:crypto";
import * as tls from "node:tls";
import { answerCommands, time } from "../peer.ts";
import { type FilesWork, LARGE } from "./files.ts";
import { listen, readCertificates, serverCertificates, targetOf } from "./node_http.ts";

const pieceLength = 1 << 20;
const digestLength = 32;
/** The digest of the served file, which a server knows after the first download. */
let knownDigest: Uint8Array | null = null;

async function sendFile(socket: tls.TLSSocket, path: string, known: Uint8Array | null) {
  using file = await Deno.open(path);
  const hash = createHash("sha256");
  for (;;) {
    // The socket keeps the bytes until they are written.
    const piece = new Uint8Array(pieceLength);
    const length = await file.read(piece);
    if (length === null) break;
    const bytes = piece.subarray(0, length);
    if (known === null) hash.update(bytes);
    if (!socket.write(bytes)) await once(socket, "drain");
  }
  const digest = known ?? new Uint8Array(hash.digest());
  socket.write(digest);
  return digest;
}

/** Resolves once the file has its bytes, which the digest behind them confirms. */
async function receiveFile(pieces: AsyncIterator<Uint8Array>, path: string, size: number) {
  using file = await Deno.open(path, { write: true, createNew: true });
  const hash = createHash("sha256");
  const digest = new Uint8Array(digestLength);
  // Most pieces have 16 KiB, and a write of each would take longer than all the rest.
  const buffer = new Uint8Array(pieceLength);
  let filled = 0;
  const flush = async () => {
    const bytes = buffer.subarray(0, filled);
    hash.update(bytes);
    for (let written = 0; written < filled;) {
      written += await file.write(bytes.subarray(written));
    }
    filled = 0;
  };
  let received = 0;
  // A loop with `for await` would close the socket at its end.
  while (received < size + digestLength) {
    const { done, value: piece } = await pieces.next();
    if (done) throw new Error("the peer closed inside a transfer");
    const content = piece.subarray(0, Math.max(0, size - received));
    digest.set(piece.subarray(content.length), Math.max(0, received - size));
    for (let taken = 0; taken < content.length;) {
      const part = content.subarray(taken, taken + buffer.length - filled);
      buffer.set(part, filled);
      taken += part.length;
      filled += part.length;
      if (filled === buffer.length) await flush();
    }
    received += piece.length;
  }
  await flush();
  if (hash.digest("hex") !== digest.toHex()) throw new Error("the file has other bytes");
  await file.sync();
}

async function answer(socket: tls.TLSSocket, { there }: FilesWork): Promise<void> {
  const pieces = socket[Symbol.asyncIterator]();
  // A record arrives whole: `download`, or the size of the file that follows.
  const { value } = await pieces.next();
  const request = new TextDecoder().decode(value);
  if (request === "download") {
    knownDigest = await sendFile(socket, `${there}/${LARGE}`, knownDigest);
  } else {
    socket.write("go on");
    await receiveFile(pieces, `${there}/up.bin`, Number(request));
    socket.write("stored");
  }
}

async function transfer({ task, port, here, there, tls: files }: FilesWork): Promise<void> {
  const socket = tls.connect({
    ...targetOf({ address: port }),
    ...readCertificates(files!.client),
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  if (task === "download") {
    socket.write("download");
    const { size } = await Deno.stat(`${there}/${LARGE}`);
    await receiveFile(socket[Symbol.asyncIterator](), `${here}/down.bin`, size);
  } else {
    const { size } = await Deno.stat(`${here}/${LARGE}`);
    socket.write(`${size}`);
    await once(socket, "data");
    const stored = once(socket, "data");
    await sendFile(socket, `${here}/${LARGE}`, null);
    await stored;
  }
  socket.destroy();
}

if (import.meta.main) {
  const work: FilesWork = JSON.parse(Deno.args[0] ?? "{}");
  if (work.task === null) {
    const server = tls.createServer(serverCertificates(work.tls!.server), (socket) => {
      socket.on("error", (error) => console.error(error));
      void answer(socket, work);
    });
    await answerCommands(await listen(server, { address: 0 }), {});
  }
  const run = async () => {
    const target = work.task === "download" ? `${work.here}/down.bin` : `${work.there}/up.bin`;
    await Deno.remove(target).catch(() => {});
    return await time(() => transfer(work));
  };
  await answerCommands(null, { run });
}
