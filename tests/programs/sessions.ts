/** Terminal sessions, as the documentation shows them. */

import { install, limitRate, makeNetwork } from "../../agent/tests/agent_lab.ts";

/** The transfer takes more than a second, so that it has a progress bar. */
const FILM_BYTES = 100_000_000;
const RATE = "500mbit";

/** Sets up two machines in one network, and a film on the sending machine. */
export async function setUpSession(dir: string, sender: "laptop" | "desk") {
  const addresses = { laptop: "192.168.1.7/24", desk: "192.168.1.8/24" };
  const { laptop, desk } = await makeNetwork(dir, addresses);
  const senderMachine = sender === "laptop" ? laptop : desk;
  await limitRate(senderMachine, RATE);
  await Deno.writeFile(`${senderMachine.dir}/holiday.mp4`, new Uint8Array(0));
  await Deno.truncate(`${senderMachine.dir}/holiday.mp4`, FILM_BYTES);
  return { laptop, desk, type: await install(dir) };
}

/** The lines that the documentation shows: number, questions, reply, last progress bar and end. */
const SHOWN_LINE =
  / asks\. |^ +\d{3} \d{3}$|^does |^yes$|^paired with|^receive files of |\[=+ *\].* left$|copied/;

/** Returns the lines of the documentation from the screen of a very wide terminal. */
export function formatScreenLines(text: string): string[] {
  const lines: string[] = [];
  const isBar = (line: string) => line.includes("%  [");
  for (const rawLine of text.split(/\r?\n|\r/)) {
    // The bar is moved to the name.
    const line = rawLine.replace("\x1b[K", "").replace(/ +(?=\d+ %)/, "  ").trimEnd();
    if (!SHOWN_LINE.test(line)) continue;
    if (isBar(line) && isBar(lines.at(-1) ?? "")) lines.pop();
    lines.push(line);
  }
  return lines;
}
