// deno run --allow-net --allow-read=examples,/tmp --allow-write=/tmp --allow-run=curl examples/files.ts

import { Server } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";

/** Runs curl on a Unix socket and returns what it printed, or `null` where there is no curl. */
async function curl(socket: string, ...args: string[]): Promise<string | null> {
  try {
    const command = new Deno.Command("curl", {
      args: ["--silent", "--show-error", "--unix-socket", socket, ...args],
      stdin: "null",
      stderr: "inherit",
    });
    const { success, stdout } = await command.output();
    if (!success) throw new Error("curl has failed");
    return new TextDecoder().decode(stdout);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

// Whoever may enter the directory of a socket may connect to it, so it gets one of its own, which
// Deno makes with mode 0700.
const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  const socket = `${directory}/socket`;
  await using server = new Server(socket, new FilesApp("examples"));
  server.serveForever();
  console.log(
    "This directory is served on a Unix socket. Its shortest program, as curl gets it:\n",
  );
  const program = await curl(socket, "http://localhost/minimal.ts");
  if (program === null) {
    console.log("(curl is not installed)");
  } else {
    console.log(program);
    console.log("Its first 15 bytes, with headers:\n");
    const part = await curl(socket, "--include", "--range", "0-14", "http://localhost/minimal.ts");
    console.log(part?.replaceAll("\r", ""));
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
