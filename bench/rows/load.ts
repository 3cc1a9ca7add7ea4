/**
 * The smallest app under `wrk` with eight connections: row 7 after a warm-up, row 24 in a new
 * program, row 25 beside two programs that compute. The figure is the processor time of the server.
 */

import type { Contender, Group } from "../measure.ts";
import { checkStatus, helloText } from "../messages.ts";
import {
  describePlacement,
  findSkip,
  type Pair,
  pinnedTo,
  type Row,
  type RowSetting,
  startServer,
  sumProcessorSeconds,
} from "../pair.ts";
import { type HelloWork, hostname } from "../peer.ts";
import { type Program, runToEnd, spawn } from "../process.ts";

const CONNECTIONS = 8;
/** The requests of row 24. */
const FIRST_REQUESTS = 2000;
/** A program that computes without end. */
const NEIGHBOR = ["sha256sum", "/dev/zero"];

interface Server extends Pick<Pair, "peer" | "tree">, Pick<HelloWork, "usesTuple"> {
  readonly name: string;
}

const deguServers: readonly Server[] = [
  { name: "degu, reply()", peer: "degu" },
  { name: "degu, a tuple", peer: "degu", usesTuple: true },
];

const servers: readonly Server[] = [
  { name: "raw", peer: "raw" },
  ...deguServers,
  { name: "Deno.serve", peer: "fetch" },
  { name: "node:http", peer: "node_http" },
];

interface Load {
  readonly number: number;
  readonly id: string;
  readonly title: string;
  /** Measures the first requests of new programs. */
  readonly isFirst?: boolean;
  /** Runs a {@link NEIGHBOR} on each of the two cores. */
  readonly hasNeighbors?: boolean;
}

const loads: readonly Load[] = [
  { number: 7, id: "7-hello", title: "The smallest app under wrk" },
  {
    number: 24,
    id: "24-cold",
    title: `The first ${FIRST_REQUESTS} requests of the smallest app in new programs`,
    isFirst: true,
  },
  {
    number: 25,
    id: "25-busy",
    title: "The smallest app under wrk, beside two programs that compute",
    hasNeighbors: true,
  },
];

export const loadRows: readonly Row[] = loads.map((load): Row => ({
  number: load.number,
  title: load.title,
  async *groups(setting) {
    const skippedGroup = await findSkip(load.id, load.title, "command -v wrk");
    if (skippedGroup !== null) return yield skippedGroup;
    if (setting.trees === undefined) return yield makeGroup(load, load.id, servers, setting);
    for (const [index, { name, ...server }] of deguServers.entries()) {
      const versions = Object.entries(setting.trees)
        .map(([version, tree]) => ({ ...server, name: version, tree }));
      yield makeGroup(
        { ...load, title: `${load.title}: ${name}` },
        `${load.id}-${index}`,
        versions,
        setting,
      );
    }
  },
}));

function makeGroup(
  load: Load,
  id: string,
  contenders: readonly Server[],
  setting: RowSetting,
): Group {
  const references = setting.trees === undefined
    ? contenders.filter(({ peer }) => peer !== "degu")
    : contenders.slice(-1);
  return {
    id,
    title: `${load.title}: processor time of the server for each request`,
    unit: "µs",
    placement: describePlacement("second core", setting),
    references: references.map(({ name }) => name),
    contenders: contenders.map((server): Contender => ({
      name: server.name,
      async start(programStack) {
        if (load.isFirst) {
          return async () => {
            await using samplePrograms = new AsyncDisposableStack();
            return await measure(load, await start(server, setting, samplePrograms), setting);
          };
        }
        const program = await start(server, setting, programStack);
        await runWrk(program, setting);
        return () => measure(load, program, setting);
      },
    })),
    notes: setting.trees === undefined
      ? [
        `A GET, and a response with a text of ${helloText.length} bytes, over ${CONNECTIONS} connections. ` +
        "“raw” writes the same response after each read of a `Deno.Conn`, and parses nothing.",
      ]
      : [],
  };
}

function start(
  { usesTuple, ...implementation }: Server,
  setting: RowSetting,
  programStack: AsyncDisposableStack,
): Promise<Program> {
  return startServer(implementation, { kind: "hello", usesTuple }, setting, programStack);
}

/** Returns the microseconds of processor time that a server takes for each request of a load. */
async function measure(
  { isFirst, hasNeighbors }: Load,
  server: Program,
  setting: RowSetting,
): Promise<number> {
  await using neighbors = new AsyncDisposableStack();
  for (const placement of ["first core", "second core"] as const) {
    if (!hasNeighbors) break;
    const options = { stdin: "null", stdout: "null" } as const;
    neighbors.use(spawn([...pinnedTo(placement, setting), ...NEIGHBOR], options));
  }
  let requestCount = 0;
  const seconds = await sumProcessorSeconds([server], async () => {
    requestCount = await runWrk(server, setting, isFirst);
  });
  // Check the response after the load, because a request before would be the first.
  await checkResponse(server);
  return seconds * 1e6 / requestCount;
}

/** Runs `wrk` for some seconds, or until the first requests are done; returns their number. */
async function runWrk(
  { address }: Program,
  setting: RowSetting,
  endsAfterFirst = false,
): Promise<number> {
  const seconds = endsAfterFirst ? 60 : setting.isQuick ? 1 : 4;
  const command = [
    ...[...pinnedTo("second core", setting), "wrk", "--threads", "1"],
    ...["--connections", `${CONNECTIONS}`, "--duration", `${seconds}s`],
    ...endsAfterFirst ? ["--script", await writeEndScript(setting)] : [],
    `http://${hostname}:${address}/`,
  ];
  const report = await runToEnd(command);
  const problem = /^\s*(Non-2xx or 3xx responses|Socket errors):.*$/m.exec(report)?.[0];
  if (problem !== undefined) throw new Error(`wrk reported a problem: ${problem.trim()}`);
  // The script ends `wrk` before its report.
  const requestCount = /^\s*(\d+) requests in /m.exec(report)?.[1] ??
    (endsAfterFirst ? FIRST_REQUESTS : null);
  if (requestCount === null) throw new Error("wrk printed no figures");
  return Number(requestCount);
}

/** Writes a script with which `wrk` exits after {@link FIRST_REQUESTS} responses with status 200. */
async function writeEndScript({ directory }: RowSetting): Promise<string> {
  const path = `${directory}/end.lua`;
  await Deno.writeTextFile(
    path,
    `local count = 0
function response(status)
  count = count + 1
  if status ~= 200 then os.exit(1) end
  if count == ${FIRST_REQUESTS} then os.exit(0) end
end
`,
  );
  return path;
}

async function checkResponse({ address }: Program): Promise<void> {
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const signal = AbortSignal.timeout(5000);
  const response = await fetch(`http://${hostname}:${address}/`, { client, signal });
  checkStatus(response.status);
  const text = await response.text();
  if (text !== helloText) {
    throw new Error(`expected the body ${JSON.stringify(helloText)}, not ${JSON.stringify(text)}`);
  }
}
