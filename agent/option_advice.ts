/** Advice for options of scp, rsync, curl and croc, which this program doesn't have. */

import type { Command } from "commander";

const COPY_COMMANDS = ["get", "put", "sync", "send", "receive"];

const ADVICE: readonly (readonly [flags: string, commands: readonly string[], advice: string])[] = [
  [
    "-a --archive -t --times -p --perms --preserve",
    COPY_COMMANDS,
    "leave it out, because times and permission bits are always kept",
  ],
  [
    "-C",
    ["get"],
    "leave it out, because an interrupted copy continues, and data is sent without compression",
  ],
  ["-z --compress -C", COPY_COMMANDS, "leave it out, because data is sent without compression"],
  [
    "-P",
    ["get", "put"],
    "leave it out, because progress is shown, and an interrupted copy continues; for a port, write " +
    "--address HOST:PORT",
  ],
  [
    "-P --progress --partial --info --stats",
    COPY_COMMANDS,
    "leave it out, because progress is shown, and an interrupted copy continues",
  ],
  ["--bwlimit --limit-rate", COPY_COMMANDS, "degu can't limit the bandwidth"],
  [
    "-r -R --recursive",
    ["sync", "send", "receive"],
    "leave it out, because directories are copied with all their contents",
  ],
  ["-f --overwrite", ["get", "put", "receive"], "write --force"],
  ["-f --force", ["rm"], "leave it out, because degu rm does not ask"],
  ["-n --dry-run --delete --exclude --checksum", ["get", "put"], "only degu sync has it"],
  ["-c --continue", ["get"], "leave it out, because an interrupted copy continues"],
  ["-c", ["sync"], "write --checksum"],
  ["--del --delete-before --delete-during --delete-after", ["sync"], "write --delete"],
  ["--include", ["sync"], "write --exclude '!GLOB' after the other globs"],
  ["--exclude-from", ["sync"], "write the globs into the file .deguignore of the local directory"],
  ["--remove-source-files", ["put", "sync"], "write --move"],
  [
    "-u --update --ignore-existing --no-clobber",
    ["get", "put"],
    "leave it out, because different files are kept without --force",
  ],
  [
    "-u --update --ignore-existing",
    ["sync"],
    "degu sync replaces files that differ; degu get -r and degu put -r keep them",
  ],
  ["-a -A --all", ["ls"], "leave it out, because all names are listed"],
  ["-R --recursive", ["ls"], "degu ls lists one directory"],
  ["-o -O --output", ["get"], "write the target as the last argument"],
  ["-o --out --output", ["receive"], "write the directory as the last argument"],
  ["-p --port", ["serve"], "write --listen, as in --listen 0.0.0.0:8000"],
  ["--port", ["ls", "get", "put", "rm", "sync", "ping"], "write --address HOST:PORT"],
  ["-e --rsh -i", ["get", "put", "sync"], 'degu uses no ssh: pair both devices with "degu pair"'],
  ["-s --silent", COPY_COMMANDS, "write --quiet"],
  ["--wait", ["send"], "write --seconds"],
  ["--wait", ["receive"], "leave it out, because degu receive waits until a device sends"],
  ["-y --yes", ["send", "receive"], "a person must compare the numbers; scripts can use the line"],
  ["--code", ["receive"], "give the line as an argument"],
  ["-c --code", ["send"], "leave it out, because degu makes the number or the line"],
  ["--text", ["send"], "write the text into a file, and send the file"],
];

function findAdvice(flag: string, commandName: string): string | null {
  const [, , advice = null] =
    ADVICE.find(([flags, commands]) =>
      flags.split(" ").includes(flag) && commands.includes(commandName)
    ) ?? [];
  return advice;
}

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
