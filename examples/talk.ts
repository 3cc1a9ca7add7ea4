// deno run --allow-net=127.0.0.1 examples/talk.ts

// A conversation over one request: the server answers each line, and may be silent for hours. With
// the argument `say`, the program sends the lines of its stdin and prints the answers. If the
// connection ends, it connects again, and sends the lines without an answer again. It ends after
// the answer to the last line.

import { type App, Client, isTransient, reply, retry, runUntilSignal, Server } from "@degu/degu";
import { linesOf, makeLineBody } from "@degu/degu/base";

/** Makes an app that answers each line of a request with one line. */
export function makeTalkApp(answer: (line: string) => string): App {
  return (request) => {
    async function* answers() {
      // The client sends empty lines while it is silent.
      for await (const line of linesOf(request)) if (line !== "") yield answer(line);
    }
    return reply(200, makeLineBody(answers()));
  };
}

class EndedError extends Error {}

/**
 * Sends lines, which must not be empty, and calls a function with each answer. Ends after the
 * answer to the last line. The server may get a line twice, if the connection ends before its
 * answer.
 */
export async function talk(
  client: Client,
  lines: AsyncIterable<string>,
  onAnswer: (answer: string, line: string) => unknown,
  signal: AbortSignal,
): Promise<void> {
  const source = lines[Symbol.asyncIterator]();
  const unanswered: string[] = [];
  let next: Promise<IteratorResult<string>> | null = null;
  let hasEnded = false;
  let attemptCount = 0;

  /** Yields the lines without an answer, then new lines, until the next attempt begins. */
  async function* linesToSend(attempt: number) {
    yield* [...unanswered];
    while (true) {
      next ??= source.next();
      const { done, value } = await next;
      hasEnded ||= done === true;
      if (done || attempt !== attemptCount) return;
      next = null;
      unanswered.push(value);
      yield value;
    }
  }

  await retry(async (restart) => {
    const body = makeLineBody(linesToSend(++attemptCount));
    const response = await client.request("POST", "/", {}, body, { duplex: "full", signal });
    for await (const answer of linesOf(response)) {
      restart();
      if (answer !== "") await onAnswer(answer, unanswered.shift()!);
    }
    if (!hasEnded || unanswered.length > 0) {
      throw new EndedError("the server has ended the conversation");
    }
  }, {
    retries: Infinity,
    signal,
    when: (error) => isTransient(error) || error instanceof EndedError,
  });
}

async function main(signal: AbortSignal): Promise<void> {
  const [task = "serve", port = "8080"] = Deno.args;
  const address = ["127.0.0.1", Number(port)] as const;
  if (task === "say") {
    const lines = linesOf(Deno.stdin.readable);
    return await talk(new Client(address), lines, (answer) => console.log(answer), signal);
  }
  await using server = await Server.start(address, makeTalkApp((line) => line.toUpperCase()));
  console.log(`Serving at port ${server.port}; Ctrl+C ends it.`);
  // Conversations have no end of their own: their clients connect again.
  await server.serveUntilSignal({ deadline: 1, signal });
}

if (import.meta.main) await runUntilSignal(main);
