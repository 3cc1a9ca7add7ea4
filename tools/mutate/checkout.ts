/**
 * A copy of the project in a temporary directory, in which mutants are tested.
 *
 * @module
 */

import { findStandardLibrary, PROJECT_ROOT } from "../standard_library.ts";

/** How a run of tests ended. */
export type Outcome = "passed" | "failed" | "too slow";

/** A copy of the project. */
export class Checkout implements AsyncDisposable {
  readonly #flags: readonly string[];

  /** Where it is, with a slash at the end. */
  readonly root: string;

  private constructor(root: string, flags: readonly string[]) {
    this.root = root;
    this.#flags = flags;
  }

  /** Copies every file that git knows, as it is on disk now. */
  static async make(): Promise<Checkout> {
    const root = `${await Deno.makeTempDir({ prefix: "degu_mutate_" })}/`;
    for (const path of await trackedFiles()) {
      await Deno.mkdir(root + path.slice(0, path.lastIndexOf("/") + 1), { recursive: true });
      await Deno.copyFile(new URL(path, PROJECT_ROOT), root + path);
    }
    const { flags } = await findStandardLibrary();
    return new Checkout(root, [...flags, ...await permissionFlags()]);
  }

  /** Runs test modules, until the first test fails. */
  async test(
    paths: readonly string[],
    seconds: number,
    moreFlags: readonly string[] = [],
  ): Promise<Outcome> {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "test",
        "--quiet",
        "--fail-fast",
        ...this.#flags,
        ...moreFlags,
        ...paths,
      ],
      cwd: this.root,
      env: { TMPDIR: "/tmp", NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let outcome: Outcome | undefined;
    const timer = setTimeout(() => {
      outcome = "too slow";
      child.kill("SIGKILL");
    }, seconds * 1000);
    const { success } = await child.status;
    clearTimeout(timer);
    return outcome ?? (success ? "passed" : "failed");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}

/** The paths of the files that git knows. */
export async function trackedFiles(): Promise<string[]> {
  const { stdout } = await new Deno.Command("git", {
    args: ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd: PROJECT_ROOT,
  }).output();
  const paths = new TextDecoder().decode(stdout).split("\0").filter((path) => path !== "");
  const found = await Promise.all(paths.map(isFile));
  return paths.filter((_, index) => found[index]);
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(new URL(path, PROJECT_ROOT))).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** What the `test` task gives to `deno test`: the same permissions and sanitizers, and no type check. */
async function permissionFlags(): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)));
  const command: string = tasks.test.command;
  const [, flags = ""] = command.split("tools/test.ts ");
  return flags.split(" ").filter((flag) => flag !== "--parallel").map((flag) =>
    flag.replace(/^(--allow-run=.*)\bdeno\b/, (_, before) => before + Deno.execPath())
  );
}
