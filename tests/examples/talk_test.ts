/** The conversation of the examples, also after its server was killed or has ended. */
import { Client, Server } from "@degu/degu";
import { makeTalkApp, talk } from "@degu/internal/examples/talk.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { assertNeeded, runExample, startExample } from "@degu/testing/examples.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import { assert, assertEquals } from "@std/assert";

const TALK = "examples/talk.ts";
const { signal } = new AbortController();

/** A source of lines, and the answers to them. */
function makeSpeaker() {
  const { readable, writable } = new TransformStream<string, string>();
  const writer = writable.getWriter();
  const answers: string[] = [];
  let answered = Promise.withResolvers<void>();
  return {
    lines: readable,
    answers,
    onAnswer(answer: string, line: string) {
      answers.push(`${line} ${answer}`);
      answered.resolve();
    },
    async say(line: string) {
      answered = Promise.withResolvers();
      await writer.write(line);
      await answered.promise;
    },
    end: () => writer.close(),
  };
}

Deno.test("a conversation continues after its server was killed, and ends after the last answer", async () => {
  await using dir = await createTempDir();
  const [port, audit] = [await findUnusedPort(), `${dir.path}/audit`];
  const start = async () => {
    const server = await startExample(TALK, { args: ["serve", `${port}`], audit });
    await server.waitForStdout(/^Serving/m);
    return server;
  };
  const { lines, answers, onAnswer, say, end } = makeSpeaker();
  const talking = talk(new Client(["127.0.0.1", port]), lines, onAnswer, signal);
  {
    await using first = await start();
    await say("a");
    await say("b");
    first.kill();
    await first.child.status;
  }
  const saying = say("c");
  await using second = await start();
  await saying;
  await end();
  await talking;
  assertEquals(answers, ["a A", "b B", "c C"]);
  assertEquals((await runExample(TALK, { args: ["say", `${port}`] })).stdout, "");
  second.child.kill("SIGTERM");
  assert((await second.waitForEnd()).success);
  await assertNeeded(TALK, audit, dir.path);
});

Deno.test("a line without an answer is sent again, and no line is lost between two connections", async () => {
  const seen: string[] = [];
  let isCut = false;
  const app = makeTalkApp((line) => {
    seen.push(line);
    if (line !== "b" || isCut) return line;
    isCut = true;
    throw new Error("the app has failed");
  });
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  await using server = await Server.start(["127.0.0.1", 0], app, { logger });
  const answers: string[] = [];
  const lines = ReadableStream.from(["a", "b", "c"]);
  await talk(new Client(server.address), lines, (answer) => void answers.push(answer), signal);
  assertEquals(answers, ["a", "b", "c"]);
  assertEquals(seen.filter((line) => line === "b").length, 2);
});
