/**
 * Checks before publishing that a tag, deno.json and CHANGELOG.md name the same version:
 * `deno run --allow-read tools/check_version.ts v1.2.3`.
 */

import { PROJECT_ROOT } from "./standard_library.ts";

const [tag = ""] = Deno.args;
const read = (path: string) => Deno.readTextFile(new URL(path, PROJECT_ROOT));
const { version } = JSON.parse(await read("deno.json"));
const problems: string[] = [];
if (tag !== `v${version}`) {
  problems.push(`the tag is ${JSON.stringify(tag)}, and deno.json has the version ${version}`);
}
const [, date = ""] = (await read("CHANGELOG.md")).split(`\n## [${version}] - `);
if (!/^\d{4}-\d\d-\d\d\n/.test(date)) {
  problems.push(`CHANGELOG.md has no heading "## [${version}] - YYYY-MM-DD"`);
}
for (const problem of problems) console.error(problem);
Deno.exit(problems.length === 0 ? 0 : 1);
