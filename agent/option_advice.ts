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
    "-P --progress --partial",
    COPY_COMMANDS,
    "leave it out, because progress is shown, and an interrupted copy continues; for a port, write --address HOST:PORT",
  ],
  [
    "-r -R --recursive",
    ["sync", "send", "receive"],
    "leave it out, because directories are copied with all their contents",
  ],
  ["--bwlimit --limit-rate", COPY_COMMANDS, "degu can't limit the bandwidth"],
  ["-e -i", COPY_COMMANDS, 'degu uses no ssh: pair both devices with "degu pair"'],
  ["--port", COPY_COMMANDS, "write --address HOST:PORT"],
  ["-o --output", ["get", "receive"], "write the target as the last argument"],
  ["-n --dry-run --delete --exclude", ["get", "put", "send"], "only degu sync has it"],
  ["--mirror", ["sync"], "write --delete"],
  ["-w --watch", ["sync"], "write --every SECONDS"],
  ["--remove-source-files", ["sync", "put"], "write --move"],
  ["-p --port", ["serve"], "write --listen 0.0.0.0:PORT"],
  [
    "--code",
    ["send", "receive", "pair"],
    "leave it out: both devices show a number, and you compare it",
  ],
  ["-f", ["get", "put", "receive"], "write --force"],
  ["-f --force", ["rm"], "leave it out, because degu rm does not ask"],
  ["--to --peer -T --upload-file", COPY_COMMANDS, "write the peer last, as in degu put FILE PEER:"],
  ["-a --all", ["ls"], "leave it out, because all names are listed"],
  [
    "-R -r --recursive",
    ["ls"],
    "degu sync --dry-run PEER:DIR DIR lists all files below a directory",
  ],
  ["-d --daemon", ["serve"], "degu service install keeps it running"],
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
