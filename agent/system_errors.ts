import { dirname } from "node:path";
import { isReservedName } from "@degu/degu/files/base";

/**
 * Errors of the file system, as Deno and Node's modules write them:
 * `Permission denied (os error 13): stat '/x'`, `EACCES: permission denied, open '/x'`.
 */
export const SYSTEM_ERROR_PATTERN =
  /(?:\b[A-Z]\w+: )?(?:\b[^:]* \(os error \d+\)|\b(?:E[A-Z]+|UNKNOWN): [^,]*)[:,] (\w+) '(.*?)'(?: -> '(.*)')?$/s;

const PATH_PROBLEMS: readonly (readonly [codes: RegExp, problem: string, advice: string])[] = [
  [
    /^(EACCES|EPERM)$/,
    "USER may not DO PATH",
    "change the permissions, or run degu as another user",
  ],
  [
    /^EROFS$/,
    "PATH is on a disk that is read-only",
    "choose another path, or mount the disk for writing",
  ],
  [
    /^(ENOSPC|EDQUOT)$/,
    "there is no space left for PATH, or a quota is reached",
    "free some space",
  ],
  [/^ENOENT$/, "PATH does not exist", "check the name, and whether its disk is mounted"],
  [/^ENOTDIR$/, "PATH leads through a file", "name a directory"],
  [/^EISDIR$/, "PATH is a directory", "name a file"],
  [/^(EEXIST|ENOTEMPTY)$/, "PATH exists already", "choose another name"],
  [/^ELOOP$/, "the links of PATH form a loop", "fix the links, or name their target"],
  [/^ENAMETOOLONG$/, "the name PATH is too long for its disk", "choose a shorter name"],
  [/^(EBUSY|ETXTBSY)$/, "PATH is in use", "end the program that uses it, or try again later"],
  [/^(EMFILE|ENFILE)$/, "too many files are open", 'end other programs, or raise "ulimit -n"'],
  [
    /^(EIO|EBADMSG|EUCLEAN|ENXIO|UNKNOWN)$/,
    "the disk reports an error for PATH (CODE)",
    "look for errors of the disk in the system log",
  ],
  // Errors of a disk of another machine: NFS, SMB, sshfs.
  [
    /^(ETIMEDOUT|ECONN[A-Z]+|ENOTCONN|EHOST[A-Z]+|ENET[A-Z]+|EPIPE|ESHUTDOWN|ESTALE|EREMOTEIO)$/,
    "the disk of PATH can't be reached (CODE)",
    "check the machine that has the disk, and mount the disk again",
  ],
];

/** Problems and advice that differ on Windows, where an open file can't be replaced. */
const WINDOWS_PATH_PROBLEMS: typeof PATH_PROBLEMS = [
  [
    /^(EACCES|EPERM)$/,
    "USER may not DO PATH, or another program has it open",
    "end that program, or change the permissions",
  ],
  [/^(EMFILE|ENFILE)$/, "too many files are open", "end other programs"],
];

/** The codes of errors of Linux, for texts that have only a number. */
const CODES_OF_NUMBERS: Readonly<Record<string, string>> = {
  "5": "EIO",
  "23": "ENFILE",
  "24": "EMFILE",
  "74": "EBADMSG",
  "108": "ESHUTDOWN",
  "112": "EHOSTDOWN",
  "116": "ESTALE",
  "117": "EUCLEAN",
  "121": "EREMOTEIO",
  "122": "EDQUOT",
};

export function findSystemCode(text: string): string | undefined {
  const [, number] = /\(os error (\d+)\)/.exec(text) ?? [];
  return number === undefined ? undefined : nameErrorNumber(Number(number)) ?? `errno ${number}`;
}

export function nameErrorNumber(number: number): string | undefined {
  return CODES_OF_NUMBERS[number];
}

const WRITING_OPERATIONS =
  /^(mkdir|rename|remove|unlink|rmdir|write|fsync|f?truncate|chmod|f?utime|symlink|link|copy|copyfile)$/;

/** Operations of an open file, which the disk refuses, and not the permissions of the path. */
const OPEN_FILE_OPERATIONS = /^(read|write|fsync|ftruncate)$/;
const REFUSAL_CODES = /^(EACCES|EPERM|EINVAL|ENOSYS|ENOTSUP)$/;

export function describeSystemProblem(
  text: string,
  errorCode: unknown,
): [reason: string, hint: string] | null {
  const code = errorCode ?? findSystemCode(text);
  const [, operation = "", firstPath, secondPath] = SYSTEM_ERROR_PATTERN.exec(text) ?? [];
  const path = secondPath ?? firstPath;
  if (path === undefined) return null;
  const problems = Deno.build.os === "windows"
    ? [...WINDOWS_PATH_PROBLEMS, ...PATH_PROBLEMS]
    : PATH_PROBLEMS;
  const isRefusedByDisk = OPEN_FILE_OPERATIONS.test(operation) && REFUSAL_CODES.test(`${code}`);
  const problemCode = isRefusedByDisk ? "EIO" : `${code}`;
  const [, problem, advice] = problems.find(([codes]) => codes.test(problemCode)) ?? [];
  if (problem === undefined || advice === undefined) return null;
  // Users don't know reserved names: show the directory that contains the reserved name.
  const names = path.split("/");
  const reservedIndex = names.findIndex(isReservedName);
  const shownPath = reservedIndex < 0
    ? path
    : names.slice(0, reservedIndex).join("/") || dirname(path);
  const verb = reservedIndex >= 0 || WRITING_OPERATIONS.test(operation)
    ? "write"
    : operation === "open"
    ? "open"
    : "read";
  const words = {
    USER: describeUser(),
    DO: verb,
    PATH: JSON.stringify(shownPath),
    CODE: `${code}`,
  };
  return [
    problem.replace(/USER|DO|PATH|CODE/g, (word) => words[word as keyof typeof words]),
    advice,
  ];
}

function describeUser(): string {
  const permission = { name: "sys", kind: "uid" } as const;
  const isPermitted = Deno.build.os !== "windows" &&
    Deno.permissions.querySync(permission).state === "granted";
  return isPermitted ? `the user with the uid ${Deno.uid()}` : "this user";
}
