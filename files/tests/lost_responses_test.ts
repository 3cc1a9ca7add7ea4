/**
 * downloadTree and uploadTree over a network that loses a response: the server has processed the
 * request, and the client doesn't know it.
 */
import { Client, isTransient } from "@degu/degu";
import type { TreeEvent, UploadTreeOptions } from "@degu/degu/files";
import { setClockAhead, speedUpTimeouts } from "@degu/testing/clock.ts";
import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { readTree } from "@degu/testing/directories.ts";
import { makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { decodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";

/** The responses that don't arrive. */
interface Loss {
  /** The number of requests before the first lost response. */
  readonly index: number;
  /** The number of lost responses. */
  readonly count: number;
  /** The number of bytes of each that still arrive. */
  readonly bytes: number;
}

/** A relay that closes a connection instead of passing on a response. */
class LosingRelay extends Relay {
  /** The method and URI of each request. */
  readonly requests: string[] = [];
  loss: Loss = { index: 0, count: 0, bytes: 0 };

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    let lastIndex = -1;
    const close = () => {
      this.close(client);
      this.close(server);
    };
    const sent = passOn(client, server, (bytes) => {
      // A client sends its next request after the response, so a request begins a piece.
      const [, request] = /^((?:GET|HEAD|PUT|POST|DELETE) \S+) HTTP/.exec(decodeLatin1(bytes)) ??
        [];
      if (request !== undefined) lastIndex = this.requests.push(request) - 1;
    });
    const received = passOn(server, client, async (bytes) => {
      const lostIndex = lastIndex - this.loss.index;
      if (lostIndex < 0 || lostIndex >= this.loss.count) return;
      await client.write(bytes.subarray(0, this.loss.bytes));
      throw new Error("the response is lost");
    });
    return [sent.catch(close), received.catch(close)];
  }
}

const LARGE = "large".repeat(14_000);

const SOURCE = {
  "same": "same",
  "small": "new",
  "replaced": "new content",
  "touched": "touched",
  "large": LARGE,
  "large-touched": `touched ${LARGE}`,
  "large-replaced": `new ${LARGE}`,
  "large-grown": `grown ${LARGE}${LARGE}`,
  "large-renamed": `renamed ${LARGE}`,
  "new/small": "in a new directory",
  "new/empty": null,
};

const TARGET = {
  "same": "same",
  "replaced": "old",
  "touched": "touched",
  "large-touched": `touched ${LARGE}`,
  "large-replaced": `old ${LARGE}`,
  "large-grown": `grown ${LARGE}`,
  "old-name": `renamed ${LARGE}`,
  "old": "old",
  "old-directory/small": "old",
};

const SOURCE_TIME = new Date("2021-01-01");
const TARGET_TIME = new Date("2020-01-01");
/** The files whose time is the same at the target. */
const SAME_TIME = ["same", "large-renamed"];

async function setTimes(dir: string, paths: readonly string[], time: Date): Promise<void> {
  for (const path of paths) await Deno.utime(`${dir}/${path}`, time, time);
}

const filesOf = (tree: Readonly<Record<string, string | null>>) =>
  Object.keys(tree).filter((path) => tree[path] !== null);

/** Copies the trees; the outcome is `null` if the call rejects with a transient error. */
async function copyOverLoss(direction: TreeDirection, options: UploadTreeOptions, loss?: Loss) {
  const target = options.move ? {} : TARGET;
  await using trees = await makeTrees(direction, SOURCE, target, () => null, { reuse: true });
  await setTimes(trees.source, filesOf(SOURCE), SOURCE_TIME);
  await setTimes(trees.source, SAME_TIME, TARGET_TIME);
  await setTimes(trees.target, filesOf(target), TARGET_TIME);
  await using relay = new LosingRelay(trees.serving.address);
  if (loss !== undefined) relay.loss = loss;
  let isPausing = false;
  using _pauses = speedUpTimeouts((milliseconds) => isPausing && milliseconds === 1000, 1000);
  const onEvent = ({ type }: TreeEvent) => void (isPausing = type === "retry");
  // Files that were just written aren't moved.
  using _clock = setClockAhead(10_000);
  const client = new Client(relay.address);
  const copy = await trees.copy({ ...options, connections: 1, onEvent }, client).catch((error) => {
    if (!isTransient(error)) throw error;
    return null;
  });
  const { requests } = relay;
  if (copy === null) return { requests, outcome: null };
  const { outcomes, deletedPaths, removedPaths, result, errors } = copy;
  assertEquals(errors, {});
  const { files, unchanged, deleted, moved, failed, deletionsSkipped } = result;
  const outcome = {
    outcomes: Object.fromEntries(Object.entries(outcomes).sort()),
    deletedPaths: deletedPaths.sort(),
    removedPaths: removedPaths.sort(),
    counts: { files, unchanged, deleted, moved, failed, deletionsSkipped },
    target: await readTree(trees.target),
    source: await readTree(trees.source),
  };
  return { requests, outcome };
}

const LOSSES = [
  { retries: 0, count: 1, bytes: 0 },
  { retries: 3, count: 1, bytes: 20 },
  { retries: 3, count: 2, bytes: 0 },
];

const rows = [
  ["download", { delete: true, deleteAll: true }],
  ["upload", { delete: true, deleteAll: true }],
  ["upload", { move: true }],
] as const;

for (const [direction, options] of rows) {
  const label = `${direction} with ${Object.keys(options)[0]}`;
  Deno.test(`${label}: a lost response to any request changes no outcome and no count`, async (t) => {
    const { requests, outcome } = await copyOverLoss(direction, options);
    assert(outcome !== null);
    for (const { retries, ...loss } of LOSSES) {
      await t.step(JSON.stringify({ retries, ...loss }), async () => {
        for (const [index, request] of requests.entries()) {
          const copy = await copyOverLoss(direction, { ...options, retries }, { ...loss, index });
          // Without retries, a call may end if it can't read what it compares. A close before the
          // first response may be a refusal, and two are one.
          const isRead = /^(GET|HEAD)/.test(request);
          const mayReject = index === 0 ? retries === 0 || loss.count > 1 : isRead && retries === 0;
          if (copy.outcome !== null || !mayReject) assertEquals(copy.outcome, outcome, request);
        }
      });
    }
  });
}
