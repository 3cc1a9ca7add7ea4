/** The units of `degu service`, run by a systemd that the test starts. */
import { makeAgentCommand } from "@degu/testing/agents.ts";
import { findObstacle, runOrThrow } from "@degu/testing/commands.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assertEquals } from "@std/assert";

/**
 * Runs a script with a systemd of this user, whose units are below `$DIR/config`. Its processes and
 * mounts end with the script.
 */
const THROUGH_SYSTEMD = [
  ..."unshare --mount --net --pid --fork --kill-child --mount-proc timeout 90 bash -c".split(" "),
  `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user && ip link set lo up || exit
export DIR=$2 XDG_RUNTIME_DIR=/run/user XDG_CONFIG_HOME=$2/config
/lib/systemd/systemd --user > $DIR/systemd.log 2>&1 & manager=$!
until systemctl --user show > $DIR/shown 2>&1; do kill -0 $manager || exit; sleep 0.1; done
eval "$1"; code=$?
kill $manager; wait $manager
rmdir /sys/fs/cgroup/*/init.scope 2> $DIR/left # it leaves its empty control group
exit $code`,
  "systemd",
];

async function systemdObstacle(): Promise<string | null> {
  await using dir = await createTempDir();
  return await findObstacle([...THROUGH_SYSTEMD, "true", dir.path]);
}

const SCRIPT = `set -e
degu() { "\${DEGU[@]}" --home $DIR/home "$@"; }
until_served() { until (exec 3<> /dev/tcp/127.0.0.1/7443) 2> $DIR/refused; do sleep 0.1; done; }
of() { systemctl --user show degu --property=$1 --value; }
degu service install --inbox $DIR/inbox --listen 127.0.0.1:7443 > $DIR/printed 2>&1
systemctl --user is-enabled degu
until_served
first=$(of MainPID)
kill -9 $first
until [ $(of MainPID) != $first ]; do sleep 0.1; done
until_served
of ActiveState
degu service list | cut -d, -f2
systemctl --user stop degu
of ActiveState; of Result
degu service list | cut -d, -f2
degu service remove degu.service > $DIR/printed 2>&1
ls $XDG_CONFIG_HOME/systemd/user`;

Deno.test(
  "what degu service installs is enabled, serves, comes back after a kill, ends by itself, is listed, and is removed",
  ignoreIf(await systemdObstacle()),
  async () => {
    await using dir = await createTempDir();
    await fill(dir.path, { config: null, inbox: null });
    const flags = [..."--allow-env --allow-net --allow-read --allow-write --allow-run".split(" ")];
    const degu = makeAgentCommand([], [...flags, "--allow-sys"]).map((word) => `'${word}'`).join(
      " ",
    );
    const cwd = new URL("../../..", import.meta.url);
    const command = `  degu --home ${dir.path}/home serve --inbox ${dir.path}/inbox ` +
      "--listen 127.0.0.1:7443 --no-create";
    const script = `DEGU=(${degu}); ${SCRIPT}`;
    const printed = await runOrThrow([...THROUGH_SYSTEMD, script, dir.path], { cwd });
    const lines = ["enabled", "active", " exit code none; next run none", command];
    const endLines = ["inactive", "success", " exit code 0; next run none", command];
    assertEquals(printed.trimEnd().split("\n"), [...lines, ...endLines]);
  },
);
