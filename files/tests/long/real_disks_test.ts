/**
 * The disks that people mount: file systems in user space, as Debian packages them. Each row is
 * also a row of `files/docs/disks.md`.
 */
import { findObstacle } from "@degu/testing/commands.ts";
import { findOddDiskObstacle } from "../odd_disk.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { findMountObstacle, THROUGH_PROCESS_NAMESPACE } from "@degu/testing/namespaces.ts";
import { importMapFlags, runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const obstacle = await findMountObstacle();

interface Row {
  readonly disk: string;
  /** The programs that the row needs. */
  readonly programs: readonly string[];
  /** Shell commands that mount `disk` in the present directory, which has `backing`. */
  readonly mount: string;
  /** The files of `times` whose times the disk loses. */
  readonly lostTimes?: readonly string[];
  readonly isModeKept?: boolean;
  readonly versions: boolean;
  /** False if only the steps of `refused` matter: the disk is refused at the first file. */
  readonly isSupported?: boolean;
  /** Whether the file system refuses the root of a user namespace, or needs a loop device. */
  readonly needsRoot?: boolean;
  /** The texts of the steps that the disk doesn't support; all other steps succeed. */
  readonly refused?: Readonly<Record<string, string>>;
}

/** A branch of mergerfs for `root/single/other`, and one for the other directories. */
const BRANCHES = "mkdir -p a/root b/root/single/other b/root/tree/other b/root/killed/other";
const SFTP_SERVER = "/usr/lib/openssh/sftp-server";
const ONE_WRITE = "--vfs-cache-mode writes";

const rows: readonly Row[] = [
  {
    disk: "mergerfs",
    programs: ["mergerfs"],
    mount: `${BRANCHES}; mergerfs -o minfreespace=0 "$PWD/a:$PWD/b" disk`,
    versions: false,
  },
  {
    disk: "mergerfs with use_ino and category.create=mfs",
    programs: ["mergerfs"],
    mount:
      `${BRANCHES}; mergerfs -o minfreespace=0,use_ino,category.create=mfs "$PWD/a:$PWD/b" disk`,
    versions: true,
  },
  {
    disk: "sshfs",
    programs: ["sshfs", SFTP_SERVER],
    // The server of SFTP that sshd starts, without the network.
    mount: `printf '#!/bin/sh\\nexec ${SFTP_SERVER}\\n' > ssh; chmod +x ssh; ` +
      'sshfs -o ssh_command="$PWD/ssh" host:"$PWD/backing" disk',
    lostTimes: ["old", "zero"],
    versions: false,
  },
  {
    disk: "gocryptfs",
    programs: ["gocryptfs"],
    mount: "echo x > key; gocryptfs -q -init -scryptn 10 -passfile key backing; " +
      "gocryptfs -q -nosyslog -passfile key backing disk",
    versions: true,
  },
  {
    disk: "encfs",
    programs: ["encfs"],
    mount: 'echo x | encfs -S --standard "$PWD/backing" "$PWD/disk" > /dev/null',
    versions: true,
  },
  {
    disk: "cryfs",
    programs: ["cryfs"],
    mount:
      "export CRYFS_FRONTEND=noninteractive CRYFS_NO_UPDATE_CHECK=true CRYFS_LOCAL_STATE_DIR=$PWD/state; " +
      "echo x | cryfs backing disk > /dev/null",
    versions: false,
  },
  {
    disk: "securefs",
    programs: ["securefs"],
    mount: "securefs create --pass x --rounds 2 backing > /dev/null 2>&1; " +
      "securefs mount -b --log log --pass x backing disk > /dev/null 2>&1",
    versions: false,
  },
  { disk: "bindfs", programs: ["bindfs"], mount: "bindfs backing disk", versions: true },
  {
    disk: "unionfs-fuse",
    programs: ["unionfs"],
    mount: 'mkdir b; unionfs -o cow "$PWD/backing=RW:$PWD/b=RO" disk',
    versions: false,
  },
  {
    disk: "unionfs-fuse with use_ino",
    programs: ["unionfs"],
    mount: 'mkdir b; unionfs -o cow,use_ino "$PWD/backing=RW:$PWD/b=RO" disk',
    versions: true,
  },
  {
    disk: "fuse-overlayfs",
    programs: ["fuse-overlayfs"],
    mount:
      "mkdir low work; fuse-overlayfs -o lowerdir=low,upperdir=backing,workdir=work disk 2> /dev/null",
    versions: true,
  },
  {
    disk: "archivemount",
    programs: ["archivemount", "tar"],
    mount: "touch x; tar -cf x.tar x; archivemount x.tar disk",
    versions: false,
    // Also the content of its archive is wrong after a rename.
    isSupported: false,
    refused: { put: "its disk reports an existing file as missing" },
  },
  {
    disk: "rclone mount with a cache",
    programs: ["rclone"],
    mount: 'rclone mount --daemon --config /dev/null --cache-dir "$PWD/cache" ' +
      '--vfs-cache-mode writes --vfs-write-back 0s ":local:$PWD/backing" disk',
    isModeKept: false,
    versions: false,
  },
  {
    disk: "rclone mount without a cache",
    programs: ["rclone"],
    mount: 'rclone mount --daemon --config /dev/null ":local:$PWD/backing" disk',
    isModeKept: false,
    versions: false,
    isSupported: false,
    refused: { put: ONE_WRITE },
  },
  {
    disk: "fuse2fs",
    programs: ["fuse2fs", "mkfs.ext4"],
    mount: "truncate -s 200M image; mkfs.ext4 -q -F image; fuse2fs -o fakeroot image disk",
    versions: true,
  },
  {
    disk: "ntfs-3g",
    programs: ["ntfs-3g", "mkntfs"],
    mount: "truncate -s 200M image; mkntfs -F -Q image > /dev/null 2>&1; ntfs-3g image disk",
    isModeKept: false,
    needsRoot: true,
    versions: true,
  },
  {
    disk: "exfat-fuse",
    programs: ["mount.exfat-fuse", "mkfs.exfat"],
    mount:
      "truncate -s 200M image; mkfs.exfat image > /dev/null; mount -t exfat-fuse -o loop image disk > /dev/null",
    isModeKept: false,
    needsRoot: true,
    versions: false,
  },
];

async function findRowObstacle({ programs, needsRoot }: Row): Promise<string | null> {
  if (needsRoot) {
    await using dir = await createTempDir();
    const script = 'truncate -s 1M "$0/x" && losetup -d "$(losetup --find --show "$0/x")"';
    const loopObstacle = await findObstacle(["unshare", "--mount", "sh", "-c", script, dir.path]);
    if (loopObstacle !== null) return loopObstacle;
  }
  for (const program of programs) {
    const isMissing = await findObstacle(["bash", "-c", 'command -v "$0"', program]) !== null;
    if (isMissing) return `${program} is not installed`;
  }
  // Some disks are mounted by FUSE.
  return await findOddDiskObstacle();
}

for (const row of rows) {
  Deno.test(
    `each way of copying is right on this disk, or refused with the reason: ${row.disk}`,
    ignoreIf(obstacle ?? await findRowObstacle(row)),
    async () => {
      await using dir = await createTempDir();
      await Deno.mkdir(`${dir.path}/backing`);
      await Deno.mkdir(`${dir.path}/disk`);
      const script = `cd "$0"; set -e; ${row.mount}; "$@"; code=$?; umount --lazy disk; exit $code`;
      const throughNamespace = THROUGH_PROCESS_NAMESPACE.filter((argument) =>
        !row.needsRoot || argument !== "--map-root-user"
      );
      const output = await runProgram("real_disks.ts", {
        flags: ["--allow-all", ...importMapFlags()],
        args: [dir.path],
        through: [...throughNamespace, "bash", "-c", script, dir.path],
      });
      const { outcomes, kept } = JSON.parse(output.slice(output.lastIndexOf('{"outcomes"')));
      const { refused = {} } = row;
      for (const [step, outcome] of Object.entries<string>(outcomes)) {
        const reason = refused[step];
        if (reason !== undefined) assertStringIncludes(outcome, reason, step);
        else if (row.isSupported !== false) assertEquals(outcome, "ok", step);
      }
      assert(Object.keys(outcomes).length > 10);
      if (row.isSupported === false) return assertEquals(kept.versions, false);
      assertEquals(kept, {
        lostTimes: row.lostTimes ?? [],
        isModeKept: row.isModeKept ?? true,
        versions: row.versions,
      });
    },
  );
}
