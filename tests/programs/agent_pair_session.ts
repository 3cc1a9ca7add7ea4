/**
 * Two machines that have nothing yet are paired, and a file is put from one to the other. Prints
 * what README.md shows of the two terminals, where others are opened beside `degu serve`.
 */

import { agree, install, Machine, network, slowDown } from "@degu/testing/agent_lab.ts";
import { shownLines } from "@degu/testing/sessions.ts";

/** Large enough for a progress bar. */
const FILM_BYTES = 100_000_000;
const RATE = "1gbit";

const [dir = ""] = Deno.args;
const laptop = await Machine.make("laptop", dir);
const desk = await Machine.make("desk", dir);
await network([[laptop, "192.168.1.7/24"], [desk, "192.168.1.8/24"]]);
await slowDown(desk, RATE);
await Deno.writeFile(`${desk.dir}/holiday.mp4`, new Uint8Array(0));
await Deno.truncate(`${desk.dir}/holiday.mp4`, FILM_BYTES);

const type = await install(dir);
const texts: string[] = [];

const pairing = [laptop, desk].map((machine) => type(machine, "degu pair"));
await agree(...pairing);
const [, ended] = await Promise.all(pairing.map((each) => each.ended()));
texts.push("laptop$ degu pair", "desk$ degu pair", ...shownLines(ended!.stdout));
const line = "degu serve --inbox ~/Inbox";
await type(laptop, line).line("serving on");
texts.push(`laptop$ ${line}`);
const put = "degu put holiday.mp4 laptop:";
await using putting = type(desk, put);
texts.push(`desk$ ${put}`, ...shownLines((await putting.ended()).stdout));
await using listing = type(laptop, "ls ~/Inbox/desk");
texts.push("laptop$ ls ~/Inbox/desk", (await listing.ended()).stdout.trim());
console.log(texts.join("\n"));
Deno.exit();
