/**
 * Pairs two new machines, and puts a file from one to the other. Prints the two terminals as
 * README.md shows them, where `degu serve` runs in a second terminal.
 */

import { confirmNumbers } from "@degu/testing/agent_lab.ts";
import { formatScreenLines, setUpSession } from "@degu/testing/sessions.ts";

const [dir = ""] = Deno.args;
const { laptop, desk, type } = await setUpSession(dir, "desk");
const texts: string[] = [];

const pairing = [laptop, desk].map((machine) => type(machine, "degu pair"));
await confirmNumbers(...pairing);
const [, deskResult] = await Promise.all(pairing.map((each) => each.waitForEnd()));
texts.push("laptop$ degu pair", "desk$ degu pair", ...formatScreenLines(deskResult!.stdout));
const line = "degu serve --inbox ~/Inbox";
await type(laptop, line).waitForLine("serving on");
texts.push(`laptop$ ${line}`);
const putCommand = "degu put holiday.mp4 laptop:";
await using putting = type(desk, putCommand);
texts.push(`desk$ ${putCommand}`, ...formatScreenLines((await putting.waitForEnd()).stdout));
await using listing = type(laptop, "ls ~/Inbox/desk");
texts.push("laptop$ ls ~/Inbox/desk", (await listing.waitForEnd()).stdout.trim());
console.log(texts.join("\n"));
Deno.exit();
