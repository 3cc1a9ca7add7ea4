/**
 * A file that was really sent from one machine to another one in the same network, without pairing.
 * Prints what agent/docs/guide.md shows of the receiver's terminal.
 */

import { agree } from "@degu/testing/agent_lab.ts";
import { setUpSession, shownLines } from "@degu/testing/sessions.ts";

const [dir = ""] = Deno.args;
const { laptop, desk, type } = await setUpSession(dir, "laptop");
const [send, receive] = ["degu send holiday.mp4", "degu receive"];
const sending = type(laptop, send);
await sending.line("degu:");
const receiving = type(desk, receive);
await agree(sending, receiving);
const { stdout } = await receiving.ended();
console.log(`laptop$ ${send}\ndesk$ ${receive}\n${shownLines(stdout).join("\n")}`);
Deno.exit();
