/** Waits for a termination signal, and prints the events. */
import { terminationSignal } from "@degu/internal/program/termination.ts";

const signal = terminationSignal();
console.log(signal === terminationSignal());
const [mode, port, dir = ""] = Deno.args;
if (mode === "wait") {
  signal.addEventListener("abort", () => console.log(`${signal.reason} ${signal.reason.code}`));
  // The test ends the program by a second signal.
  setInterval(() => {}, 1000);
}
console.log("ready");

if (port !== undefined) {
  // Call one function, for a server that doesn't respond.
  const { Client } = await import("@degu/degu");
  const { download, uploadTree } = await import("@degu/files");
  const client = new Client(["127.0.0.1", Number(port)], { signal });
  if (mode === "request") await client.request("GET", "/");
  if (mode === "download") await download(client, "/f", `${dir}/f`, { signal });
  if (mode === "uploadTree") await uploadTree(client, dir, "/", { signal });
}
