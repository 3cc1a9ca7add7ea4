/** Pairing by a number, with the program: two people, or one with two screens, who compare it. */
import { announce, findOffers, PAIR_SERVICE, SEND_SERVICE } from "@degu/internal/agent/mdns.ts";
import { decodeLine, type LineAddress } from "@degu/internal/device/invitation_line.ts";
import { agentCommand, AgentHomes, type RunningAgent } from "@degu/testing/agents.ts";
import { loopbackNetwork, SILENT } from "@degu/testing/mdns.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { runOnTerminal, terminalObstacle, testUnless } from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { once } from "node:events";
import * as tls from "node:tls";

const TERMINAL = { terminal: { columns: 500, rows: 24 }, stdin: null };
const LOCAL = ["--listen", "127.0.0.1:0", "--serving", "127.0.0.1:7443"];
const SERVING = ["--serving", "127.0.0.1:7443"];
const NUMBER = /^ {2}(\d{3} \d{3})/;

interface Asking extends AsyncDisposable {
  readonly homes: AgentHomes;
  readonly one: RunningAgent;
  readonly two: RunningAgent;
  /** What each shows, and asks. */
  readonly shown: readonly string[];
}

/** Devices one and two, at whose terminals the same number is on the screen. */
async function asking(...more: string[]): Promise<Asking> {
  const homes = await AgentHomes.create("one", "two");
  const one = homes.start("one", ["invite", ...LOCAL, ...more], TERMINAL);
  const [, address = ""] = /--address ([\d.:]+)"/.exec(await one.line("--address")) ?? [];
  const two = homes.start("two", ["join", "--address", address, ...SERVING], TERMINAL);
  const shown = await Promise.all([one, two].map(async (each) => {
    await each.line(" asks. If it is the one that you mean");
    return NUMBER.exec(await each.line("  "))?.[1] ?? "";
  }));
  return { homes, one, two, shown, [Symbol.asyncDispose]: () => homes[Symbol.asyncDispose]() };
}

/** Waits for the question, and answers it. */
async function answer(agent: RunningAgent, text: string): Promise<string> {
  const question = await agent.line("Type y or yes");
  agent.feed(`${text}\n`);
  return question;
}

for (const [one, two] of [["y", "yes"], ["yes", "y"]] as const) {
  Deno.test(`both show who asks and the same number in two groups; with ${one} and ${two} they are paired`, async () => {
    await using test = await asking();
    const [number, other] = test.shown;
    assertMatch(number!, /^\d{3} \d{3}$/);
    assertEquals(other, number);
    const asked = await Promise.all([answer(test.one, one), answer(test.two, two)]);
    assertEquals(asked.map((each) => each.trimEnd().split("\x1b[K").at(-1)), [
      `does two show ${number}, too? Type y or yes if so, and press Enter:`,
      `does one show ${number}, too? Type y or yes if so, and press Enter:`,
    ]);
    const [atOne, atTwo] = await Promise.all([test.one.ended(), test.two.ended()]);
    assertEquals([atOne.code, atTwo.code], [0, 0], atOne.stdout + atTwo.stdout);
    for (const { stdout } of [atOne, atTwo]) {
      assert(!stdout.includes("has not come in"), stdout);
      // No countdown takes the place of the question.
      const [, asking = ""] = /asks\.([^]*)Type y or yes/.exec(stdout) ?? [];
      assert(asking !== "" && !asking.includes("left"), stdout);
    }
    const [idOne, idTwo] = await Promise.all(
      ["one", "two"].map((name) => test.homes.must(name, ["id"])),
    );
    assertStringIncludes(atOne.stdout, idTwo!.trim() + " asks.");
    assertStringIncludes(atTwo.stdout, `paired with ${idOne!.trim()}`);
    const known = JSON.parse(await test.homes.must("two", ["peers", "--json"]));
    assertEquals(`${known.name} ${known.id}`, idOne!.trim());
  });
}

