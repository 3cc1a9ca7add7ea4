import { isReservedByWindows } from "../../internal/system.ts";

/** The second name (8.3) that Windows gives a file with a long name: `PROGRA~1.TXT`. */
const WINDOWS_SHORT_NAME = /^(?=[^.]{1,8}(?:\.|$))[^.]+~\d+(?:\.[^.]{0,3})?$/u;

// deno-lint-ignore no-control-regex
const WINDOWS_SPECIAL_CHARACTER = /[\\/:*?"<>|\x00-\x1f]/u;

/** Why Windows can't store a name: the code of a refusal. */
export type NameProblem =
  | "name-character"
  | "name-stream"
  | "name-end"
  | "name-device"
  | "name-short";

/** @param name A name that has no slash and no NUL, and is not empty, `.` or `..`. */
export function findNameProblem(
  name: string,
  system: typeof Deno.build.os = Deno.build.os,
): NameProblem | null {
  if (system !== "windows") return null;
  const [special] = WINDOWS_SPECIAL_CHARACTER.exec(name) ?? [];
  if (special !== undefined) return special === ":" ? "name-stream" : "name-character";
  if (/[. ]$/.test(name)) return "name-end";
  if (isReservedByWindows(name)) return "name-device";
  if (WINDOWS_SHORT_NAME.test(name)) return "name-short";
  return null;
}

export const NAME_PROBLEM_TEXTS: Readonly<Record<NameProblem, string>> = {
  "name-character": 'has one of the characters \\ / * ? " < > | or a control character',
  "name-stream": "has a colon, after which Windows expects an alternate stream",
  "name-end": "ends with a dot or a space",
  "name-device": "is reserved by Windows",
  "name-short": "has the form of a short name, such as PROGRA~1",
};

export function findSpecialCharacters(name: string): string {
  if (!WINDOWS_SPECIAL_CHARACTER.test(name)) return "";
  return [...new Set(name)].filter((each) => WINDOWS_SPECIAL_CHARACTER.test(each)).join("");
}
