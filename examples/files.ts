// deno run --allow-net --allow-read=docs,/tmp --allow-write=/tmp --allow-run=curl examples/files.ts

import { Server } from "@degu/degu";
import { FilesApp } from "@degu/degu/files";

/** Runs curl over a Unix socket and returns its output, or `null` if curl is not installed. */
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

// Every user who can enter the directory of a socket can connect to it. So it gets its own directory, which
// Deno makes with mode 0700.
const directory = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-" });
try {
  const socket = `${directory}/socket`;
  await using _server = await Server.start(socket, new FilesApp("docs"));
  console.log("The documentation is served on a Unix socket. Its tutorial, as curl gets it:\n");
  const head = await curl(socket, "--head", "http://localhost/tutorial.md");
  if (head === null) {
    console.log("(curl is not installed)");
  } else {
    console.log(head.replaceAll("\r", ""));
    const range = await curl(socket, "--include", "--range", "0-9", "http://localhost/tutorial.md");
    console.log(range?.replaceAll("\r", ""));
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
