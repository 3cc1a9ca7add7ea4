/** Advice for options of scp, rsync, curl and croc, which this program doesn't have. */

import type { Command } from "commander";

const COPY_COMMANDS = ["get", "put", "sync", "send", "receive"];

const OWNER_ADVICE = "the owner of a copy is the user who writes it";

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
    "-P --progress --partial --partial-dir --resume --info --stats",
    COPY_COMMANDS,
    "leave it out, because progress is shown, and an interrupted copy continues",
  ],
  ["--bwlimit --limit-rate", COPY_COMMANDS, "degu can't limit the bandwidth"],
  [
    "-l --links -L --copy-links",
    COPY_COMMANDS,
    "links in directories are skipped; a link that you name is followed",
  ],
  ["-W --whole-file", COPY_COMMANDS, "degu sends what has changed, and verifies the whole file"],
  ["--track-renames", ["sync"], "leave it out, because a renamed file is not sent again"],
  ["-H --hard-links", COPY_COMMANDS, "each hard link is copied as a file of its own"],
  ["-g --group --owner --chown", COPY_COMMANDS, OWNER_ADVICE],
  ["-o", ["put", "sync", "send"], OWNER_ADVICE],
  ["-D --devices --specials", COPY_COMMANDS, "special files are skipped"],
  ["--chmod", COPY_COMMANDS, "a copy has the permission bits of its source"],
  [
    "--max-size --min-size --max-age --min-age",
    COPY_COMMANDS,
    "degu can't choose files by size or age",
  ],
  ["--human-readable", COPY_COMMANDS, "leave it out, because sizes are printed with units"],
  [
    "--inplace --append --append-verify --fsync",
    COPY_COMMANDS,
    "leave it out, because an interrupted copy continues, and a file gets its name when it is complete and on the disk",
  ],
  [
    "--timeout --contimeout",
    COPY_COMMANDS,
    "each wait for the other device is limited; --wait SECONDS waits for a peer that is offline",
  ],
  [
    "--transfers --checkers --multi-thread-streams --fast-list",
    COPY_COMMANDS,
    "leave it out, because files are copied over several connections",
  ],
  [
    "--compare-dest --copy-dest --link-dest",
    COPY_COMMANDS,
    "degu compares two directories only; a renamed file is not sent again",
  ],
  [
    "-b --backup --backup-dir --suffix",
    COPY_COMMANDS,
    "sync PEER:DIR DIR --keep DAYS and degu serve --keep DAYS keep earlier versions",
  ],
  ["--zip", ["send"], "leave it out, because directories are sent with all their contents"],
  ["--qr", ["send", "invite", "pair"], "degu shows a number, or prints a line of text"],
  ["--relay --pass", ["send", "receive"], "degu uses no relay: one device must reach the other"],
  ["--local --no-relay", ["send", "receive"], "leave it out, because degu uses no relay"],
  [
    "--log-file --log --log-level",
    [...COPY_COMMANDS, "serve"],
    "degu prints to stderr: write 2> FILE after the command",
  ],
  ["--daemon", ["serve"], "run degu service install with the other options"],
  ["--allow", ["serve"], "only paired devices can connect; degu forget removes one"],
  ["--to", ["send"], "run degu receive on the other device; to a peer, degu put FILE PEER:"],
  ["-c --count", ["ping"], "degu ping connects once"],
  [
    "-r -R --recursive",
    ["sync", "send", "receive"],
    "leave it out, because directories are copied with all their contents",
  ],
  ["-f --overwrite", ["get", "put", "receive"], "write --force"],
  ["-f --force", ["rm"], "leave it out, because degu rm does not ask"],
  ["-i --interactive", ["rm"], "degu rm does not ask"],
  ["-n --dry-run --delete --exclude --checksum", ["get", "put", "send"], "only degu sync has it"],
  ["-c --continue", ["get"], "leave it out, because an interrupted copy continues"],
  ["--daemon", ["sync"], "run degu service install sync with the other options"],
  ["-c -I --ignore-times", ["sync"], "write --checksum"],
  ["--size-only", ["sync"], "files are compared by size and time, with --checksum by content"],
  ["-f --filter --ignore", ["sync"], "write --exclude GLOB"],
  ["-i --itemize-changes", ["sync"], "write --verbose; --dry-run prints what would change"],
  ["--status", ["sync"], "progress is shown; --dry-run prints what would change"],
  ["--list-only", COPY_COMMANDS, "run degu ls PEER:DIR"],
  ["--watch --monitor --schedule --cron", ["sync"], "write --every SECONDS"],
  [
    "--bidirectional --two-way --resync --conflict-resolve",
    ["sync"],
    "degu sync copies in one direction",
  ],
  ["--del --delete-before --delete-during --delete-after", ["sync"], "write --delete"],
  ["--delete-excluded", ["sync"], "write --delete; excluded entries of the target are kept"],
  ["--interactive --confirm", ["sync"], "write --dry-run first; it prints what would change"],
  ["--include", ["sync"], "write --exclude '!GLOB' after the other globs"],
  ["-x --one-file-system", ["sync"], "write --exclude GLOB for the directory of each mounted disk"],
  ["--files-from --include-from", ["sync"], "put the files: degu put FILE... PEER:"],
  ["--existing --ignore-non-existing", ["sync"], "degu sync always copies new files"],
  ["--exclude-from", ["sync"], "write the globs into the file .deguignore of the local directory"],
  ["--remove-source-files", ["put", "sync"], "write --move"],
  [
    "-u --update --ignore-existing --skip-existing --no-clobber",
    ["get", "put"],
    "leave it out, because different files are kept without --force",
  ],
  [
    "-u --update --ignore-existing",
    ["sync"],
    "degu sync replaces files that differ; degu get -r and degu put -r keep them",
  ],
  ["-a -A --all", ["ls"], "leave it out, because all names are listed"],
  ["-R -r --recursive", ["ls"], "degu ls lists one directory"],
  ["-t -S --sort", ["ls"], "degu ls sorts by name"],
  [
    "--name",
    ["pair", "invite", "join"],
    'run "degu init --name NAME" for the name of this device; --as NAME is the name of the other one',
  ],
  ["--name", ["serve"], 'run "degu init --name NAME"'],
  ["--name", ["send", "receive"], "leave it out, because the name of the machine is shown"],
  ["-o -O --output", ["get"], "write the target as the last argument"],
  ["-o --out --output", ["receive"], "write the directory as the last argument"],
  ["-p --port", ["serve", "send"], "write --listen, as in --listen 0.0.0.0:8000"],
  ["--ip --host", ["pair", "ping", "ls", "get", "put", "rm", "sync"], "write --address HOST:PORT"],
  ["--dir --path --root", ["serve"], "write --share DIR or --inbox DIR"],
  ["--readonly --read-only", ["serve"], "leave it out, because peers can only read the share"],
  ["--all", ["forget"], "run it once for each peer"],
  ["--remove --delete", ["peers"], "run degu forget PEER"],
  [
    "--user --password --token --key",
    ["serve", "pair", "join", ...COPY_COMMANDS],
    "degu has no users and passwords: paired devices know each other by their keys",
  ],
  ["--as --name --rename", ["put"], "write the new name behind the colon, as in PEER:NAME"],
  ["--port", ["ls", "get", "put", "rm", "sync", "ping"], "write --address HOST:PORT"],
  [
    "-e --rsh -i --identity -F -J",
    ["get", "put", "sync"],
    'degu uses no ssh: pair both devices with "degu pair"',
  ],
  ["-s --silent", COPY_COMMANDS, "write --quiet"],
  ["--wait", ["send"], "write --seconds"],
  [
    "--wait --seconds",
    ["receive"],
    "leave it out, because degu receive waits until a device sends",
  ],
  [
    "-y --yes",
    ["send", "receive", "pair"],
    "a person must compare the numbers; scripts can use the line",
  ],
  [
    "--code",
    ["pair"],
    "degu shows a number on both devices; scripts use degu invite and degu join",
  ],
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
