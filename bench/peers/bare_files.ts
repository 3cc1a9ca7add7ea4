/**
 * Verified files over TLS without Degu: a script with the same primitives, `node:tls`
 * with certificates on both ends, SHA-256 and `Deno.FsFile`, and no protocol. The sender's digest
 * follows the file; the receiver compares it with its own, and syncs the file before it confirms,
 * as Degu does: a part at a time, while more arrives.
 */

import { once } from "node:events";
import { createHash } from "node:crypto";
import * as tls from "node:tls";
import { replyToCommands, time } from "../peer.ts";
import { type FilesWork, LARGE } from "./files.ts";
import { listen, readCertificates, serverCertificates, targetOf } from "./node_http.ts";

const pieceLength = 1 << 20;
const digestLength = 32;
const bufferedLength = 4 * pieceLength;
/** The number of bytes after which the file is synced, while more bytes arrive. */
const syncedLength = 64 << 20;
/** The digest of the served file, which the first download computes. */
let cachedFileDigest: Uint8Array | null = null;

async function sendFile(socket: tls.TLSSocket, path: string, cachedDigest: Uint8Array | null) {
  using file = await Deno.open(path);
  const hash = createHash("sha256");
  for (;;) {
    // The socket keeps the bytes until they are written.
    const piece = new Uint8Array(pieceLength);
    const length = await file.read(piece);
    if (length === null) break;
    const bytes = piece.subarray(0, length);
    if (cachedDigest === null) hash.update(bytes);
    socket.write(bytes);
    // Fill the buffer, so that TLS is busy while the next piece is read.
    if (socket.writableLength > bufferedLength) await once(socket, "drain");
  }
  const digest = cachedDigest ?? new Uint8Array(hash.digest());
  socket.write(digest);
  return digest;
}

/** Receives a file, and verifies its bytes by the digest after them. */
async function receiveFile(socket: tls.TLSSocket, path: string, size: number): Promise<void> {
  // Open synchronously, because a piece that arrives before the listener is added would be lost.
  using file = Deno.openSync(path, { write: true, createNew: true });
  const hash = createHash("sha256");
  // Join pieces, because most have 16 KiB, and a write of each would take most of the time.
  const buffer = new Uint8Array(pieceLength + digestLength);
  let filled = 0, received = 0, unsynced = 0;
  let synced: Promise<void> | null = null;
  // Write synchronously: during an asynchronous write, the socket would be idle.
  const write = (length: number) => {
    hash.update(buffer.subarray(0, length));
    for (let written = 0; written < length;) {
      written += file.writeSync(buffer.subarray(written, length));
    }
    buffer.copyWithin(0, length, filled);
    filled -= length;
    unsynced += length;
    if (unsynced < syncedLength || synced !== null) return;
    unsynced = 0;
    synced = file.sync().finally(() => synced = null);
  };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const take = (piece: Uint8Array) => {
    received += piece.length;
    while (filled + piece.length > buffer.length) {
      const part = piece.subarray(0, buffer.length - filled);
      buffer.set(part, filled);
      filled += part.length;
      piece = piece.subarray(part.length);
      // Keep the last bytes in the buffer, because they may be the digest.
      write(pieceLength);
    }
    buffer.set(piece, filled);
    filled += piece.length;
    if (received === size + digestLength) resolve();
  };
  socket.on("data", take);
  socket.on("close", () => reject(new Error("the peer closed inside a transfer")));
  await promise;
  socket.off("data", take);
  write(filled - digestLength);
  if (hash.digest("hex") !== buffer.subarray(0, digestLength).toHex()) {
    throw new Error("the file has other bytes");
  }
  await synced;
  await file.sync();
}

async function answer(socket: tls.TLSSocket, { serverDirectory }: FilesWork): Promise<void> {
  // A record arrives whole: `download`, or the size of the file that follows.
  const [piece] = await once(socket, "data");
  const request = new TextDecoder().decode(piece);
  if (request === "download") {
    cachedFileDigest = await sendFile(socket, `${serverDirectory}/${LARGE}`, cachedFileDigest);
  } else {
    const received = receiveFile(socket, `${serverDirectory}/up.bin`, Number(request));
    socket.write("go on");
    await received;
    socket.write("stored");
  }
}

async function transfer(
  { task, port, clientDirectory, serverDirectory, tls: files }: FilesWork,
): Promise<void> {
  const socket = tls.connect({
    ...targetOf({ address: port }),
    ...readCertificates(files!.client),
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  if (task === "download") {
    socket.write("download");
    const { size } = await Deno.stat(`${serverDirectory}/${LARGE}`);
    await receiveFile(socket, `${clientDirectory}/down.bin`, size);
  } else {
    const { size } = await Deno.stat(`${clientDirectory}/${LARGE}`);
    socket.write(`${size}`);
    await once(socket, "data");
    const stored = once(socket, "data");
    await sendFile(socket, `${clientDirectory}/${LARGE}`, null);
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
    await replyToCommands(await listen(server, { address: 0 }), {});
  }
  const run = async () => {
    const target = work.task === "download"
      ? `${work.clientDirectory}/down.bin`
      : `${work.serverDirectory}/up.bin`;
    await Deno.remove(target).catch(() => {});
    return await time(() => transfer(work));
  };
  await replyToCommands(null, { run });
}
