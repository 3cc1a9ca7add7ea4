/**
 * A file that was really sent from one machine to another one in the same network, without pairing.
 * Prints what docs/agent.md shows of the receiver's terminal.
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
await slowDown(laptop, RATE);
await Deno.writeFile(`${laptop.dir}/holiday.mp4`, new Uint8Array(0));
await Deno.truncate(`${laptop.dir}/holiday.mp4`, FILM_BYTES);

const type = await install(dir);
const [send, receive] = ["degu send holiday.mp4", "degu receive"];
const sending = type(laptop, send);
await sending.line("degu:");
const receiving = type(desk, receive);
await agree(sending, receiving);
const { stdout } = await receiving.ended();
console.log(`laptop$ ${send}\ndesk$ ${receive}\n${shownLines(stdout).join("\n")}`);
Deno.exit();
