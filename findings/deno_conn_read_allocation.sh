#!/usr/bin/env bash
# In Deno 2.9.6 a read of a Deno.Conn that waits for bytes allocates about 1.1 KB of objects, half of
# them below the class: the promise by which the runtime tracks the pending operation, with its
# functions. The other half is the async function read() of the class and its set of pending reads,
# for ref() and unref(). A read of bytes that have already arrived tracks no operation.
#
# Seen with the npm package deno 2.9.6, as bytes of each read, without those of the write before:
#   read of a Deno.Conn, waiting: 1000 to 1300
#   the operation below it, waiting: 500 to 700
#   read of a Deno.Conn, bytes have arrived: 400 to 600
#
# Because of it, docs/performance.md names these reads where it says why Deno.serve, whose sockets
# are native code, takes less processor time for the smallest app.
#
# Needs npm. Fails if the behaviour changes; the figures don't depend on the speed of the machine.
set -euo pipefail
VERSION=2.9.6

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix . "deno@$VERSION"

cat > allocation.mjs << 'SCRIPT'
const COUNT = 4000;
const { core } = Deno[Deno.internal];
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const conn = await Deno.connect(listener.addr);
const peer = await listener.accept();
const rid = conn[core.internalRidSymbol];
const into = new Uint8Array(1), byte = new Uint8Array(1);

const works = {
  async write(count) {
    for (let i = 0; i < count; i++) await peer.write(byte);
    for (let all = new Uint8Array(count), length = 0; length < count;) length += await conn.read(all);
  },
  async "read of a Deno.Conn, waiting"(count) {
    for (let i = 0; i < count; i++) {
      const pending = conn.read(into);
      await peer.write(byte);
      await pending;
    }
  },
  async "the operation below it, waiting"(count) {
    for (let i = 0; i < count; i++) {
      const pending = core.read(rid, into);
      await peer.write(byte);
      await pending;
    }
  },
  async "read of a Deno.Conn, bytes have arrived"(count) {
    for (let i = 0; i < count; i++) {
      await peer.write(byte);
      await conn.read(into);
    }
  },
};

// The young generation holds all objects of a measurement, so no collection removes some of them.
async function measure(work) {
  for (let i = 0; i < 10; i++) await work(COUNT);
  const samples = [];
  for (let i = 0; i < 5; i++) {
    gc();
    const before = Deno.memoryUsage().heapUsed;
    await work(COUNT);
    samples.push((Deno.memoryUsage().heapUsed - before) / COUNT);
  }
  return samples.sort((a, b) => a - b)[2];
}

const written = await measure(works.write);
const ranges = [[1000, 1300], [500, 700], [400, 600]];
for (const [index, [name, work]] of Object.entries(works).slice(1).entries()) {
  const bytes = await measure(work) - written;
  const [min, max] = ranges[index];
  console.log(`${name}: ${bytes >= min && bytes <= max ? `${min} to ${max}` : bytes}`);
}
Deno.exit(0);
SCRIPT

cat > expected << 'EXPECTED'
read of a Deno.Conn, waiting: 1000 to 1300
the operation below it, waiting: 500 to 700
read of a Deno.Conn, bytes have arrived: 400 to 600
EXPECTED
node_modules/.bin/deno run --no-config --allow-net=127.0.0.1 \
  --v8-flags=--expose-gc,--min-semi-space-size=128,--max-semi-space-size=256 allocation.mjs | tee actual
diff expected actual
