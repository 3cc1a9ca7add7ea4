/**
 * Which processor cores the programs of a benchmark run on. On two cores the scheduler alone changes a
 * round trip by a factor of three, so programs are pinned with `taskset` if it exists.
 *
 * @module
 */

/** Where a program runs: both ends on `one` core, each on its own, or anywhere on `two` cores. */
export type Placement = "one" | "server" | "client" | "two";

/** Finds the arguments that pin a program. */
export class Cores {
  /** Why programs are not pinned, or `null`. */
  readonly problem: string | null;
  readonly #lists: Readonly<Record<Placement, string>>;

  private constructor(cores: readonly number[], problem: string | null) {
    const first = String(cores[0] ?? 0);
    const second = String(cores[1] ?? first);
    this.problem = problem;
    this.#lists = {
      one: second,
      server: second,
      client: first,
      two: first === second ? first : `${first},${second}`,
    };
  }

  /** Asks `taskset` for the cores that this process may use. */
  static async find(): Promise<Cores> {
    try {
      const { stdout, success } = await new Deno.Command("taskset", {
        args: ["-c", "-p", String(Deno.pid)],
        stdout: "piped",
        stderr: "null",
      }).output();
      const list = /list: ([-,0-9]+)\s*$/.exec(new TextDecoder().decode(stdout))?.[1];
      if (!success || list === undefined) return new Cores([], "`taskset` gave no list of cores");
      const cores = list.split(",").flatMap(expandRange);
      const problem = cores.length < 2 ? "one core only: both ends share it in every row" : null;
      return new Cores(cores, problem);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return new Cores([], "`taskset` is missing: the scheduler moved programs as it liked");
    }
  }

  /** What to put before a command line so that it runs there; empty where nothing can be pinned. */
  prefix(placement: Placement): string[] {
    if (this.problem !== null && this.problem.includes("`taskset`")) return [];
    return ["taskset", "-c", this.#lists[placement]];
  }

  /** How a table names a placement. */
  describe(placement: "one" | "apart" | "two"): string {
    if (this.problem !== null) return `NOT as it should be: ${this.problem}`;
    if (placement === "one") return `all programs on one core (${this.#lists.one})`;
    if (placement === "two") return `all programs on two cores (${this.#lists.two})`;
    return `server on core ${this.#lists.server}, load on core ${this.#lists.client}`;
  }
}

function expandRange(text: string): number[] {
  const [first = 0, last = first] = text.split("-").map(Number);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
