#!/usr/bin/env python3
"""The experiment of this folder: four models of equal size on the same text in the same order, attention and RAT+, each
with and without joint training, looked at through dilated patterns before and after a short adaptation to each.

    run.py cpu     two cores, under two hours
    run.py gpu     one H100; meant for 25 minutes, not run yet
    run.py smoke   next to nothing of it, to see that it runs

Builds ratel, makes the text, and does piece by piece what is not done yet: stop it whenever you like, and start it again.
At the end it writes results/SIZE.json, and of all the results there are RESULTS.md and its figure.
"""

import argparse
import concurrent.futures
import dataclasses
import datetime
import fcntl
import json
import pathlib
import shutil
import signal
import subprocess
import sys

import report
from pieces import Stopped, Store, write_atomically
from plan import Plan
from sizes import HERE, ROOT, SIZES

QUIET = 0.5  # load a core, above which another program spoils a measurement of speed


class Interrupted(KeyboardInterrupt):
    """A signal came: SIGINT or SIGTERM."""

    def __init__(self, number):
        super().__init__()
        self.code = 128 + number


def interrupt(number, _):
    raise Interrupted(number)


def say(*words):
    print(datetime.datetime.now().strftime("%H:%M:%S"), *words, flush=True)


def run_chains(plan, store):
    """Models side by side, each chain in its order; what fails first ends all."""
    def run(chain):
        for piece in chain:
            store.do(piece)

    with concurrent.futures.ThreadPoolExecutor(plan.size.jobs) as pool:
        futures = [pool.submit(run, chain) for chain in plan.chains()]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            store.stop()
            raise


def run(plan, store):
    for piece in plan.text():
        store.do(piece)
    run_chains(plan, store)
    for piece in plan.alone():
        store.do(piece)


def results_of(plan, store):
    """Everything that the report needs, of the pieces that are done."""
    found = {}
    for piece in plan.all():
        record = store.record(piece)
        if record is None:
            continue
        for result in record["results"]:
            result.pop("scores", None)  # example by example: in the piece itself
        found[piece.name] = json.loads(json.dumps(record).replace(str(plan.work), "WORK").replace(f"{ROOT}/", ""))
    settings = dataclasses.asdict(plan.size)
    settings["config"] = str(plan.size.config.relative_to(ROOT))
    return {"settings": settings, "config": plan.config, "command": f"experiments/dilation/run.py {plan.size.name}",
            "pieces": found}


def commit_of(tree):
    try:
        return subprocess.run(["git", "-C", tree, "describe", "--always", "--dirty"], capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def build():
    """The binary of the preset that fits the machine."""
    has_nvcc = shutil.which("nvcc") or pathlib.Path("/usr/local/cuda/bin/nvcc").exists()
    preset = "cuda" if has_nvcc and shutil.which("nvidia-smi") else "cpu"
    say(f"building ratel (preset {preset})")
    for command in (["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset, "--target", "ratel_cli"]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Stopped(f"{' '.join(command)} failed:\n{done.stdout[-2000:].strip()}\nhint: "
                          "scripts/install_packages.sh installs what the build needs")
    return ROOT / "build" / preset / "cli" / "ratel"


def locked(work):
    """A handle that keeps a second run.py out of the folder."""
    work.mkdir(parents=True, exist_ok=True)
    handle = open(work / "lock", "w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Stopped(f"{work}: another run.py is at work there") from None
    return handle


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--ratel", type=pathlib.Path, help="the binary; else it is built")
    parser.add_argument("--commit", help="that the binary was built from [that of this tree]")
    parser.add_argument("--work", type=pathlib.Path, help="where pieces are kept [runs/dilation-SIZE]")
    parser.add_argument("--results", type=pathlib.Path,
                        help="folder of RESULTS.md and results/ [this one; of smoke the work folder]")
    parser.add_argument("--report", action="store_true", help="run nothing: write the report of what is there")
    args = parser.parse_args()
    args.work = (args.work or ROOT / "runs" / f"dilation-{args.size}").resolve()
    args.results = (args.results or (args.work if args.size == "smoke" else HERE)).resolve()
    return args


def main():
    args = parse()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        lock = locked(args.work)
        ratel = args.ratel.resolve() if args.ratel else build()
        store = Store(args.work, ROOT, ratel, SIZES[args.size].jobs, args.commit or commit_of(ROOT), say)
        plan = Plan(SIZES[args.size], store)
        if "cuda" in plan.place and not store.has_gpu:
            raise Stopped(f"{args.size} needs a GPU; `{ratel} doctor` says why there is none for it")
        if not args.report:
            run(plan, store)
        results = json.dumps(results_of(plan, store), indent=1) + "\n"
        write_atomically(args.results / "results" / f"{args.size}.json", results)
        report.write(args.results, ratel)
        lock.close()
    except Interrupted as stopped:
        print(f"\nstopped; the same command goes on from what is in {args.work}", file=sys.stderr)
        sys.exit(stopped.code)
    except (Stopped, OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        sys.exit(f"run.py: {error}")
    say(f"wrote {args.results / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
