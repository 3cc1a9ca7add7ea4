/** A program that a timer and stdin keep alive, with a main function for each argument. */
import { runUntilSignal } from "@degu/internal/program/termination.ts";
import { setTimeout as wait } from "node:timers/promises";

setInterval(() => {}, 1000);
Deno.stdin.read(new Uint8Array(1)).catch(() => {});

async function waitForAbort(signal: AbortSignal): Promise<void> {
  console.log("ready");
  await wait(2 ** 30, null, { signal }).catch(() => {});
}

const mains: Record<string, (signal: AbortSignal) => unknown> = {
  async returns(signal) {
    await using stack = new AsyncDisposableStack();
    stack.defer(() => console.log("disposed of"));
    await waitForAbort(signal);
  },
  async "sets the code"(signal) {
    await waitForAbort(signal);
    Deno.exitCode = 3;
  },
  async "throws the reason"(signal) {
    await waitForAbort(signal);
    throw signal.reason;
  },
  async "throws because of the reason"(signal) {
    await waitForAbort(signal);
    throw new Error("the call was aborted", { cause: signal.reason });
  },
  async "throws another error"(signal) {
    await waitForAbort(signal);
    throw new Error("the disk is full");
  },
  async "ignores the signal"(signal) {
    signal.addEventListener("abort", () => console.log("aborted"));
    console.log("ready");
    await new Promise(() => {});
  },
  "has ended": () => 5,
  "has failed": () => {
    throw new Error("no");
  },
};

const result = await runUntilSignal(mains[Deno.args[0]!]!).catch((error) => {
  if (Deno.args[0] === "has failed") return `${error}`;
  throw error;
});
console.log(`result ${result}`);
