/**
 * Transfers verified files over TLS without Degu: a script with the same primitives (`node:tls`
 * with certificates on both ends, SHA-256, `Deno.FsFile`), but no protocol. The sender sends a
 * digest after the file. The receiver compares this digest with its own, and confirms only after it has
 * synced the file. As in Degu, most bytes are synced while more bytes arrive.
 */

import { once } from "node:events";
import { createHash } from "node:crypto";
import * as tls from "node:tls";
import { measureSeconds, replyToCommands } from "../peer.ts";
import { type FilesWork, LARGE_FILE } from "./files.ts";
import { listen, readCertificates, readServerCertificates, targetOf } from "./node_http.ts";

const pieceLength = 1 << 20;
const digestLength = 32;
const maxBufferedLength = 4 * pieceLength;
/** The number of bytes after which the receiver syncs the file, while more bytes arrive. */
const bytesPerSync = 64 << 20;
/** The digest of the served file, which is computed by the first download. */
let cachedFileDigest: Uint8Array | null = null;

async function sendFile(socket: tls.TLSSocket, path: string, cachedDigest: Uint8Array | null) {
  using file = await Deno.open(path);
  const hash = createHash("sha256");
  for (;;) {
    // Allocate each piece, because the socket uses its bytes until they are written.
    const piece = new Uint8Array(pieceLength);
    const length = await file.read(piece);
    if (length === null) break;
    const bytes = piece.subarray(0, length);
    if (cachedDigest === null) hash.update(bytes);
    socket.write(bytes);
    // Keep the buffer filled, so that TLS is busy while the next piece is read.
    if (socket.writableLength > maxBufferedLength) await once(socket, "drain");
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
  // Join pieces: most have 16 KiB, and separate writes would take most of the time.
  const buffer = new Uint8Array(pieceLength + digestLength);
  let filledLength = 0, receivedLength = 0, unsyncedLength = 0;
  let runningSync: Promise<void> | null = null;
  // Write synchronously: during an asynchronous write, the socket would be idle.
  const write = (length: number) => {
    hash.update(buffer.subarray(0, length));
    for (let written = 0; written < length;) {
      written += file.writeSync(buffer.subarray(written, length));
    }
    buffer.copyWithin(0, length, filledLength);
    filledLength -= length;
    unsyncedLength += length;
    if (unsyncedLength < bytesPerSync || runningSync !== null) return;
    unsyncedLength = 0;
    runningSync = file.sync().finally(() => runningSync = null);
  };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onData = (piece: Uint8Array) => {
    receivedLength += piece.length;
    while (filledLength + piece.length > buffer.length) {
      const part = piece.subarray(0, buffer.length - filledLength);
      buffer.set(part, filledLength);
      filledLength += part.length;
      piece = piece.subarray(part.length);
      // Keep the last bytes in the buffer, because they may be the digest.
      write(pieceLength);
    }
    buffer.set(piece, filledLength);
    filledLength += piece.length;
    if (receivedLength === size + digestLength) resolve();
  };
  socket.on("data", onData);
  socket.on("close", () => reject(new Error("the peer closed the connection during a transfer")));
  await promise;
  socket.off("data", onData);
  write(filledLength - digestLength);
  if (hash.digest("hex") !== buffer.subarray(0, digestLength).toHex()) {
    throw new Error("the digest of the file differs");
  }
  await runningSync;
  await file.sync();
}

async function answerTransfer(
  socket: tls.TLSSocket,
  { serverDirectory }: FilesWork,
): Promise<void> {
  // A TLS record arrives whole. It contains `download`, or the size of an uploaded file.
  const [piece] = await once(socket, "data");
  const request = new TextDecoder().decode(piece);
  if (request === "download") {
    cachedFileDigest = await sendFile(socket, `${serverDirectory}/${LARGE_FILE}`, cachedFileDigest);
  } else {
    const fileReceived = receiveFile(socket, `${serverDirectory}/up.bin`, Number(request));
    socket.write("go on");
    await fileReceived;
    socket.write("stored");
  }
}

async function transfer(
  { task, port, clientDirectory, serverDirectory, tls: tlsFiles }: FilesWork,
): Promise<void> {
  const socket = tls.connect({
    ...targetOf({ address: port }),
    ...readCertificates(tlsFiles!.client),
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  if (task === "download") {
    socket.write("download");
    const { size } = await Deno.stat(`${serverDirectory}/${LARGE_FILE}`);
    await receiveFile(socket, `${clientDirectory}/down.bin`, size);
  } else {
    const { size } = await Deno.stat(`${clientDirectory}/${LARGE_FILE}`);
    socket.write(`${size}`);
    await once(socket, "data");
    const fileStored = once(socket, "data");
    await sendFile(socket, `${clientDirectory}/${LARGE_FILE}`, null);
    await fileStored;
  }
  socket.destroy();
}

if (import.meta.main) {
  const work: FilesWork = JSON.parse(Deno.args[0] ?? "{}");
  if (work.task === null) {
    const server = tls.createServer(readServerCertificates(work.tls!.server), (socket) => {
      socket.on("error", (error) => console.error(error));
      void answerTransfer(socket, work);
    });
    await replyToCommands(await listen(server, { address: 0 }), {});
  }
  const run = async () => {
    const target = work.task === "download"
      ? `${work.clientDirectory}/down.bin`
      : `${work.serverDirectory}/up.bin`;
    await Deno.remove(target).catch(() => {});
    return await measureSeconds(() => transfer(work));
  };
  await replyToCommands(null, { run });
}