for (const no of ["n", "", "Y", "yes!"]) {
  Deno.test(`${JSON.stringify(no)} is not yes: nothing is stored at either end, and the invitation goes on`, async () => {
    await using test = await asking();
    await answer(test.two, no);
    const { code, stdout } = await test.two.ended();
    assertEquals(code, 3);
    assertStringIncludes(stdout, "not confirmed here");
    const said = await test.one.line("two has not come in");
    assertStringIncludes(said, "two has not come in: it has left, or the answer there was no");
    const line = /degu:[\w-]+/.exec(await test.one.line("degu:"))![0];
    const peers = await Promise.all(
      ["one", "two"].map((name) => test.homes.must(name, ["peers", "--json"])),
    );
    assertEquals(peers, ["", ""]);
    await test.homes.must("two", ["join", "-", ...SERVING], line.trim());
    assertEquals((await test.one.ended()).code, 0);
  });
}

Deno.test("the end of the input, by Ctrl-D, is a no", async () => {
  await using test = await asking();
  await test.two.line("Type y or yes");
  test.two.feed("", true);
  const { code, stdout } = await test.two.ended();
  assertEquals(code, 3, stdout);
  assertStringIncludes(stdout, "not confirmed here");
});

Deno.test("what is typed before the question, in pieces or lines, answers nothing; a no at the other end says who", async () => {
  await using test = await asking();
  // Each is on the screen for two seconds before it asks.
  for (const typed of ["yes\n", "y\n", "ye"]) test.one.feed(typed);
  const answered = answer(test.one, "s");
  await answer(test.two, "yes");
  await answered;
  const { code, stdout } = await test.two.ended();
  assertEquals(code, 3, stdout);
  assertStringIncludes(stdout, "one did not confirm");
  const said = await test.one.line("two has not come in");
  assertStringIncludes(said, "two has not come in: the answer here was no");
});

Deno.test("without a terminal, or with --json, there is the line only; join without it asks for one", async () => {
  await using homes = await AgentHomes.create("one", "two");
  for (const [args, options] of [[[], {}], [["--json"], TERMINAL]] as const) {
    const invite = homes.start("one", ["invite", ...LOCAL, ...args], options);
    const line = /degu:[\w-]+/.exec(await invite.line("degu:"))![0];
    // Whoever knows the way to the plain port finds it closed to numbers.
    await homes.must("two", ["join", "-", ...SERVING], line);
    const { code, stdout, stderr } = await invite.ended();
    assertEquals(code, 0);
    assert(!`${stdout}${stderr}`.includes("--address"), stderr);
    await homes.must("one", ["forget", "two"]);
  }
  const at = ["join", "--address", "127.0.0.1:1"];
  for (const args of [at, ["join"]]) await homes.fail("two", 2, "on a terminal only", args);
  const { code, stdout } = await homes.run("two", [...at, "--json"], TERMINAL);
  assertEquals(code, 2, stdout);
});

Deno.test("where nothing answers at --address, join fails with 3 and says so; it needs a port", async () => {
  await using homes = await AgentHomes.create("two");
  const { code, stdout } = await homes.run("two", ["join", "--address", "127.0.0.1:1"], TERMINAL);
  assertEquals(code, 3);
  assertStringIncludes(stdout, "no device invites at these addresses");
  await homes.fail("two", 2, "port", ["join", "--address", "127.0.0.1:0"]);
});

testUnless(
  await terminalObstacle(),
  "on a terminal, what is typed before the question does not count when Enter comes after it",
  async () => {
    await using homes = await AgentHomes.create("one", "two");
    const one = homes.start("one", ["invite", ...LOCAL], TERMINAL);
    const [, address = ""] = /--address ([\d.:]+)"/.exec(await one.line("--address")) ?? [];
    const args = ["--home", homes.at("two"), "join", "--address", address, ...SERVING];
    const flags = homes.flags("two", "--allow-net=127.0.0.1");
    const steps = [["it shows this number:", "yes"], ["Type y or yes", "\n"]] as const;
    const command = agentCommand(args, flags);
    const { code, shown } = await runOnTerminal({ command, steps, columns: 200 });
    assertEquals(code, 3, shown);
    assertStringIncludes(shown, "not confirmed here");
  },
);

