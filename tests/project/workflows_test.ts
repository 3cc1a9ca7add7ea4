/** The workflows: what they run, with which Deno, and with which permissions. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load as parse } from "js-yaml";
import { MIN_DENO_VERSION } from "@degu/internal/net/deno_version.ts";
import { readPackages } from "@degu/internal/tools/packages.ts";
import { filesUnder, read, readTasks } from "@degu/testing/tree.ts";

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
  readonly steps?: readonly Step[];
}

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly "working-directory"?: string;
}

async function readWorkflow(name: string): Promise<Workflow> {
  return parse(await read(`.github/workflows/${name}`));
}

function commandsOf({ steps = [] }: Job): string[] {
  return steps.flatMap(({ run }) => run ?? []);
}

Deno.test("every workflow has read-only permissions, time limits, and tasks that exist", async () => {
  const tasks = await readTasks();
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
  const [check = "", ...publishing] = commandsOf(publish);
  assertMatch(check, /tools\/check_version\.ts "\$GITHUB_REF_NAME"$/);
  assertEquals(new Set(publishing), new Set(["deno publish"]));
});

Deno.test("every package is published, the one of the library before the one that needs it", async () => {
  const { jobs } = await readWorkflow("publish.yml");
  const publishing = jobs["publish"]?.steps?.filter(({ run }) => run === "deno publish") ?? [];
  assertEquals(
    publishing.map((step) => step["working-directory"] ?? ""),
    (await readPackages()).map(({ directory }) => directory.replace(/\/$/, "")),
  );
});
