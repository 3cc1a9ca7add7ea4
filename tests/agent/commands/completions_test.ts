import { assertEquals, assertStringIncludes } from "@std/assert";
import { runAgent } from "@degu/testing/agents.ts";

Deno.test("each shell has its own script, which needs no permission", async () => {
  for (
    const [shell, line] of [["bash", "complete -F"], ["zsh", "#compdef degu"], [
      "fish",
      "complete -c degu",
    ]]
  ) {
    const { code, stdout, stderr } = await runAgent(["completions", shell!, "--home", "/nowhere"]);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, line!);
    const json = await runAgent(["completions", shell!, "--home", "/nowhere", "--json"]);
    assertEquals(JSON.parse(json.stdout), { shell, script: stdout });
  }
});
