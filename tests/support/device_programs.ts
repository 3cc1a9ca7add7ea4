/**
 * Devices in other processes.
 *
 * @module
 */

import { runScript } from "./processes.ts";

/** Runs code with a device in a process of its own; resolves to what it printed. */
export async function inAnotherProcess(dir: string, code: string): Promise<string> {
  const script = `import { Device } from "./device.ts";
await using device = await Device.open(${JSON.stringify(dir)});
${code}`;
  const flags = ["--no-check", `--allow-read=${dir}`, `--allow-write=${dir}`, "--allow-sys=uid"];
  return await runScript(script, flags, {});
}
