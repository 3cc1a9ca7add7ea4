/** Makes a call to a server that doesn't respond, in the main function of runUntilSignal(). */
import { runUntilSignal } from "@degu/internal/program/termination.ts";

const [mode, port, dir = ""] = Deno.args;
const { Client } = await import("@degu/degu");
const { download, uploadTree } = await import("@degu/degu/files");

await runUntilSignal(async (signal) => {
  signal.addEventListener("abort", () => console.log(`${signal.reason} ${signal.reason.code}`));
  const client = new Client(["127.0.0.1", Number(port)], { signal });
  if (mode === "request") await client.request("GET", "/");
  if (mode === "download") await download(client, "/f", `${dir}/f`, { signal });
  if (mode === "uploadTree") await uploadTree(client, dir, "/", { signal });
});
