"""Registers and spills of the CUDA kernels of a build, as ptxas reported them.

    kernel_resources.py BUILD            a table of all kernels
    kernel_resources.py BUILD --check    exits with 1 where a kernel spills registers, naming it; those of f64, which are
                                         there for tests, may
"""
import argparse
import pathlib
import re
import subprocess
import sys


def kernels_of(text):
    """(name, architecture, registers, stack bytes, spilled bytes) of every kernel of one object's report."""
    name = None
    for line in text.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
            name, architecture = match.groups()
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, stores, loads = map(int, match.groups())
        elif (match := re.search(r"Used (\d+) registers", line)) and name:
            yield name, architecture, int(match[1]), stack, stores + loads
            name = None


def readable(names):
    try:
        text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"kernel_resources: c++filt: {error}")
    short = [re.sub(r"ratel::(cuda::)?|\(anonymous namespace\)::|^void ", "", name) for name in text.splitlines()]
    return [name[:name.rindex(">(") + 1] if ">(" in name else name.split("(")[0] for name in short]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    rows = [row for path in sorted(args.build.rglob("*.ptxas")) for row in kernels_of(path.read_text())]
    if not rows:
        sys.exit(f"kernel_resources: {args.build}: no report of ptxas; build preset cuda first")
    rows = [(name, *row[1:]) for name, row in zip(readable([row[0] for row in rows]), rows)]
    spilling = [row for row in rows if row[4] and not ("double" in row[0] and "float" not in row[0])]
    if args.check:
        for name, architecture, _, _, spilled in spilling:
            print(f"kernel_resources: {name} for {architecture} spills {spilled} bytes", file=sys.stderr)
        print(f"kernel_resources: {len(rows)} kernels, {len(spilling)} spill, at most {max(row[2] for row in rows)} registers")
        sys.exit(1 if spilling else 0)
    for name, architecture, registers, stack, spilled in sorted(rows):
        print(f"{architecture:8} {registers:4} registers {stack:5} stack {spilled:5} spilled  {name}")


if __name__ == "__main__":
    main()
