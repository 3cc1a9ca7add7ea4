/** Asks a question at the terminal, prints the reply, and ends by itself. */
import { openTerminal } from "@degu/degu/device/terminal";

using terminal = openTerminal();
const { signal } = new AbortController();
console.log(`${await terminal?.askYesOrNo("receive \x07 files?", signal)}`);
