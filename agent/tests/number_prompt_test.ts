/**
 * Pairing by a number, with the program: two people, or one person with two screens, compare it.
 */
import { decodeLine, type LineAddress } from "@degu/internal/device/pairing/invitation_line.ts";
import { AgentHomes, makeAgentCommand, type RunningAgent } from "@degu/testing/agents.ts";
import { openTerminal } from "@degu/degu/device/terminal";
import { toDeviceLine } from "@degu/internal/agent/pair/line_kinds.ts";
import { Output } from "@degu/internal/agent/terminal/output.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { skipIgnoredInput, speedUpTimeouts } from "@degu/testing/clock.ts";
import { patch } from "@degu/testing/patching.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import {
  findTerminalObstacle,
  ignoreIf,
  runOnTerminal,
  type TerminalOptions,
} from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { once } from "node:events";
import * as tls from "node:tls";
import { makeDevices, RawJoiner } from "../../device/tests/pairing.ts";

const TERMINAL = { terminal: { columns: 500, rows: 24 }, stdin: null };
const LOCAL = ["--listen", "127.0.0.1:0", "--serving", "127.0.0.1:7443"];
const SERVING = ["--serving", "127.0.0.1:7443"];
const NUMBER = /^ {2}(\d{3} \d{3})/;

interface ShownNumber extends AsyncDisposable {
  readonly homes: AgentHomes;
  readonly one: RunningAgent;
  readonly two: RunningAgent;
  /** The numbers on both screens. */
  readonly shownNumbers: readonly string[];
}

/** Returns the address that a command prints for the other device. */
async function waitForAddress(agent: RunningAgent): Promise<string> {
  return /--address ([\d.:]+)"/.exec(await agent.waitForLine("--address"))?.[1] ?? "";
}

/** Starts `degu pair` on both devices. */
async function startBoth(homes: AgentHomes, options = LOCAL) {
  const one = homes.start("one", ["pair", ...options], TERMINAL);
  const addressArgs = ["--address", await waitForAddress(one)];
  return { one, two: homes.start("two", ["pair", ...addressArgs, ...SERVING], TERMINAL) };
}

/** Starts `degu pair` for device one, and makes its command for device two in a process. */
async function startWithCommand(homes: AgentHomes, flags: readonly string[] = []) {
  const one = homes.start("one", ["pair", ...LOCAL], TERMINAL);
  const pairArgs = ["pair", "--address", await waitForAddress(one), ...SERVING];
  const command = makeAgentCommand(
    ["--home", homes.joinPath("two"), ...pairArgs],
    homes.makeFlags("two", "--allow-net=127.0.0.1", ...flags),
  );
  return { one, command };
}

/** Makes devices one and two, whose terminals show the same number. */
async function startPairing(): Promise<ShownNumber> {
  const homes = await AgentHomes.create("one", "two");
  const { one, two } = await startBoth(homes);
  const shownNumbers = await Promise.all([one, two].map(async (each) => {
    await each.waitForLine(" asks. If it is the one that you mean");
    return NUMBER.exec(await each.waitForLine("  "))?.[1] ?? "";
  }));
  return {
    homes,
    one,
    two,
    shownNumbers,
    [Symbol.asyncDispose]: () => homes[Symbol.asyncDispose](),
  };
}

/** Waits for the question, and answers it. */
async function answerQuestion(agent: RunningAgent, text: string): Promise<string> {
  const question = await agent.waitForLine("Type y or yes");
  agent.writeInput(`${text}\n`);
  return question;
}

type Pair = Pick<ShownNumber, "one" | "two">;

const answerBoth = ({ one, two }: Pair, textOfOne = "yes", textOfTwo = "yes") =>
  Promise.all([answerQuestion(one, textOfOne), answerQuestion(two, textOfTwo)]);

const waitForBoth = ({ one, two }: Pair, text = "Type y or yes") =>
  Promise.all([one, two].map((agent) => agent.waitForLine(text)));

const waitForEnds = ({ one, two }: Pair) => Promise.all([one.waitForEnd(), two.waitForEnd()]);

/** Waits until a command offers to receive files, and answers. */
async function answerOffer(agent: RunningAgent, text = "\n"): Promise<void> {
  await agent.waitForLine("[y/N]");
  agent.writeInput(text);
}

