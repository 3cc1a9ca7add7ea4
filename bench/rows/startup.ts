/**
 * Row 10: how long a program takes to start.
 *
 * @module
 */

import type { Contender, Trial } from "../interleave.ts";
import { Program } from "../process.ts";
import { summarize } from "../statistics.ts";
import type { Row, RowSetting } from "./row.ts";

interface Script {
  readonly name: string;
  readonly file: string;
}

const imports: readonly Script[] = [
  { name: "nothing", file: "import_nothing.ts" },
  { name: "degu", file: "import_degu.ts" },
  { name: "node:http", file: "import_node_http.ts" },
];

const responses: readonly Script[] = [
  { name: "raw", file: "respond_raw.ts" },
  { name: "degu", file: "respond_degu.ts" },
  { name: "fetch + Deno.serve", file: "respond_fetch.ts" },
  { name: "node:http", file: "respond_node_http.ts" },
];

/** Row 10. */
export const startupRow: Row = {
  number: 10,
  title: "Start-up",
  *groups(setting) {
    const base = {
      unit: "ms",
      better: "lower",
      placement: setting.cores.describe("two"),
    } as const;
    yield {
      ...base,
      id: "10-import",
      title: "From the start of the process until the import is done",
      references: ["nothing", "node:http"],
      contenders: imports.map((script) => makeContender(script, [], setting)),
    };
    yield {
      ...base,
      id: "10-response",
      title: "From the start of the process until its own server has answered its first request",
      references: ["raw", "fetch + Deno.serve", "node:http"],
      contenders: responses.map((script) => makeContender(script, ["--allow-net"], setting)),
    };
  },
};

function makeContender(
  { name, file }: Script,
  permissions: readonly string[],
  setting: RowSetting,
): Contender {
  const starts = setting.quick ? 2 : 7;
  const command = [
    Deno.execPath(),
    "run",
    "--quiet",
    "--no-prompt",
    "--no-check",
    ...permissions,
    `${import.meta.dirname}/../startup/${file}`,
  ];
  const startOnce = async () => {
    const begin = performance.now();
    const prefix = setting.cores.prefix("two");
    const program = await Program.start({ prefix, command, timeout: setting.timeout });
    const milliseconds = performance.now() - begin;
    // Killed, it would not keep the compiled code that the next start finds.
    await program.finish(setting.timeout);
    return milliseconds;
  };
  return {
    name,
    start: (): Promise<Trial> =>
      Promise.resolve({
        // The first start compiles; the second one uses the cache of the first.
        warmUp: async () => {
          await startOnce();
          await startOnce();
        },
        async measure(): Promise<number> {
          const samples: number[] = [];
          for (let count = 0; count < starts; count++) samples.push(await startOnce());
          return summarize(samples).median;
        },
        stop: () => Promise.resolve(),
      }),
  };
}
