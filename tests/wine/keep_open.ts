/**
 * Is loaded before the program on Windows: opens each file of the name `kept-open.txt` as soon as it
 * exists, and does not close it, as a program that shows the file does.
 */

import { patch } from "../support/patching.ts";

function open(path: string | URL): void {
  try {
    if (`${path}`.endsWith("kept-open.txt")) Deno.openSync(path);
  } catch {
    // The file does not exist yet.
  }
}

open("kept/kept-open.txt");
patch(Deno, "linkSync", (link) => (from, to) => {
  link(from, to);
  open(to);
});
patch(Deno, "renameSync", (rename) => (from, to) => {
  rename(from, to);
  open(to);
});
