/**
 * Row 8: parsing and formatting alone, without a socket.
 *
 * @module
 */

import type { Contender, Trial } from "../interleave.ts";
import { denoCommand } from "../pair.ts";
import { Program } from "../process.ts";
import type { ParsingCase } from "./parsing_program.ts";
import type { Row, RowSetting } from "./row.ts";

const cases: readonly { readonly name: string; readonly work: ParsingCase }[] = [
  { name: "TextDecoder.decode", work: "decode" },
  { name: "new TextDecoder().decode", work: "new decoder" },
  { name: "degu, parse a request", work: "parse request" },
  { name: "degu, parse a response", work: "parse response" },
  { name: "degu, format a request", work: "format request" },
  { name: "degu, format a response", work: "format response" },
];

/** Row 8. */
export const parsingRow: Row = {
  number: 8,
  title: "Parsing and formatting alone",
  *groups(setting) {
    yield {
      id: "8-preamble",
      title: "A preamble with twelve headers",
      unit: "ns",
      better: "lower",
      placement: setting.cores.describe("one"),
      references: ["TextDecoder.decode", "new TextDecoder().decode"],
      contenders: cases.map(({ name, work }) => makeContender(name, work, setting)),
      notes: ["The references decode the bytes of the same request and look at nothing."],
    };
  },
};

function makeContender(name: string, work: ParsingCase, setting: RowSetting): Contender {
  const amount = setting.quick ? 50_000 : 400_000;
  return {
    name,
    async start(): Promise<Trial> {
      const program = await Program.start({
        prefix: setting.cores.prefix("one"),
        command: [...denoCommand(setting), `${import.meta.dirname}/parsing_program.ts`, work],
        timeout: setting.timeout,
      });
      const measure = async () => {
        const { seconds } = await program.ask({ command: "run", amount }, setting.timeout);
        if (seconds === undefined) throw new Error("the program measured nothing");
        return seconds / amount * 1e9;
      };
      return { warmUp: async () => void await measure(), measure, stop: () => program.stop() };
    },
  };
}