Deno.test("both show the other device and the same number in two groups; with y and yes they are paired", async () => {
  // The question stays long enough for the countdown to be printed.
  await using test = await startPairing();
  const [number, other] = test.shownNumbers;
  assertMatch(number!, /^\d{3} \d{3}$/);
  assertEquals(other, number);
  const questions = await answerBoth(test, "y", "yes");
  assertEquals(questions.map((each) => each.trimEnd().split("\x1b[K").at(-1)), [
    `does two also show ${number}? Type y or yes if so, and press Enter:`,
    `does one also show ${number}? Type y or yes if so, and press Enter:`,
  ]);
  for (const [agent, name] of [[test.one, "two"], [test.two, "one"]] as const) {
    await agent.waitForLine(`receive files of ${name} into ~/Inbox now? [y/N]`);
    agent.writeInput("\n");
  }
  const [endOfOne, endOfTwo] = await waitForEnds(test);
  assertEquals([endOfOne.code, endOfTwo.code], [0, 0], endOfOne.stdout + endOfTwo.stdout);
  for (const { stdout } of [endOfOne, endOfTwo]) {
    assert(!stdout.includes("has not come in"), stdout);
    // The countdown does not replace the question.
    const [, questionText = ""] = /asks\.([^]*)Type y or yes/.exec(stdout) ?? [];
    assert(questionText !== "" && !questionText.includes("left"), stdout);
    // The countdown is not shown after the reply.
    const [, textAfterReply = ""] = /Type y or yes([^]*)/.exec(stdout) ?? [];
    assert(!textAfterReply.includes(" left"), stdout);
    // Without --home, this command would be for another device.
    assert(!stdout.includes('run "degu serve'), stdout);
  }
  const [idOne, idTwo] = await Promise.all(
    ["one", "two"].map((name) => test.homes.runToSuccess(name, ["id"])),
  );
  const shorten = (id = "") => `${id.slice(0, "one ".length + 8)}…`;
  assertStringIncludes(endOfOne.stdout, `${shorten(idTwo)} asks.`);
  assertStringIncludes(endOfTwo.stdout, `paired with ${shorten(idOne)}`);
  const peer = JSON.parse(await test.homes.runToSuccess("two", ["peers", "--json"]));
  assertEquals(`${peer.name} ${peer.id}`, idOne!.trim());
});

/** Asks again after a reply that is neither yes nor no. */
const SECOND_QUESTION = "type y or n:";

/** The replies at one device, while the other device confirms. */
const NO = [["n\n"], ["yes!\n", "ye\n"], ["yes\x04"]];

Deno.test("no, and two replies that are neither yes nor no, end both commands with 3, each reports which device has not confirmed, and no peer is stored", async () => {
  using _pauses = skipIgnoredInput();
  for (const [i, [reply, secondReply]] of NO.entries()) {
    const isInviter = i % 2 === 0;
    await using test = await startPairing();
    const [refusingAgent, otherAgent] = isInviter ? [test.one, test.two] : [test.two, test.one];
    const asked = refusingAgent.waitForLine("Type y or yes");
    await Promise.all([asked, answerQuestion(otherAgent, "yes")]);
    refusingAgent.writeInput(reply!);
    if (secondReply !== undefined) {
      await refusingAgent.waitForLine(SECOND_QUESTION);
      refusingAgent.writeInput(secondReply);
    }
    const [refusingEnd, otherEnd] = await waitForEnds({ one: refusingAgent, two: otherAgent });
    assertEquals([refusingEnd.code, otherEnd.code], [3, 3], refusingEnd.stdout + otherEnd.stdout);
    assertStringIncludes(
      refusingEnd.stdout,
      "not confirmed on this device: if the numbers differ, an attacker may be between the " +
        'devices: use "degu invite" or "degu send --line"\r\n',
    );
    const name = isInviter ? "one" : "two";
    const expectedMessage =
      `the answer at ${name} was no, or it has disconnected: run the commands that have ended again`;
    assertStringIncludes(otherEnd.stdout, expectedMessage);
    const peers = await Promise.all(
      ["one", "two"].map((name) => test.homes.runToSuccess(name, ["peers", "--json"])),
    );
    assertEquals(peers, ["", ""]);
  }
});

Deno.test("yes in capital letters, to the repeated question, confirms the number", async () => {
  using _pauses = skipIgnoredInput();
  await using test = await startPairing();
  await waitForBoth(test);
  test.one.writeInput("yes\n");
  test.two.writeInput("yse\n");
  await test.two.waitForLine(SECOND_QUESTION);
  test.two.writeInput("YES\n");
  await Promise.all([test.one, test.two].map((agent) => answerOffer(agent)));
  const [one, two] = await waitForEnds(test);
  assertEquals([one.code, two.code], [0, 0], one.stdout + two.stdout);
});

