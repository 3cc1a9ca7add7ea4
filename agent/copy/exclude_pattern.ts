import ignore from "ignore";

/**
 * All paths are relative. Without `allowRelativePaths`, the library would reject a directory `C:`
 * of a peer as a drive.
 */
const IGNORE_OPTIONS = { ignorecase: false, allowRelativePaths: true };

/** A tree may have a million paths. */
const MAX_CACHED_PATHS = 10_000;

/** A pattern without a wildcard, a backslash or a negation, which is no comment either. */
const PLAIN_PATTERN = /^(?![#!])(?=.*\S)[^*?[\\]+$/;

export class ExcludePatterns {
  #rules = ignore(IGNORE_OPTIONS);
  #checkCount = 0;
  /** The plain patterns that have matched nothing yet. */
  readonly #unmatchedPatterns: Set<string>;
  #unmatchedRules = ignore(IGNORE_OPTIONS);

  constructor(patterns: readonly string[]) {
    this.#rules.add(patterns);
    this.#unmatchedPatterns = new Set(patterns.filter((each) => PLAIN_PATTERN.test(each)));
    this.#resetUnmatchedRules();
  }

  get unmatchedPatterns(): readonly string[] {
    return [...this.#unmatchedPatterns];
  }

  matches(path: string): boolean {
    if (++this.#checkCount % MAX_CACHED_PATHS === 0) {
      this.#rules = ignore(IGNORE_OPTIONS).add(this.#rules);
      this.#resetUnmatchedRules();
    }
    const { ignored, unignored } = this.#rules.test(path);
    if (ignored || unignored) this.#noteMatches(path);
    return ignored;
  }

  /** All patterns are tested at once: a list of ignored names may have hundreds. */
  #noteMatches(path: string): void {
    for (;;) {
      const { rule } = this.#unmatchedRules.test(path);
      if (rule === undefined || !this.#unmatchedPatterns.delete(rule.pattern)) return;
      // Another pattern may also match the path.
      this.#resetUnmatchedRules();
    }
  }

  #resetUnmatchedRules(): void {
    this.#unmatchedRules = ignore(IGNORE_OPTIONS).add([...this.#unmatchedPatterns]);
  }
}

/** In a pattern, a backslash escapes the next character, and letters and digits need no escape. */
export function findPatternProblem(pattern: string): string | null {
  const escapedCharacters = pattern.matchAll(/\\(.?)/gsu).map(([, character]) => character!);
  const isSeparator = (character: string) => /^[\p{L}\p{N}_.]?$/u.test(character);
  return Deno.build.os === "windows" && escapedCharacters.some(isSeparator)
    ? `separate names by slashes, as in ${pattern.replaceAll("\\", "/")}`
    : null;
}

/**
 * Refuses a pattern of the command line that is empty, a comment, or has a name that no path has,
 * because every file would be copied.
 */
export function findExcludeProblem(pattern: string): string | null {
  const problem = findPatternProblem(pattern);
  if (problem !== null) return problem;
  const names = pattern.trim().replace(/^!/, "").split("/");
  const canMatch = !pattern.startsWith("#") && names.some((name) => name !== "") &&
    !names.some((name) => name === "." || name === "..");
  return canMatch ? null : `${JSON.stringify(pattern)} matches no path: write it as in .gitignore`;
}
