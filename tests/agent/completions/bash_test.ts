import { assertEquals } from "@std/assert";
import { completionScript, hasShell, PEERS, runShell } from "@degu/testing/shells.ts";

const isThere = await hasShell("bash");

Deno.test({
  name: isThere
    ? "bash completes commands, options, directories, peers and shells"
    : "completion in bash: left out, as bash is not installed",
  ignore: !isThere,
  fn: async () => {
    const script = `${await completionScript("bash")}
degu() { printf '%s' '${PEERS}'; }
complete_line() {
  COMP_WORDS=(degu "$@"); COMP_CWORD=$#; COMPREPLY=()
  _degu
  local IFS=' '
  printf '%s\\n' "\${COMPREPLY[*]}"
}
`;
    const rows = [
      [`in`, "init invite"],
      [`--home /tmp in`, "init invite"],
      [`--ho`, "--home"],
      [`init --na`, "--name"],
      [`--json init --na`, "--name"],
      [`ping ''`, "camera phone"],
      [`forget ph`, "phone"],
      [`serve --share /tm`, "/tmp"],
      [`init --name x`, ""],
      [`ls ph`, "phone:"],
      [`get cam`, "camera:"],
      [`put /tm`, "/tmp"],
      [`completions f`, "fish"],
      [`help ren`, "rename"],
    ] as const;
    const lines = rows.map(([words]) => `complete_line ${words}`).join("\n");
    const completed = await runShell("bash", script + lines);
    assertEquals(completed, rows.map(([, expected]) => `${expected}\n`).join(""));
  },
});