Deno.test("in a console of Windows Ctrl-C is a key, and interrupts: at the question, and before it", async () => {
  using _pauses = skipIgnoredInput();
  using _system = patch(Deno, "build", (build) => ({ ...build, os: "windows" as const }));
  for (const questionText of ["Type y or yes", " asks. If it is the one"]) {
    await using homes = await AgentHomes.create("one", "two");
    const { one, two } = await startBoth(homes);
    await waitForBoth({ one, two }, questionText);
    two.writeInput("y\x03");
    assertEquals((await two.waitForEnd()).code, 130);
    const { code, stdout } = await one.waitForEnd();
    assertEquals(code, 3, stdout);
    assertStringIncludes(stdout, "the answer at two was no, or it has disconnected");
  }
});

Deno.test("input from before the question is ignored, in pieces or lines; an erased key does not count", async () => {
  await using test = await startPairing();
  // Each number is shown for two seconds before the question.
  for (const typed of ["yes\n", "y\n", "ye"]) test.one.writeInput(typed);
  // After a no, the other device would not ask any more, so wait for both questions first.
  await waitForBoth(test);
  test.one.writeInput("s\n");
  await test.one.waitForLine(SECOND_QUESTION);
  test.one.writeInput("\n");
  test.two.writeInput("yex\bs\n");
  const [one, two] = await waitForEnds(test);
  assertEquals([one.code, two.code], [3, 3], one.stdout);
  assertStringIncludes(one.stdout, "not confirmed on this device");
  assertStringIncludes(two.stdout, "the answer at one was no, or it has disconnected");
});

Deno.test("pair needs a terminal, and refuses --json", async () => {
  await using homes = await AgentHomes.create("two");
  const failOnTerminal = async (args: string[], expectedMessage: string) => {
    const { code, stdout } = await homes.run("two", args, TERMINAL);
    assertEquals(code, 2, stdout);
    assertStringIncludes(stdout, expectedMessage);
  };
  const addressArgs = ["--address", "127.0.0.1:1"];
  const problem = "a number can be compared on a terminal only, and without --json";
  const remedy = '"degu invite" and "degu join" pair without a number';
  for (const args of [[], addressArgs]) {
    await homes.runToFailure("two", 2, `${problem}: ${remedy}\n`, ["pair", ...args]);
  }
  await failOnTerminal(["pair", "--json"], problem);
  await failOnTerminal(["pair", ...addressArgs, "--listen", "127.0.0.1"], "leave out --listen");
  await failOnTerminal(["pair", "--address", "127.0.0.1:0"], "port");
});

Deno.test("an invitation, also on a terminal, has only its line: no device can join it by a number", async () => {
  await using homes = await AgentHomes.create("one", "two");
  const one = homes.start("one", ["invite", ...LOCAL], TERMINAL);
  const line = /degu:[\w-]+/.exec(await one.waitForLine("degu:"))![0];
  const [[host, , port]] = decodeLine(line).addresses as [LineAddress];
  const options = ["--address", `${host}:${port}`, ...SERVING];
  const { code, stdout } = await homes.run("two", ["pair", ...options], TERMINAL);
  assertEquals(code, 3, stdout);
  one.kill("SIGINT");
  assert(!(await one.waitForEnd()).stdout.includes("Type y"));
});

Deno.test("if no device answers at --address, pair fails with 3; it creates a missing device", async () => {
  await using homes = await AgentHomes.create();
  using _name = patch(Deno, "hostname", () => () => "two");
  const args = ["pair", "--address", "127.0.0.1:1", ...SERVING];
  const { code, stdout } = await homes.run("two", args, TERMINAL);
  assertEquals(code, 3);
  assertStringIncludes(stdout, "created the device two");
  assertStringIncludes(stdout, ": 127.0.0.1:1: no program listens\r\n");
});

Deno.test("if a program that doesn't pair answers at --address, pair fails with 3", async () => {
  await using homes = await AgentHomes.create("one", "two");
  const { address } = await homes.serve("one");
  const args = ["pair", "--address", address, ...SERVING];
  const { code, stdout } = await homes.run("two", args, TERMINAL);
  assertEquals(code, 3, stdout);
  const problem = "no device that pairs or sends has answered";
  assertStringIncludes(stdout, problem);
});

