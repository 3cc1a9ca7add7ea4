import ignore from "ignore";

/**
 * All paths are relative. Without `allowRelativePaths`, the library would reject a directory `C:`
 * of a peer as a drive.
 */
const IGNORE_OPTIONS = { ignorecase: false, allowRelativePaths: true };

/** A tree may have a million paths. */
const MAX_CACHED_PATHS = 10_000;

export class ExcludePatterns {
  #rules = ignore(IGNORE_OPTIONS);
  #checkCount = 0;

  constructor(patterns: readonly string[]) {
    this.#rules.add(patterns);
  }

  matches(path: string): boolean {
    if (++this.#checkCount % MAX_CACHED_PATHS === 0) {
      this.#rules = ignore(IGNORE_OPTIONS).add(this.#rules);
    }
    return this.#rules.ignores(path);
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

/** The characters that are tried for a set such as `[!a-z]`, besides the characters of the set. */
const SET_CHARACTERS = [..."abcxyzABCXYZ0123456789 !\"#$%&'()*+,-:;<=>?@[\\]^_`{|}~é日"];

/**
 * Refuses a pattern of the command line that no path matches, because every file would be copied.
 */
export function findExcludeProblem(pattern: string): string | null {
  const problem = findPatternProblem(pattern);
  if (problem !== null) return problem;
  const positivePattern = pattern.startsWith("!")
    ? pattern.slice(1).replace(/^[!#]/, "\\$&")
    : pattern;
  const path = makeMatchingPath(positivePattern);
  if (path !== null && ignore(IGNORE_OPTIONS).add([positivePattern]).ignores(path)) return null;
  const advice = pattern.trim() === ""
    ? "is a variable of the shell empty?"
    : pattern.startsWith("#")
    ? `a line that begins with # is a comment: write \\${pattern}`
    : /^\.\/+[^/]/.test(pattern)
    ? `write ${pattern.replace(/^\.\/+/, "/")} for a path that begins at the top of the directory`
    : "write it as in .gitignore, such as '*.tmp' or /build/, and \\ before each [ of a name";
  return `${JSON.stringify(pattern)} matches no path: ${advice}`;
}

function makeMatchingPath(pattern: string): string | null {
  const characters: string[] = [];
  // Spaces at the end have no meaning, unless they are escaped.
  let length = 0;
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index]!;
    if (character === "\\") {
      if (++index === pattern.length) return null;
      characters.push(pattern[index]!);
    } else if (character === "[") {
      const end = findSetEnd(pattern, index);
      const member = findSetMember(pattern.slice(index, end));
      if (member === undefined) return null;
      characters.push(member);
      index = end - 1;
    } else characters.push(character === "*" || character === "?" ? "x" : character);
    if (character !== " ") length = characters.length;
  }
  const path = characters.slice(0, length).join("").replace(/^\//, "");
  const names = path.replace(/\/$/, "").split("/");
  return names.some((name) => name === "" || name === "." || name === "..") ? null : path;
}

function findSetEnd(pattern: string, start: number): number {
  let index = start + 1;
  if (/[!^]/.test(pattern[index] ?? "")) index++;
  if (pattern[index] === "]") index++;
  while (index < pattern.length && pattern[index] !== "]") {
    const classEnd = pattern.startsWith("[:", index) ? pattern.indexOf(":]", index + 2) : -1;
    if (classEnd >= 0) index = classEnd + 2;
    else index += pattern[index] === "\\" ? 2 : 1;
  }
  return Math.min(index + 1, pattern.length);
}

function findSetMember(set: string): string | undefined {
  const rules = ignore(IGNORE_OPTIONS).add([set]);
  // The dot is last, because a name can't be a single dot.
  const characters = [...SET_CHARACTERS, ...set.replaceAll(/[/.]/g, ""), "."];
  return characters.find((character) => rules.ignores(character));
}
