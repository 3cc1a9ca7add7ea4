import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { agentCommand, AgentHomes } from "@degu/testing/agents.ts";
import { hasShell, runShell } from "@degu/testing/shells.ts";

const hasBash = await hasShell("bash");

const INVITE = ["invite", "--listen", "127.0.0.1:0", "--serving", "127.0.0.1:1"];
const NET = ["--allow-net=127.0.0.1"];

Deno.test("invite prints only the line on stdout, then who joined, and mentions degu join -", async () => {
  await using homes = await AgentHomes.create();
  const [camera, viewer] = await homes.init("camera", "viewer");
  const invite = homes.spawn("camera", INVITE, NET);
  const line = await invite.line("degu:");
  const joined = await homes.run("viewer", ["join", line, "--serving", "127.0.0.1:2"], NET);
  assertEquals([joined.code, joined.stdout], [0, `paired with camera ${camera}\n`]);
  assertStringIncludes(joined.stderr, '"degu ping camera"');
  const { code, stdout, stderr } = await invite.ended();
  assertEquals([code, stdout], [0, `${line}\npaired with viewer ${viewer}\n`]);
  assertStringIncludes(stderr, '"degu join -"');
});

Deno.test("with --json the line and the peer are one object each", async () => {
  await using homes = await AgentHomes.create();
  const [, viewer] = await homes.init("camera", "viewer");
  const invite = homes.spawn("camera", [...INVITE, "--json", "--quiet", "--as", "tv"], NET);
  const { line, expires } = JSON.parse(await invite.line());
  assertMatch(expires, /^\d{4}-/);
  await homes.must("viewer", ["join", "-", "--serving", "127.0.0.1:2"], NET, line);
  const { code, stdout, stderr } = await invite.ended();
  assertEquals([code, stderr], [0, ""]);
  assertEquals(JSON.parse(stdout.split("\n")[1]!), { name: "tv", id: viewer });
});

Deno.test("an address of another machine is named", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  const net = ["--allow-net=203.0.113.7"];
  const line = ["--listen", "203.0.113.7:0"];
  for (const args of [["serve", ...line], ["invite", ...line, "--serving", "127.0.0.1:1"]]) {
    const { code, stderr } = await homes.run("camera", args, net);
    assertEquals(code, 1, stderr);
    assertStringIncludes(
      stderr,
      "203.0.113.7:0 is not an address of this machine: use one that is",
    );
  }
});

Deno.test("an invitation that nobody uses expires in time, and says what to do", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  const { code, stderr } = await homes.run("camera", [...INVITE, "--seconds", "1"], NET);
  assertEquals(code, 1);
  assertStringIncludes(stderr, 'nobody has joined in time: run "degu invite" again');
});

Deno.test("an interrupted invitation is closed", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera", "viewer");
  const invite = homes.spawn("camera", INVITE, NET);
  const line = await invite.line("degu:");
  await invite.message("degu join");
  invite.kill("SIGINT");
  const { code, stderr } = await invite.ended();
  assertEquals(code, 130);
  assertStringIncludes(stderr, "interrupted");
  const joined = await homes.run("viewer", ["join", line, "--serving", "127.0.0.1:2"], NET);
  assertEquals(joined.code, 3);
  assertStringIncludes(joined.stderr, "this line is not open any more");
});

Deno.test("invalid options are a usage error", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  for (const [option, value] of [["--seconds", "0"], ["--as", "a b"], ["--serving", "/run/x"]]) {
    const { code, stderr } = await homes.run("camera", [...INVITE, option!, value!], NET);
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, option!);
  }
});

Deno.test("without a terminal --qr reports that it draws nothing, and the line is still printed", async () => {
  await using homes = await AgentHomes.create();
  await homes.init("camera");
  const { stdout, stderr } = await homes.run("camera", [...INVITE, "--seconds", "1", "--qr"], NET);
  assertMatch(stdout, /^degu:[\w-]+\n$/);
  assertStringIncludes(stderr, "--qr: the output is not a terminal");
});

Deno.test({
  name: hasBash
    ? "invite can be piped into join, on another machine too: both succeed"
    : "invite piped into join: left out, as bash is not installed",
  ignore: !hasBash,
  fn: async () => {
    await using homes = await AgentHomes.create();
    const [camera] = await homes.init("camera", "viewer");
    const of = (name: string, args: readonly string[]) =>
      agentCommand(["--home", homes.at(name), "--quiet", ...args], homes.flags(name, ...NET)).join(
        " ",
      );
    const join = ["join", "-", "--serving", "127.0.0.1:2"];
    const script = `${of("camera", INVITE)} | ${of("viewer", join)}; echo "\${PIPESTATUS[*]}"`;
    assertEquals(await runShell("bash", script), `paired with camera ${camera}\n0 0\n`);
  },
});
