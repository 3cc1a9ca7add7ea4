/** Waits for the end that the system asks for, and says what it sees. */
import { terminationSignal } from "@degu/degu";

const signal = terminationSignal();
console.log(signal === terminationSignal());
const [mode] = Deno.args;
if (mode === "wait") {
  signal.addEventListener("abort", () => console.log(`${signal.reason}`));
  // The test ends the program by a second signal.
  setInterval(() => {}, 1000);
}
console.log("ready");
