// deno run --allow-net=127.0.0.1 examples/talk.ts

// A conversation over one request: the server answers each line, and may be silent for hours. With
// the argument `say`, the program sends the lines of its stdin and prints the answers. If the
// connection ends, it connects again, and sends the lines without an answer again. It ends after
// the answer to the last line.

import { type App, Client, converse, reply, runUntilSignal, Server } from "@degu/degu";
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

/** An empty line is sent only during a silence. */
async function* readStdin() {
  for await (const line of linesOf(Deno.stdin.readable)) if (line !== "") yield line;
}

async function main(signal: AbortSignal): Promise<void> {
  const [task = "serve", port = "8080"] = Deno.args;
  const address = ["127.0.0.1", Number(port)] as const;
  if (task === "say") {
    const onAnswer = (answer: string) => console.log(answer);
    return await converse(new Client(address), "/", readStdin(), onAnswer, { signal });
  }
  await using server = await Server.start(address, makeTalkApp((line) => line.toUpperCase()));
  console.log(`Serving at port ${server.port}; Ctrl+C ends it.`);
  // Conversations have no end of their own: their clients connect again.
  await server.serveUntilSignal({ deadline: 1, signal });
}

if (import.meta.main) await runUntilSignal(main);
