/**
 * Runs the examples of files/docs/files.md and files/docs/protocol.md with an unreachable server:
 * each must end.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { makeDenoCommand, startCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { outsideScriptFlags } from "@degu/testing/programs.ts";

const ROOT = new URL("../../", import.meta.url);
const SERVES = /^await using server = await Server\.start\(.*;$/m;
/** Shortens the delays between retries, which are seconds. */
const FAST_TIMERS = "const later = globalThis.setTimeout;\n" +
  "globalThis.setTimeout = (work, milliseconds = 0) => later(work, milliseconds / 100);\n";

const pages = await Promise.all(
  ["files", "protocol"].map((name) => Deno.readTextFile(new URL(`files/docs/${name}.md`, ROOT))),
);
const examples = Array.from(
  pages.join("\n").matchAll(/^```ts\n([^]*?)^```$/gm),
  ([, code]) => code!,
);

Deno.test("every documented example ends if the server is unreachable", async () => {
  await using dir = await createTempDir();
  const serving = examples.filter((code) => SERVES.test(code));
  assert(serving.some((code) => code.includes("await retry(")), "no example retries");
  // Run the examples sequentially in one process. The process ends only if no example leaves an
  // operation pending.
  let main = `${FAST_TIMERS}
const fail = (error) => console.error(JSON.stringify(Deno.inspect(error)));
// Deno ends a process that has nothing else to do before it tells of an import that has failed.
const telling = setInterval(() => {}, 1000);
`;
  for (const [i, code] of serving.entries()) {
    await Deno.writeTextFile(
      `${dir.path}/${i}.ts`,
      code.replace(SERVES, "$&\nawait server[Symbol.asyncDispose]();"),
    );
    main += `await import("./${i}.ts").then(() => Deno.exit(1), fail);\n`;
  }
  await Deno.writeTextFile(`${dir.path}/main.ts`, `${main}clearInterval(telling);\n`);
  const allow = ["--allow-net=127.0.0.1", "--allow-read", "--allow-write=/tmp"];
  const command = makeDenoCommand(
    ["--no-lock", ...outsideScriptFlags(), ...allow],
    `${dir.path}/main.ts`,
  );
  await using running = new RunningProcess(
    startCommand(command, { stdin: "null", env: { NO_COLOR: "1" } }),
  );
  const { success, stderr } = await running.waitForEnd();
  assert(success, stderr);
  // Each server warns that it had no connection.
  const lines = stderr.trimEnd().split("\n");
  const errors = lines.filter((line) => !line.includes("without a connection"));
  assertEquals(errors.length, serving.length, stderr);
  for (const each of errors) assertMatch(each, /ConnectionRefused|Connection refused/);
});
