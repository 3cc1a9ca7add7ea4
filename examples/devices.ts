// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp --allow-sys=uid,statfs examples/devices.ts

import { Device } from "@degu/degu/device";
import { FilesApp } from "@degu/degu/files";
import {
  download,
  type TransferOptions,
  type TransferProgress,
  type TransferResult,
  upload,
} from "@degu/degu/files";
import { bytesToSend } from "./size.ts";

const MEBIBYTE = 1024 * 1024;
const FILE_BYTES = bytesToSend();

/** Until a file has an entity tag after a change; without one a download of it can't be resumed. */
const SETTLED_MILLISECONDS = 2500;

const terminal = Deno.stdout.isTerminal();

// Really these are two machines, each with a directory of its own that stays.
const dir = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  await using camera = await Device.open(`${dir}/camera`, { name: "camera" });
  await using viewer = await Device.open(`${dir}/viewer`, { name: "viewer" });
  console.log(`camera: ${camera.id}\nviewer: ${viewer.id}`);

  // ───────────────────────── the camera serves a directory to its peers

  const served = `${dir}/served`;
  await Deno.mkdir(served);
  await using _server = await camera.serve(["127.0.0.1", 0], new FilesApp(served, { write: true }));

  // ───────────────────────── once: a person carries a line from one to the other

  await using invitation = await camera.invite({ listen: [["127.0.0.1", 0]] });
  console.log(`\nThe line to carry, ${invitation.line.length} characters, must stay secret.`);
  await viewer.join(invitation.line);
  const peer = await invitation.paired;
  console.log(`The camera is paired with ${peer.name} (${peer.id}).\n`);

  // ───────────────────────── the viewer sends a file, and gets it back

  const client = await viewer.client("camera");
  await writeFile(`${dir}/video`);
  const sent = await show("upload", (options) => upload(client, `${dir}/video`, "/video", options));
  await new Promise((resolve) => setTimeout(resolve, SETTLED_MILLISECONDS));

  const get = (options: TransferOptions) => download(client, "/video", `${dir}/copy`, options);
  const cut = new AbortController();
  const signal = cut.signal;
  try {
    await show("download", (options) => get({ ...options, signal }), ({ bytes, total }) => {
      if (bytes >= total / 4) cut.abort(new Error("cut in the middle"));
    });
  } catch (error) {
    if (error !== signal.reason) throw error;
    console.log(`${terminal ? "\n" : ""}download was ${signal.reason.message}.`);
  }
  const received = await show("download", get);
  console.log(`\nBoth ends agree on the SHA-256: ${received.sha256 === sent.sha256}`);
} finally {
  await Deno.remove(dir, { recursive: true });
}

/** Writes a file of random bytes. */
async function writeFile(path: string): Promise<void> {
  const piece = new Uint8Array(MEBIBYTE);
  for (let i = 0; i < piece.length; i += 65536) {
    crypto.getRandomValues(piece.subarray(i, i + 65536));
  }
  using file = await Deno.create(path);
  for (let written = 0; written < FILE_BYTES; written += piece.length) {
    for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
  }
}

/**
 * Runs a transfer and prints how far it is, on a terminal as a bar that is drawn again and again, then its rate.
 *
 * @param watch Called with each progress, too.
 */
async function show(
  name: string,
  run: (options: TransferOptions) => Promise<TransferResult>,
  watch?: (progress: TransferProgress) => void,
): Promise<TransferResult> {
  const start = performance.now();
  let last = "";
  const onProgress = (progress: TransferProgress) => {
    const { bytes, total, resumedFrom } = progress;
    const share = (resumedFrom + bytes) / total;
    const begin = resumedFrom === 0 ? "" : `, resumed from ${mebibytes(resumedFrom)}`;
    const amount = `${mebibytes(resumedFrom + bytes)} of ${mebibytes(total)} MiB${begin}`;
    const bar = terminal ? `[${"#".repeat(30 * share).padEnd(30)}] ` : "";
    last = `${name.padEnd(8)} ${bar}${amount}`;
    print(terminal ? `\r${last}` : `${last}\n`);
    watch?.(progress);
  };
  const result = await run({ onProgress });
  const seconds = (performance.now() - start) / 1000;
  const rate = `${mebibytes(result.bytes / seconds)} MiB/s`;
  print(`${terminal ? `\r${last}` : name.padEnd(8)} in ${seconds.toFixed(2)} s: ${rate}\n`);
  return result;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

function mebibytes(bytes: number): string {
  return (bytes / MEBIBYTE).toFixed(0);
}
