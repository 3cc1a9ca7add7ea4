/**
 * Three devices on two cables, with link-local addresses only: the one in the middle serves. Prints what the others see as JSON.
 *
 * @module
 */

import { cable, Machine, pair } from "@degu/testing/agent_lab.ts";

const [dir = ""] = Deno.args;
const [left, middle, right] = await Promise.all(
  ["left", "middle", "right"].map((name) => Machine.make(name, dir)),
) as [Machine, Machine, Machine];
await cable(left, middle, ["fe80::1/64", "fe80::2/64"]);
await cable(middle, right, ["fe80::3/64", "fe80::4/64"]);
await using serving = middle.start(["serve"]);
await serving.line("serving on");
await pair(middle, left);
await pair(middle, right);
const pings = await Promise.all(
  [left, right].map((machine) => machine.run(["--json", "ping", "middle"])),
);
const unknown = await left.run(["ping", "right"]);
await middle.succeed(["forget", "left"]);
const forgotten = await left.run(["ping", "middle"]);
const other = await right.run(["ping", "middle"]);
console.log(JSON.stringify({ pings, unknown, forgotten, other }));