Deno.test("pair ends with 3 after five unconfirmed numbers, even if they were not shown, since no other device can ask", async () => {
  await using homes = await AgentHomes.create("one");
  await using strangers = await makeDevices("stranger");
  const { stranger } = strangers;
  const one = homes.start("one", ["pair", ...LOCAL], TERMINAL);
  const [, port] = (await waitForAddress(one)).split(":");
  for (let number = 1; number <= 5; number++) {
    using joiner = await RawJoiner.commit({ addresses: [["127.0.0.1", Number(port)]] }, stranger);
    joiner.stranger.post("/random", {});
    await joiner.stranger.waitForEnd();
  }
  const { code, stdout } = await one.waitForEnd();
  assertEquals(code, 3, stdout);
  assertStringIncludes(stdout, "5 numbers were not confirmed, so no other device can ask: ");
  assertEquals(stdout.includes("it shows this number"), false);
});

const noTerminal = ignoreIf(await findTerminalObstacle());

/** The steps at a device's terminal, by the input that doesn't count. */
const NO_ON_TERMINAL: Readonly<Record<string, TerminalOptions["steps"] & object>> = {
  "from before the question, even with Enter after it": [
    ["it shows this number:", "yes"],
    ["Type y or yes", "\n"],
    [SECOND_QUESTION, "\n"],
  ],
  "from while the program was stopped": [
    ["it shows this number:", "y\n", 2.5],
    ["Type y or yes", "n\n"],
  ],
};

Deno.test(
  "on a terminal, input from before the question or from while the program was stopped does not count",
  noTerminal,
  async () => {
    await Promise.all(
      Object.entries(NO_ON_TERMINAL).map(async ([label, steps]) => {
        await using homes = await AgentHomes.create("one", "two");
        const { command } = await startWithCommand(homes);
        const { code, shown } = await runOnTerminal({ command, steps, columns: 200 });
        assertEquals(code, 3, `${label}: ${shown}`);
        assertStringIncludes(shown, "not confirmed on this device", label);
        assert(!shown.includes("waiting for the answer at"), `${label}: ${shown}`);
      }),
    );
  },
);

/** Pairs two devices, each at a terminal; one runs on a real terminal, which types the replies. */
async function pairOnTerminal(
  homes: AgentHomes,
  steps: readonly (readonly [seen: string, typed: string])[],
  flags: readonly string[] = [],
): Promise<{ code: number; shown: string }> {
  const { one, command } = await startWithCommand(homes, flags);
  const otherEnded = answerQuestion(one, "yes").then(async () => {
    await answerOffer(one);
    await one.waitForEnd();
  });
  const options = { command, steps: [["Type y or yes", "yes\n"], ...steps] as const, columns: 200 };
  const result = await runOnTerminal({ ...options, env: { HOME: homes.joinPath("user") } });
  await otherEnded;
  return result;
}

Deno.test("after the pairing, no reply except yes at the question serves", async () => {
  using _pauses = skipIgnoredInput();
  await using test = await startPairing();
  await answerBoth(test);
  for (const [agent, input] of [[test.one, "\x04"], [test.two, "yes!\n"]] as const) {
    await answerOffer(agent, input);
    if (agent === test.two) {
      await agent.waitForLine(SECOND_QUESTION);
      agent.writeInput("\n");
    }
    const { code, stdout } = await agent.waitForEnd();
    assertEquals(code, 0, stdout);
    assert(!stdout.includes("serving on"), stdout);
  }
});

Deno.test(
  "after the pairing, yes at the question goes on as degu serve in this process, with the permissions of pair",
  noTerminal,
  async () => {
    await using homes = await AgentHomes.create("one", "two");
    const user = homes.joinPath("user");
    await Deno.mkdir(user);
    const steps = [["now? [y/N]", "Y\n"]] as const;
    const { code, shown } = await pairOnTerminal(homes, steps, [
      ...["--allow-env=HOME", `--allow-read=${homes.path}`, `--allow-write=${homes.path}`],
    ]);
    assertEquals(code, 1, shown);
    assertStringIncludes(shown, `Ctrl-C stops receiving\r\ncreated ${user}/Inbox\r\n`);
    assertStringIncludes(shown, 'Requires net access to "[::]:7443": --allow-net');
    assert(!shown.includes("to receive its files"), shown);
    assertMatch(await homes.runToSuccess("two", ["peers"]), /^one /);
  },
);

Deno.test("pair doesn't offer to receive files while this device serves", async () => {
  using _pauses = skipIgnoredInput();
  await using homes = await AgentHomes.create("one", "two");
  await homes.serve("one");
  const { one, two } = await startBoth(homes, ["--listen", "127.0.0.1:0"]);
  await answerBoth({ one, two });
  const { code, stdout } = await one.waitForEnd();
  assertEquals(code, 0, stdout);
  assert(!stdout.includes("[y/N]"), stdout);
  await answerOffer(two);
  assertEquals((await two.waitForEnd()).code, 0);
});

