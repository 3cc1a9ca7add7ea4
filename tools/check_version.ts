/**
 * Checks before publishing that a tag, CHANGELOG.md and the deno.json of each package have the same
 * version, and that a package imports a version that is compatible with it of another package:
 * `deno run --allow-read tools/check_version.ts v1.2.3`.
 */

import { readPackages } from "./packages.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

const [tag = ""] = Deno.args;
const packages = await readPackages();
const [{ version }] = packages;
const problems: string[] = [];
if (tag !== `v${version}`) {
  problems.push(`the tag is ${JSON.stringify(tag)}, but deno.json has the version ${version}`);
}
for (const { directory, version: packageVersion, imports } of packages) {
  if (packageVersion !== version) {
    problems.push(
      `${directory}deno.json has the version ${packageVersion}, but deno.json has ${version}`,
    );
  }
  for (const { name } of packages) {
    const expected = `jsr:${name}@^${version}`;
    if (name in imports && imports[name] !== expected) {
      problems.push(`${directory}deno.json has ${imports[name]} instead of ${expected}`);
    }
  }
}
const changes = await Deno.readTextFile(new URL("CHANGELOG.md", PROJECT_ROOT));
const [, date = ""] = changes.split(`\n## [${version}] - `);
if (!/^\d{4}-\d\d-\d\d\n/.test(date)) {
  problems.push(`CHANGELOG.md has no heading "## [${version}] - YYYY-MM-DD"`);
}
for (const problem of problems) console.error(problem);
Deno.exit(problems.length === 0 ? 0 : 1);
