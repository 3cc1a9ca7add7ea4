/**
 * Row 23: the bytes of the objects that a request makes in the code of the library, at the server
 * and at the client. The socket is in memory, so the figures are the same on every machine.
 */

import type { Group } from "../measure.ts";
import { programCommand, type Row } from "../pair.ts";
import { objectJobs } from "../peers/objects.ts";
import { startProgram } from "../process.ts";

/** The young generation holds all objects of a measurement: no collection removes some. */
const LARGE_YOUNG_GENERATION = ["--min-semi-space-size=128", "--max-semi-space-size=256"];

const BARE = "a bare loop";

export const objectsRow: Row = {
  number: 23,
  title: "Bytes of the objects of a GET at each end, without those of the socket",
  *groups(setting) {
    const root = new URL("../../", import.meta.url).pathname;
    const trees = Object.entries(setting.trees ?? { "": root });
    const group: Group = {
      id: "23-objects",
      title: "GET → 200 with a text of 13 bytes, or without a body for the tuple",
      unit: "B",
      placement: "one end in one process",
      references: [BARE],
      contenders: trees.flatMap(([treeName, tree], index) =>
        Object.keys(objectJobs).map((job) => ({
          name: index === 0 ? job : `${job}, ${treeName}`,
          async start(programStack) {
            const command = programCommand("peers/objects.ts", "first core", {
              ...setting,
              v8Flags: LARGE_YOUNG_GENERATION,
            });
            const path = tree.endsWith("/") ? tree : `${tree}/`;
            const { request } = await startProgram([...command, path, job], programStack);
            return () => request({ command: "run" });
          },
        }))
      ),
    };
    yield group;
  },
};
