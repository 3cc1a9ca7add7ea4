/** The workflows: what they run, with which Deno, and with which permissions. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load as parse } from "js-yaml";
import { MIN_DENO_VERSION } from "@degu/internal/net/deno_version.ts";
import { findProblems } from "@degu/internal/tools/check_version.ts";
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
  readonly strategy?: { readonly matrix: { readonly deno: readonly string[] } };
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

Deno.test("CI runs with the oldest supported Deno, and with the newest", async () => {
  const { jobs } = await readWorkflow("ci.yml");
  for (const job of Object.values(jobs)) {
    assertEquals(job.strategy?.matrix.deno, [MIN_DENO_VERSION, "v2.x"]);
  }
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

Deno.test("a tag that differs from the version, and a version without changes, are detected", () => {
  const changelog = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n\n## [1.2.2]\n";
  assertEquals(findProblems("v1.2.3", "1.2.3", changelog), []);
  assertEquals(findProblems("1.2.3", "1.2.3", changelog).length, 1);
  assertEquals(findProblems("v1.2.4", "1.2.3", changelog).length, 1);
  assertEquals(findProblems("v1.2.2", "1.2.2", changelog).length, 1);
  assertEquals(findProblems("v1.2", "1.2", changelog).length, 1);
});

Deno.test("the issue forms are valid, and ask for something", async () => {
  const folder = ".github/ISSUE_TEMPLATE";
  for (const path of await filesUnder(folder, ".yml")) {
    const form = parse(await read(path));
    if (path === `${folder}/config.yml`) {
      assertEquals(typeof form.blank_issues_enabled, "boolean");
      continue;
    }
    for (const key of ["name", "description"]) assertEquals(typeof form[key], "string", path);
    const ids = form.body.flatMap(({ id }: { id?: string }) => id ?? []);
    assert(ids.length > 1 && new Set(ids).size === ids.length, path);
  }
});
