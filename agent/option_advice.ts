/** Advice for options of scp, rsync and curl that users type first. Other options have none. */

import type { Command } from "commander";

const COPY_COMMANDS = ["get", "put", "sync", "send", "receive"];

const ADVICE: readonly (readonly [flags: string, commands: readonly string[], advice: string])[] = [
  [
    "-a --archive -p -t --times --perms",
    COPY_COMMANDS,
    "leave it out, because times and permission bits are always kept",
  ],
  [
    "-z --compress -C --zip --bwlimit --limit",
    COPY_COMMANDS,
    "leave it out, because data is sent as fast as possible, without compression, and an interrupted copy continues",
  ],
  [
    "-P --progress --partial --stats",
    COPY_COMMANDS,
    "leave it out, because progress and a summary are shown, and an interrupted copy continues; for a port, write --address HOST:PORT",
  ],
  [
    "-r -R --recursive",
    ["sync", "send", "receive"],
    "leave it out, because directories are copied with all their contents",
  ],
  [
    "-c --checksum --continue --resume",
    COPY_COMMANDS,
    "leave it out, because each copy is verified by its digest, and an interrupted copy continues; to compare files by digest, write degu sync --checksum",
  ],
  [
    "-e -i -B -J --rsh --identity",
    COPY_COMMANDS,
    'degu uses no ssh, and no key file: run "degu pair" on both devices; to list each file, write --verbose',
  ],
  [
    "-o -O --output --out --stdout",
    ["get", "receive"],
    "write the target as the last argument; for degu get, - is stdout",
  ],
  [
    "-n --dry-run",
    ["get", "put", "send", "rm"],
    '"degu sync --dry-run" shows what sync would do, and "degu ls PEER:", also with --inbox, what is there',
  ],
  [
    "--include --accept -A",
    COPY_COMMANDS,
    "all is copied, but degu sync leaves out what --exclude names; to copy a part, name its directory",
  ],
  [
    "--backup -b",
    ["sync"],
    'from a peer write --keep DAYS; to a peer, "degu serve --keep DAYS" on it',
  ],
  [
    "-u --update --size-only --mirror --ignore-existing --no-clobber",
    ["get", "put", "sync"],
    "leave it out: get and put replace a different file only with --force; sync replaces each one, and --dry-run lists them first",
  ],
  ["-f --overwrite", ["get", "put", "receive"], "write --force to replace different files"],
  [
    "-f --force -i --interactive -y --yes -v --verbose --inbox",
    ["rm"],
    'leave it out, because degu rm never asks, and prints each name that it removes from the inbox; "degu ls --inbox PEER:" lists the files first',
  ],
  [
    "-c -n -t -i -w -4 --count --all",
    ["ping"],
    "degu ping connects once, to one peer; degu peers lists all peers",
  ],
  [
    "--to --host --dest --peer --target -T --mkpath --parents",
    COPY_COMMANDS,
    "degu get, put and sync have the peer in an argument, as PEER:PATH, and the target is the last one; it is created if missing",
  ],
  [
    "-a --all -R -r --recursive --depth --sort -t -S -1",
    ["ls"],
    "leave it out: all names of one directory are listed, sorted by name",
  ],
  [
    "--readonly --read-only --read-write --rw --allow",
    ["serve"],
    "all peers can read the share, and write only to the inbox: name it with --inbox",
  ],
  [
    "--code --pin --pass --password -y --yes",
    ["pair", "invite", "join", "send", "receive"],
    "both devices show a number, which you compare; without a terminal, degu invite and degu send print a line",
  ],
];

/** Options of other programs, and the option to write if a command has it. */
const SYNONYMS: readonly (readonly [flags: string, option: string])[] = [
  ["-p --port", "--listen 0.0.0.0:PORT"],
  ["-p --port", "--address HOST:PORT"],
  ["-w --watch --repeat --interval", "--every SECONDS"],
  ["--remove-source-files", "--move"],
  ["--for --expires --timeout --ttl --wait", "--seconds SECONDS for the duration"],
  ["-W --timeout --max-time", "--wait SECONDS to wait for a peer that is offline"],
  ["--name --peer", "--as NAME to name the other device"],
];

/** Also for an option such as --compress-level. */
function includesFlag(flags: string, flag: string): boolean {
  return flags.split(" ").some((each) => flag === each || flag.startsWith(`${each}-`));
}

function findAdvice(flag: string, command: Command): string | null {
  const [, , advice] =
    ADVICE.find(([flags, commands]) =>
      includesFlag(flags, flag) && commands.includes(command.name())
    ) ?? [];
  if (advice !== undefined) return advice;
  const hasOption = ({ options }: Command, name = "") => options.some(({ long }) => long === name);
  const [, synonym] =
    SYNONYMS.find(([flags, option]) =>
      includesFlag(flags, flag) && hasOption(command, option.split(" ")[0])
    ) ?? [];
  if (synonym !== undefined) return `write ${synonym}`;
  const owners = command.parent?.commands.filter((each) => hasOption(each, flag)) ?? [];
  const names = owners.map((each) => each.name()).join(", ");
  if (names !== "") return `it is an option of ${command.parent?.name()} ${names}`;
  // Such as -R for -r. The description says what the option does.
  const otherCase = command.options.find(({ short, hidden }) =>
    !hidden && flag.length === 2 && short?.toLowerCase() === flag.toLowerCase()
  );
  return otherCase === undefined
    ? null
    : `${otherCase.short} is ${otherCase.long}: ${otherCase.description}`;
}

export function listOptions({ options, parent }: Command) {
  return [...options, ...parent?.options ?? []];
}

/** Returns the problem and the advice for an option such as `-avz`; `null` without advice. */
export function describeForeignOption(option: string, command: Command): string | null {
  const [name = "", value] = option.split("=");
  const longName = `--${name.replace(/^-+/, "").toLowerCase()}`;
  const isKnown = listOptions(command).some(({ long }) => long === longName);
  if (isKnown && (value !== undefined || name !== longName)) {
    return name === longName
      ? `${name} takes no value: with ${name} it is on, and without it, off`
      : `unknown option '${name}': write ${longName}`;
  }
  // As in `-avz`, and in `-O-`.
  const [, letters] = /^-([A-Za-z]+)(?:-|\d*)$/.exec(name) ?? [];
  const flags = letters === undefined ? [name] : [...letters].map((letter) => `-${letter}`);
  const unknownFlags = flags.filter((flag) =>
    !listOptions(command).some(({ short }) => short === flag)
  );
  // An option of all commands, behind other letters.
  if (unknownFlags.length === 0) return `unknown option '${name}': write it separately`;
  const problems = new Set<string>();
  for (const flag of unknownFlags) {
    const advice = findAdvice(flag, command);
    if (advice === null) return null;
    problems.add(`unknown option '${flag}': ${advice}`);
  }
  return [...problems].join("; ");
}
