/** The workflows: their tasks, versions of Deno, and permissions. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { load as parse } from "npm:js-yaml@4.3.2";
import { MIN_DENO_VERSION } from "@degu/internal/net/tls/deno_version.ts";
import { readPackages } from "@degu/internal/tools/packages.ts";
import { listFiles, readProjectFile, readTasks } from "@degu/testing/tree.ts";

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
    readonly matrix: {
      readonly deno: readonly string[];
      readonly system?: readonly string[];
      readonly include?: readonly { readonly target: string }[];
    };
  };
  readonly steps?: readonly Step[];
}

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly "working-directory"?: string;
}

async function readWorkflow(name: string): Promise<Workflow> {
  return parse(await readProjectFile(`.github/workflows/${name}`));
}

function commandsOf({ steps = [] }: Job): string[] {
  return steps.flatMap(({ run }) => run ?? []);
}

Deno.test("every workflow has read-only permissions, time limits, and tasks that exist", async () => {
  const tasks = await readTasks();
  for (const path of await listFiles(".github/workflows", ".yml")) {
    const { permissions, jobs } = parse(await readProjectFile(path)) as Workflow;
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
  assertEquals(commandsOf(jobs["macos"]!), [".ci/run"]);
  assertEquals(commandsOf(jobs["windows"]!), ["deno task test:windows --here"]);
});

Deno.test("a version is published only after the checks, with its number as the tag", async () => {
  const { on, jobs } = await readWorkflow("publish.yml");
  assertEquals(on, { push: { tags: ["v*"] } });
  const publish = jobs["publish"]!;
  assertEquals(jobs[publish.needs ?? ""]?.uses, "./.github/workflows/ci.yml");
  assertEquals(publish.permissions, { contents: "read", "id-token": "write" });
  const [check = "", ...publishing] = commandsOf(publish);
  assertMatch(check, /tools\/check_version\.ts "\$GITHUB_REF_NAME"$/);
  assertEquals(new Set(publishing), new Set(["deno publish"]));
});

Deno.test("a release has the program for each system, with the permissions of the guide, and starts with the note that it is untested", async () => {
  const text = await readProjectFile(".github/workflows/release.yml");
  assert(text.startsWith("# NOT TRIED: "));
  const { jobs } = await readWorkflow("release.yml");
  const compile = jobs["compile"]!;
  const targets = compile.strategy?.matrix.include?.map(({ target }) => target);
  assertEquals(targets, [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
  ]);
  const flagsOf = (command: string) => command.match(/--allow-[^\s]+/g)?.toSorted();
  const [install = ""] = (await readProjectFile("agent/docs/guide.md")).match(
    /^deno install [^]*?jsr:@degu\/agent$/m,
  ) ?? [];
  const [command = ""] = commandsOf(compile);
  assertMatch(command, /^deno compile --target \$.* agent\/main\.ts$/);
  assertEquals(flagsOf(command), flagsOf(install));
  const attach = jobs["attach"]!;
  assertEquals(attach.permissions, { contents: "write" });
  assert(commandsOf(attach).some((each) => each.startsWith("sha256sum ")));
  const { files, publish } = (await readWorkflow("publish.yml")).jobs;
  assertEquals([files?.uses, files?.needs], ["./.github/workflows/release.yml", "publish"]);
  assert(publish !== undefined);
  assertMatch(await readProjectFile("RELEASING.md"), /\*\*not tried\*\*/);
});

Deno.test("every package is published, after the packages that it imports", async () => {
  const { jobs } = await readWorkflow("publish.yml");
  const publishing = jobs["publish"]?.steps?.filter(({ run }) => run === "deno publish") ?? [];
  const directories = (await readPackages()).map(({ directory }) => directory.replace(/\/$/, ""));
  assertEquals(publishing.map((step) => step["working-directory"] ?? ""), directories);
});
