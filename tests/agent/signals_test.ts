import { assertEquals } from "@std/assert";
import { spawnScript } from "@degu/testing/processes.ts";

const SCRIPT = `import { catchSignals } from "./agent/signals.ts";
const signals = catchSignals();
const { signal } = signals;
signal.addEventListener("abort", () => console.log(signal.reason.name));
console.log("ready");
await new Promise((resolve) => setTimeout(resolve, 60_000));`;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`the first ${signal} aborts, and the second one ends the process`, async () => {
    const child = await spawnScript(SCRIPT, ["--no-check"]);
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await lines.read()).value, "ready\n");
    child.kill(signal);
    assertEquals((await lines.read()).value, "Interrupted\n");
    child.kill(signal);
    assertEquals((await child.status).code, 130);
    await lines.cancel();
    await child.stderr.cancel();
  });
}