Deno.test("send on a terminal prints its line with --line, or after ten seconds without another device", async () => {
  await using homes = await AgentHomes.create();
  using _name = patch(Deno, "hostname", () => () => "one");
  await Deno.writeTextFile(homes.joinPath("file"), "x");
  const local = ["--listen", "127.0.0.1:0", homes.joinPath("file")];
  const send = (...args: string[]) => homes.start("one", ["send", ...args, ...local], TERMINAL);
  const atOnce = send("--line");
  await atOnce.waitForLine("degu-send:");
  atOnce.kill("SIGINT");
  await atOnce.waitForEnd();
  using _clock = speedUpTimeouts((milliseconds) => milliseconds === 10_000, 100);
  const later = send();
  await later.waitForLine("and compare a number");
  const line = await later.waitForLine("degu-send:");
  assertMatch(line, /^degu-send:[\w-]{60,}/);
  later.kill("SIGINT");
  const { stdout } = await later.waitForEnd();
  assertMatch(
    stdout,
    /compare a number[^]*waiting for the other device[^]*on a device elsewhere[^]*degu-send:/,
  );
});

Deno.test("a stranger can't scroll the number away: its messages are buffered until the question ends", async () => {
  using _pauses = skipIgnoredInput();
  await using homes = await AgentHomes.create("one", "two");
  using _name = patch(Deno, "hostname", () => () => "one");
  let shown = "";
  const onText = (_: string, text: string) => void (shown += text);
  await Deno.writeTextFile(homes.joinPath("file"), "x");
  const send = ["send", "--line", "--listen", "127.0.0.1:0", homes.joinPath("file")];
  const one = homes.start("one", send, { ...TERMINAL, onText });
  const address = await waitForAddress(one);
  const line = toDeviceLine((await one.waitForLine("degu-send:")).trim());
  await Deno.mkdir(homes.joinPath("target"));
  const receive = ["receive", "--address", address, homes.joinPath("target")];
  const two = homes.start("two", receive, TERMINAL);
  await waitForBoth({ one, two });
  const [[host, port]] = decodeLine(line).addresses as [LineAddress];
  const stranger = tls.connect({
    ...{ host, port, rejectUnauthorized: false, ALPNProtocols: ["degu-pair/2"] },
  });
  stranger.on("error", () => {});
  stranger.write("POST /secret HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}");
  await withTimeout(once(stranger.resume(), "close"), "the stranger is hung up on");
  assert(!shown.includes("wrong secret"), shown);
  one.writeInput("n\n");
  await one.waitForLine("invitation: wrong secret from");
  assertEquals((await two.waitForEnd()).code, 3);
  one.kill("SIGINT");
  await one.waitForEnd();
});

Deno.test("a choice lists nine devices and the count of the others, which are chosen by the beginning of a name", async (t) => {
  using _skipping = skipIgnoredInput();
  const rows: [rule: string, count: number, typed: string[], chosen: number][] = [
    ["nine are listed", 9, ["9"], 8],
    ["the tenth has no number", 10, ["10", "0", "", "x9"], 9],
    ["a name that is not listed", 300, ["x2", "X299"], 299],
    ["a number, and a name that begins with it", 3, ["2"], 1],
  ];
  await testEachRow(t, rows, async (_rule, count, typed, chosen) => {
    const input = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
    const keys = input.writable.getWriter();
    const answers = typed.values();
    const lines: string[] = [];
    const writeSync = (bytes: Uint8Array) => {
      const line = new TextDecoder().decode(bytes);
      lines.push(line);
      if (line === "which?\n") {
        const text = `${answers.next().value}\n`;
        queueMicrotask(() => keys.write(new TextEncoder().encode(text)));
      }
      return bytes.length;
    };
    const isTerminal = () => true;
    const write = (bytes: Uint8Array) => Promise.resolve(writeSync(bytes));
    const stream = { writeSync, write, isTerminal };
    const output = new Output({}, {
      stdin: { readable: input.readable, isTerminal, setRaw: () => {} },
      stdout: stream,
      stderr: stream,
      noColor: true,
      consoleSize: () => TERMINAL.terminal,
    });
    const list = new Map(
      Array.from({ length: count }, (_, i) => [i, `${i === 2 ? "" : "x"}${i} id`]),
    );
    const { signal } = new AbortController();
    assertEquals(await openTerminal(output)!.choose(() => list, "which?", signal), chosen);
    await keys.close();
    const listedLines = lines.slice(0, lines.indexOf("which?\n"));
    const more = count > 9 ? [`     and ${count - 9} more: type the beginning of a name\n`] : [];
    assertEquals(listedLines.slice(9), more);
  });
});
