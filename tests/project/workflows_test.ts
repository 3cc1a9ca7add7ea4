/** The workflows: what they run, with which Deno, and with which permissions. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load as parse } from "js-yaml";
import { MIN_DENO_VERSION } from "@degu/internal/net/deno_version.ts";
import { obstacleTo, runCommand } from "@degu/testing/commands.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { filesUnder, read, readConfiguration } from "@degu/testing/tree.ts";

interface Workflow {
  readonly on: Record<string, { readonly tags?: readonly string[] } | null>;
  readonly permissions: Record<string, string>;
  readonly jobs: Record<string, Job>;
}

interface Job {
  readonly needs?: string;
  readonly uses?: string;
  readonly "timeout-minutes"?: number;
  readonly permissions?: Record<string, string>;
  readonly strategy?: {
    readonly matrix: { readonly deno: readonly string[]; readonly system?: readonly string[] };
  };
  readonly steps?: readonly { readonly uses?: string; readonly run?: string }[];
}

async function readWorkflow(name: string): Promise<Workflow> {
  return parse(await read(`.github/workflows/${name}`));
}

function commandsOf({ steps = [] }: Job): string[] {
  return steps.flatMap(({ run }) => run ?? []);
}

Deno.test("every workflow has read-only permissions, time limits, and tasks that exist", async () => {
  const { tasks } = await readConfiguration();
  for (const path of await filesUnder(".github/workflows", ".yml")) {
    const { permissions, jobs } = parse(await read(path)) as Workflow;
    assertEquals(permissions, { contents: "read" }, path);
    for (const [name, job] of Object.entries(jobs)) {
      if (job.uses !== undefined) continue;
      assert((job["timeout-minutes"] ?? 0) > 0, `${path}: ${name} has no time limit`);
      for (const { uses = "a@v1" } of job.steps ?? []) assertMatch(uses, /^[\w/-]+@v\d+$/);
      for (const command of commandsOf(job)) {
        const [, task] = /deno task (\S+)/.exec(command) ?? [];
        assert(task === undefined || task in tasks, `${path}: there is no task ${task}`);
      }
    }
  }
});

Deno.test("CI runs with the oldest supported Deno and the newest, on Linux for x86-64 and for arm64", async () => {
  const { jobs } = await readWorkflow("ci.yml");
  for (const job of Object.values(jobs)) {
    assertEquals(job.strategy?.matrix.deno, [MIN_DENO_VERSION, "v2.x"]);
  }
  assertEquals(jobs["linux"]?.strategy?.matrix.system, ["ubuntu-24.04", "ubuntu-24.04-arm"]);
  assertEquals(commandsOf(jobs["linux"]!), [".ci/run"]);
  assertEquals(commandsOf(jobs["macos"]!), ["deno task test"]);
});

Deno.test("a published version has passed the checks, and its tag names it", async () => {
  const { on, jobs } = await readWorkflow("publish.yml");
  assertEquals(on, { push: { tags: ["v*"] } });
  const publish = jobs["publish"]!;
  assertEquals(jobs[publish.needs ?? ""]?.uses, "./.github/workflows/ci.yml");
  assertEquals(publish.permissions, { contents: "read", "id-token": "write" });
  const commands = commandsOf(publish);
  assertMatch(commands[0] ?? "", /tools\/check_version\.ts "\$GITHUB_REF_NAME"$/);
  assertEquals(commands[1], "deno publish");
});

/** Runs `.ci/run`, where this is all that Deno does; returns its exit code and its output. */
async function runChecks(deno: string): Promise<[code: number, text: string]> {
  await using dir = await tempDir();
  const changed = (await read(".ci/run")).replace(/^install_programs\n/m, "");
  assert(!changed.includes("\ninstall_programs\n"));
  await Deno.mkdir(`${dir.path}/.ci`);
  await Deno.writeTextFile(`${dir.path}/.ci/run`, changed);
  const program = `${dir.path}/deno`;
  await Deno.writeTextFile(program, `#!/bin/sh\n${deno}\n`, { mode: 0o755 });
  const { code, stdout, stderr } = await runCommand(["bash", `${dir.path}/.ci/run`], {
    env: { DEGU_DENO: program },
  });
  assertEquals(stderr, "");
  return [code, stdout];
}

const TESTS_PASS = `case "$2" in
  test) echo "ok | 12 passed (3 steps) | 0 failed (1s)" ;;
  test:long) echo "ok | 5 passed | 0 failed (1m1s)" ;;
esac`;

const obstacle = await obstacleTo(["bash", "-c", "timeout 1 true"]);

Deno.test({
  name: ".ci/run: its last line counts what passed and failed" +
    (obstacle === null ? "" : ": not tested, as bash or timeout is missing"),
  ignore: obstacle !== null,
  async fn(t) {
    const rows: readonly [what: string, deno: string, code: number, RegExp][] = [
      ["all is well", TESTS_PASS, 0, /PASS crash\n\n17 passed, 0 failed\n$/],
      [
        "a step fails",
        `${TESTS_PASS}; [ "$2" != soak ]`,
        1,
        /\nFAIL soak\n[^]*PASS crash\n\n17 passed, 1 failed\n$/,
      ],
      [
        "tests fail",
        'echo "FAILED | 9 passed | 3 failed (1s)"; exit 1',
        1,
        /\nFAIL tests\n[^]*\nFAIL long tests\n[^]*\n18 passed, \d+ failed\n$/,
      ],
      [
        "the tests break off",
        'case "$2" in test*) false ;; esac',
        1,
        /\n0 passed, 2 failed\n$/,
      ],
    ];
    for (const [what, deno, code, pattern] of rows) {
      await t.step(what, async () => {
        const [exitCode, text] = await runChecks(deno);
        assertMatch(text, pattern);
        assertEquals(exitCode, code);
      });
    }
  },
});
