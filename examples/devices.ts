// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp --allow-sys=uid,statfs examples/devices.ts

import { BodyIter, isTransient, wrapApp } from "@degu/degu";
import { Device } from "@degu/degu/device";
import {
  download,
  FilesApp,
  type TransferOptions,
  type TransferProgress,
  type TransferResult,
  upload,
} from "@degu/degu/files";
import type { Session } from "@degu/degu/server";
import { MEBIBYTE, parseSizeArgument } from "./size.ts";

const FILE_BYTES = parseSizeArgument();

/** The time after a change until a file has an entity tag, which a resumed download needs. */
const ENTITY_TAG_MILLISECONDS = 2500;

const isTerminal = Deno.stdout.isTerminal();

// In practice, these are two machines with permanent directories.
const dir = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
  await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
  console.log(`camera: ${camera.id}\nviewer: ${viewer.id}`);

  // ───────────────────────── the camera serves a directory to its peers

  const servedDirectory = `${dir}/served`;
  await Deno.mkdir(servedDirectory);
  let isFirstDownload = true;
  const files = new FilesApp(servedDirectory, { write: true });
  const app = wrapApp(files, async (next, { method }, session) => {
    const response = await next();
    const { status, reason, headers, body } = response;
    if (method !== "GET" || !isFirstDownload || !(body instanceof BodyIter)) return response;
    isFirstDownload = false;
    return [status, reason, headers, new BodyIter(cutInTheMiddle(body, session), FILE_BYTES)];
  });
  await using _server = await camera.serve(["127.0.0.1", 0], app);

  // ───────────────────────── once: a person copies a line from the camera to the viewer

  await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
  console.log(
    `\nThe invitation, a line of ${invitation.line.length} characters, must stay secret.`,
  );
  await viewer.join(invitation.line, { serving: [] }); // the viewer has no server
  const peer = await invitation.paired;
  console.log(`The camera is paired with ${peer.name} (${peer.id}).\n`);

  // ───────────────────────── the viewer uploads a file, and downloads it again

  const client = await viewer.client("camera");
  await writeFile(`${dir}/video`);
  const uploadResult = await runAndPrint(
    "upload",
    (options) => upload(client, `${dir}/video`, "/video", options),
  );
  await new Promise((resolve) => setTimeout(resolve, ENTITY_TAG_MILLISECONDS));

  const downloadCopy = () =>
    runAndPrint("download", (options) => download(client, "/video", `${dir}/copy`, options));
  try {
    await downloadCopy();
  } catch (error) {
    if (!isTransient(error)) throw error;
    console.log(`${isTerminal ? "\n" : ""}download was cut in the middle.`);
  }
  const downloadResult = await downloadCopy();
  console.log(`\nBoth ends agree on the SHA-256: ${downloadResult.sha256 === uploadResult.sha256}`);
} finally {
  await Deno.remove(dir, { recursive: true });
}

/** Yields the first half of a body, and then closes the connection, as a broken network does. */
async function* cutInTheMiddle(body: BodyIter, session: Session): AsyncGenerator<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  body.writeTo(writable).catch(() => {}); // the second half is not read
  let remainingBytes = FILE_BYTES / 2;
  for await (const piece of readable) {
    yield piece.subarray(0, remainingBytes);
    remainingBytes -= piece.length;
    if (remainingBytes <= 0) return session.close();
  }
}

/** Writes a file of random bytes. */
async function writeFile(path: string): Promise<void> {
  const piece = new Uint8Array(MEBIBYTE);
  for (let offset = 0; offset < piece.length; offset += 65536) {
    crypto.getRandomValues(piece.subarray(offset, offset + 65536));
  }
  using file = await Deno.create(path);
  for (let written = 0; written < FILE_BYTES; written += piece.length) {
    for (let offset = 0; offset < piece.length;) offset += await file.write(piece.subarray(offset));
  }
}

/**
 * Runs a transfer, and prints its rate; on a terminal also its progress, as a bar in the same line.
 */
async function runAndPrint(
  name: string,
  run: (options: TransferOptions) => Promise<TransferResult>,
): Promise<TransferResult> {
  const startedAt = performance.now();
  let lastLine = "";
  const onProgress = (progress: TransferProgress) => {
    const { done, total, resumedFrom } = progress;
    const fraction = done / total;
    const suffix = resumedFrom === 0 ? "" : `, resumed from ${formatMebibytes(resumedFrom)}`;
    const amount = `${formatMebibytes(done)} of ${formatMebibytes(total)} MiB${suffix}`;
    const bar = isTerminal ? `[${"#".repeat(30 * fraction).padEnd(30)}] ` : "";
    lastLine = `${name.padEnd(8)} ${bar}${amount}`;
    if (isTerminal) print(`\r${lastLine}`);
  };
  const result = await run({ onProgress });
  const seconds = (performance.now() - startedAt) / 1000;
  const rate = `${formatMebibytes(result.bytes / seconds)} MiB/s`;
  print(`${isTerminal ? "\r" : ""}${lastLine} in ${seconds.toFixed(2)} s: ${rate}\n`);
  return result;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

function formatMebibytes(bytes: number): string {
  const amount = bytes / MEBIBYTE;
  return `${Number(amount.toFixed(amount < 10 ? 1 : 0))}`;
}