testUnless(
  await terminalObstacle(),
  "what is typed while the program is stopped, longer than it is deaf, does not count when it goes on",
  async () => {
    await using homes = await AgentHomes.create("one", "two");
    const one = homes.start("one", ["invite", ...LOCAL], TERMINAL);
    const [, address = ""] = /--address ([\d.:]+)"/.exec(await one.line("--address")) ?? [];
    const args = ["--home", homes.at("two"), "join", "--address", address, ...SERVING];
    const command = agentCommand(args, homes.flags("two", "--allow-net=127.0.0.1"));
    const steps = [["it shows this number:", "y\n", 2.5], ["Type y or yes", "n\n"]] as const;
    const { code, shown } = await runOnTerminal({ command, steps, columns: 200 });
    assertEquals(code, 3, shown);
    assertStringIncludes(shown, "not confirmed here");
    assert(!shown.includes("waiting for the answer"), shown);
  },
);

Deno.test("a stranger can't scroll the number away: what it causes is said when the question is over", async () => {
  await using homes = await AgentHomes.create("one", "two");
  let shown = "";
  const onText = (_: string, text: string) => void (shown += text);
  const one = homes.start("one", ["invite", ...LOCAL], { ...TERMINAL, onText });
  const line = /degu:[\w-]+/.exec(await one.line("degu:"))![0];
  const [, address = ""] = /--address ([\d.:]+)"/.exec(await one.line("--address")) ?? [];
  const two = homes.start("two", ["join", "--address", address, ...SERVING], TERMINAL);
  await Promise.all([one, two].map((each) => each.line("Type y or yes")));
  const [[host, port]] = decodeLine(line).addresses as [LineAddress];
  const stranger = tls.connect({
    ...{ host, port, rejectUnauthorized: false, ALPNProtocols: ["degu-pair/2"] },
  });
  stranger.on("error", () => {});
  stranger.write("POST /secret HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}");
  await within(once(stranger.resume(), "close"), "the stranger is hung up on");
  assert(!shown.includes("wrong secret"), shown);
  one.feed("n\n");
  await one.line("invitation: wrong secret from");
  assertEquals((await two.ended()).code, 3);
});

Deno.test("what is offered is found with its name and its 16 characters, each type by itself, and this is told from other records", async () => {
  const network = await loopbackNetwork();
  const [one, two] = ["c", "d"].map((letter) => letter.repeat(52)) as [string, string];
  const logger = SILENT;
  const services = [
    { name: "One", id: one, port: 1, type: PAIR_SERVICE, logger },
    { name: "x".repeat(63), id: two, port: 2, type: PAIR_SERVICE, logger },
    { name: "One", id: one, port: 3, type: SEND_SERVICE, logger },
    { name: "One", id: one, port: 4, logger },
    { name: "a b", id: one, port: 5, type: PAIR_SERVICE, logger },
  ];
  await using stack = new AsyncDisposableStack();
  for (const service of services) stack.use(announce(service, network));
  const find = async (type: string) => {
    const found = await findOffers(type, { seconds: 2.5, logger }, network);
    return found.map(({ name, id, addresses }) => [name, id, addresses.map(([, port]) => port)])
      .sort();
  };
  const [pairing, sending] = await Promise.all([find(PAIR_SERVICE), find(SEND_SERVICE)]);
  assertEquals(pairing, [["One", "c".repeat(16), [1]], ["x".repeat(46), "d".repeat(16), [2]]]);
  assertEquals(sending, [["One", "c".repeat(16), [3]]]);
});
