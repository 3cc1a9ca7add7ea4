/**
 * Sends a file from one machine to another in the same network, without pairing. Prints the
 * receiver's terminal as agent/docs/guide.md shows it.
 */

import { confirmNumbers } from "../../agent/tests/agent_lab.ts";
import { formatScreenLines, setUpSession } from "./sessions.ts";

const [dir = ""] = Deno.args;
const { laptop, desk, type } = await setUpSession(dir, "laptop");
const [send, receive] = ["degu send holiday.mp4", "degu receive"];
const sending = type(laptop, send);
await sending.waitForLine("degu receive");
const receiving = type(desk, receive);
await confirmNumbers(sending, receiving);
const { stdout } = await receiving.waitForEnd();
console.log(`laptop$ ${send}\ndesk$ ${receive}\n${formatScreenLines(stdout).join("\n")}`);
Deno.exit();
