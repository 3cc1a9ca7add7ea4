/**
 * The interface of a benchmark row, and its arguments.
 *
 * @module
 */

import type { Group } from "../interleave.ts";
import type { Setting } from "../pair.ts";
import type { TlsFiles } from "../work.ts";

/** What a row is given. */
export interface RowSetting extends Setting {
  /** Whether to use small sizes, for a run of a few seconds. */
  readonly quick: boolean;
  /** Bytes per write of a body of known length: as many as this project's own writers write. */
  readonly writeLength: number;
  /** Certificates of both ends, or why there are none. */
  readonly tls: TlsFiles | { readonly problem: string };
  /** Whether `python3` has the original Degu. */
  readonly hasPythonDegu: boolean;
}

/** One subject of the benchmark. */
export interface Row {
  readonly number: number;
  readonly title: string;
  /** The row's groups, one after the other; what a group needs is there until the next one is asked for. */
  groups(setting: RowSetting): AsyncIterable<Group> | Iterable<Group>;
}

/** A group without contenders, that says why. */
export function makeSkippedGroup(id: string, title: string, why: string): Group {
  return {
    id,
    title,
    unit: "",
    better: "higher",
    placement: "not measured",
    references: [],
    contenders: [],
    notes: [`Skipped: ${why}`],
  };
}
