import { assertEquals } from "@std/assert";
import { completionScript, hasShell, PEERS, runShell } from "@degu/testing/shells.ts";

const isThere = await hasShell("fish");

Deno.test({
  name: isThere
    ? "fish completes commands, options, peers and shells"
    : "completion in fish: left out, as fish is not installed",
  ignore: !isThere,
  fn: async () => {
    const script = `${await completionScript("fish")}
function degu; printf '%s' '${PEERS}'; end
`;
    const rows = [
      ["in", "init invite"],
      ["init --na", "--name"],
      ["ping ", "camera phone"],
      ["forget ph", "phone"],
      ["ls ph", "phone:"],
      ["get cam", "camera:"],
      ["completions f", "fish"],
      ["help ren", "rename"],
    ] as const;
    const lines = rows.map(([line]) => `complete -C 'degu ${line}' | cut -f1 | string join ' '`);
    const completed = await runShell("fish", `${script}${lines.join("\n")}\ntrue`);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
});
