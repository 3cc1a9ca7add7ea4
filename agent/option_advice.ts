/** Advice for options of scp, rsync and curl that users type first. Other options have none. */

import type { Command } from "commander";

const COPY_COMMANDS = ["get", "put", "sync", "send", "receive"];

const ADVICE: readonly (readonly [flags: string, commands: readonly string[], advice: string])[] = [
  [
    "-a --archive -p -t",
    COPY_COMMANDS,
    "leave it out, because times and permission bits are always kept",
  ],
  ["-z --compress", COPY_COMMANDS, "leave it out, because data is sent without compression"],
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
  ["-c", ["sync"], "write --checksum"],
  ["-c --checksum", COPY_COMMANDS, "leave it out, because each copy is verified by its digest"],
  ["--bwlimit --limit-rate", COPY_COMMANDS, "degu can't limit the bandwidth"],
  ["-e -i", COPY_COMMANDS, 'degu uses no ssh: run "degu pair" on both devices'],
  ["--port", COPY_COMMANDS, "write --address HOST:PORT"],
  ["-o -O --output", ["get", "receive"], "write the target as the last argument"],
  [
    "-n --dry-run",
    ["get", "put", "send", "rm"],
    '"degu sync --dry-run" shows what sync would do, and "degu ls PEER:" what is there',
  ],
  ["--delete --exclude --include", ["get", "put", "send"], "degu sync copies and deletes by rules"],
  [
    "--include",
    ["sync"],
    "all is copied but what --exclude names; to copy a part, name its directory",
  ],
  [
    "--backup -b",
    ["sync"],
    'from a peer write --keep DAYS; to a peer, "degu serve --keep DAYS" on it',
  ],
  ["-w --watch", ["sync"], "write --every SECONDS"],
  ["--remove-source-files", ["sync", "put"], "write --move"],
  ["-f", ["get", "put", "receive"], "write --force"],
  [
    "-f --force -i --interactive",
    ["rm"],
    'leave it out, because degu rm never asks; "degu ls --inbox PEER:" lists the files first',
  ],
  ["-a --all -R -r --recursive", ["ls"], "all names of one directory are listed"],
  [
    "--readonly --read-only -p --port",
    ["serve"],
    "peers can only read the share; for a port, write --listen 0.0.0.0:PORT",
  ],
];

function findAdvice(flag: string, commandName: string): string | null {
  const [, , advice = null] =
    ADVICE.find(([flags, commands]) =>
      flags.split(" ").includes(flag) && commands.includes(commandName)
    ) ?? [];
  return advice;
}

/** Returns the problem and the advice for an option such as `-avz`; `null` without advice. */
export function describeForeignOption(option: string, command: Command): string | null {
  const [name = ""] = option.split("=");
  const flags = /^-[A-Za-z]+$/.test(name)
    ? [...name.slice(1)].map((letter) => `-${letter}`)
    : [name];
  const knownOptions = [...command.options, ...command.parent?.options ?? []];
  const unknownFlags = flags.filter((flag) => !knownOptions.some(({ short }) => short === flag));
  const problems = new Set<string>();
  for (const flag of unknownFlags) {
    const advice = findAdvice(flag, command.name());
    if (advice === null) return null;
    problems.add(`unknown option '${flag}': ${advice}`);
  }
  return problems.size === 0 ? null : [...problems].join("; ");
}
