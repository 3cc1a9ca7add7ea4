/** Terminal sessions as the pages show them. */

import { connectMachines, install, limitRate, Machine } from "./agent_lab.ts";

/** Large enough for a progress bar. */
const FILM_BYTES = 100_000_000;
const RATE = "1gbit";

/** Makes two machines in one network, and a film on the one that will send it. */
export async function setUpSession(dir: string, sender: "laptop" | "desk") {
  const laptop = await Machine.make("laptop", dir);
  const desk = await Machine.make("desk", dir);
  await connectMachines([[laptop, "192.168.1.7/24"], [desk, "192.168.1.8/24"]]);
  const from = sender === "laptop" ? laptop : desk;
  await limitRate(from, RATE);
  await Deno.writeFile(`${from.dir}/holiday.mp4`, new Uint8Array(0));
  await Deno.truncate(`${from.dir}/holiday.mp4`, FILM_BYTES);
  return { laptop, desk, type: await install(dir) };
}

/** The number, the question, its answer, the last progress bar and the end, without other lines. */
const SHOWN = / asks\. |^ +\d{3} \d{3}$|^does |^yes$|^paired with|\[=+ *\].* left$|copied/;

/** The lines of a terminal that is so wide that no line is broken. */
export function formatScreenLines(text: string): string[] {
  const lines: string[] = [];
  const isBar = (line: string) => line.includes("%  [");
  for (const drawn of text.split(/\r?\n|\r/)) {
    // The bar is moved to the name, and ids are cut.
    const line = drawn.replace("\x1b[K", "").replace(/ +(?=\d+ %)/, "  ").trimEnd()
      .replace(/\b([a-z2-7]{8})[a-z2-7]{44}\b/, "$1…");
    if (!SHOWN.test(line)) continue;
    if (isBar(line) && isBar(lines.at(-1) ?? "")) lines.pop();
    lines.push(line);
  }
  return lines;
}
