/**
 * Pairs two new machines, and puts a file from one to the other. Prints the two terminals as
 * README.md shows them, where the receiving machine has a second terminal.
 */

import { typeYes } from "../../agent/tests/agent_lab.ts";
import type { RunningAgent } from "@degu/testing/agents.ts";
import { formatScreenLines, setUpSession } from "./sessions.ts";

const [dir = ""] = Deno.args;
const { laptop, desk, type } = await setUpSession(dir, "desk");
const texts: string[] = [];

const pairing = [laptop, desk].map((machine) => type(machine, "degu pair"));
await typeYes(...pairing);
const [atLaptop, atDesk] = pairing as [RunningAgent, RunningAgent];
// The laptop receives files, the desk doesn't.
await Promise.all(pairing.map((each) => each.waitForLine("now? [y/N]")));
atDesk.writeInput("\n");
atLaptop.writeInput("y\n");
await atLaptop.waitForLine("serving on");
texts.push("laptop$ degu pair", "desk$ degu pair");
texts.push(...formatScreenLines((await atDesk.waitForEnd()).stdout));
const putCommand = "degu put holiday.mp4 laptop:";
await using putting = type(desk, putCommand);
texts.push(`desk$ ${putCommand}`, ...formatScreenLines((await putting.waitForEnd()).stdout));
await using listing = type(laptop, "ls ~/Inbox/desk");
texts.push("laptop$ ls ~/Inbox/desk", (await listing.waitForEnd()).stdout.trim());
console.log(texts.join("\n"));
Deno.exit();
