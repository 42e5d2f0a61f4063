"""experiments/dilation in its smallest size, stopped, damaged and gone on with, and what its report makes of numbers.

dilation_test.py RATEL
"""

import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "experiments" / "dilation"
sys.path.insert(0, str(FOLDER))

import claims  # noqa: E402
import pieces  # noqa: E402
import plan  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from sizes import MODELS, SIZES, View  # noqa: E402

RATEL = pathlib.Path(sys.argv.pop()).resolve()


def start(work, *more):
    return subprocess.Popen([sys.executable, FOLDER / "run.py", "smoke", "--ratel", RATEL, "--work", work / "run",
                             "--results", work, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, errors = process.communicate()
    return process.returncode, out, errors


def runs(stat):
    """Whether a process, by its file in /proc, has not ended; nobody may have asked yet how it did."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class SmokeTest(unittest.TestCase):
    """One run for all of them: it takes seconds."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.work = pathlib.Path(cls.scratch.name).resolve()
        cls.folder = cls.work / "run"
        cls.pieces = cls.folder / "pieces"
        first = start(cls.work)
        while first.poll() is None and len(list(cls.pieces.rglob("before/*.json"))) < 4:
            time.sleep(0.01)
        first.send_signal(signal.SIGTERM)
        cls.stopped = finish(first)
        cls.reported = (cls.work / "RESULTS.md").exists()
        cls.before = {path: path.stat().st_mtime_ns for path in cls.pieces.rglob("*.json")}
        cls.finished = finish(start(cls.work))
        cls.after = {path: path.stat().st_mtime_ns for path in cls.pieces.rglob("*.json")}

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def plan(self, **changes):
        store = pieces.Store(self.folder, ROOT, RATEL, 2, "a commit", lambda *_: None)
        return plan.Plan(dataclasses.replace(SIZES["smoke"], **changes), store)

    def again(self):
        """Which pieces another start does."""
        code, out, errors = finish(start(self.work))
        self.assertEqual(code, 0, errors)
        return [line.split()[1].rstrip(":") for line in out.splitlines() if line.endswith(" s")]

    def test_a_stop_says_how_to_go_on(self):
        code, out, errors = self.stopped
        self.assertEqual(code, 143, out + errors)
        self.assertIn("the same command goes on", errors)
        self.assertFalse(self.reported)

    def test_what_was_done_is_not_done_again(self):
        self.assertEqual(self.finished[0], 0, self.finished[2])
        self.assertGreaterEqual(len(self.before), 4)
        for path, changed in self.before.items():
            self.assertEqual(self.after[path], changed, path)
        self.assertEqual(self.again(), [])

    def test_a_piece_done_again_finds_the_same(self):
        path = self.pieces / "seed0" / "rat_plus" / "after" / "D4.json"
        first = json.loads(path.read_text())
        for damaged in (b"", b"[]", b'{"key": 1}', b"\xff{", path.read_bytes()[:200]):
            path.write_bytes(damaged)
            self.assertEqual(self.again(), ["seed0/rat_plus/after/D4"])
            second = json.loads(path.read_text())
            self.assertEqual(second["results"][1]["loss"], first["results"][1]["loss"])
            self.assertEqual(second["key"], first["key"])

    def test_a_model_that_went_is_trained_again(self):
        shutil.rmtree(self.folder / "runs" / "seed0-attention")
        self.assertEqual(self.again(), ["seed0/attention/pretrain"])
        (self.folder / "text" / "needles.bin").unlink()
        self.assertEqual(self.again(), ["text/needles"])

    def test_half_a_folder_is_not_taken_for_a_whole(self):
        """As a kill leaves it that comes while the folder of an adapted model is removed."""
        half = self.folder / "runs" / "seed0-attention-after-D4"
        (half / "checkpoints" / "step-2").mkdir(parents=True)
        (self.pieces / "seed0" / "attention" / "after" / "D4.json").unlink()
        self.assertEqual(self.again(), ["seed0/attention/after/D4"])
        self.assertFalse(half.exists())

    def test_two_do_not_work_in_one_folder(self):
        first = start(self.work)
        time.sleep(0.05)
        codes = sorted([finish(start(self.work))[0], finish(first)[0]])
        self.assertIn(codes, ([0, 0], [0, 1]))  # the first may be through already
        with open(self.folder / "lock", "w") as lock:
            import fcntl
            fcntl.flock(lock, fcntl.LOCK_EX)
            code, _, errors = finish(start(self.work))
        self.assertEqual(code, 1)
        self.assertIn("another run.py is at work", errors)

    @unittest.skipUnless(shutil.which("setpriv"), "there is no setpriv")
    def test_a_command_does_not_outlive_a_run_that_is_killed(self):
        with tempfile.TemporaryDirectory() as scratch:
            begun, ratel = pathlib.Path(scratch) / "begun", pathlib.Path(scratch) / "ratel"
            # Stands for a command that takes long: it knows `doctor`, and waits in all else.
            ratel.write_text(f'#!/bin/sh\n[ "$1" != doctor ] || exec {RATEL} "$@"\necho $$ >{begun}.tmp\n'
                             f'mv {begun}.tmp {begun}\nexec sleep 60\n')
            ratel.chmod(0o755)
            run = subprocess.Popen([sys.executable, FOLDER / "run.py", "smoke", "--ratel", ratel, "--work",
                                    pathlib.Path(scratch) / "run"])
            while run.poll() is None and not begun.exists():
                time.sleep(0.01)
            run.kill()
            run.wait()
            command = pathlib.Path("/proc") / begun.read_text().strip() / "stat"
            deadline = time.monotonic() + 10
            while runs(command) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertFalse(runs(command))

    def test_what_fails_says_so_in_a_line(self):
        missing = subprocess.run([sys.executable, FOLDER / "run.py", "smoke", "--ratel", self.work / "none", "--work",
                                  self.folder], capture_output=True, text=True)
        self.assertEqual(missing.returncode, 1)
        self.assertNotIn("Traceback", missing.stderr)
        self.assertIn("none", missing.stderr)

    def test_the_report_has_every_part_and_no_place_of_this_machine(self):
        text = (self.work / "RESULTS.md").read_text()
        for part in ("Size `smoke`", "RAT+ without joint", "blocks of 4", "found, D=4", "sixteenth of the cache", "head 0",
                     "time constant"):
            self.assertIn(part, text)
        self.assertNotIn("### Missing", text)
        numbers = (self.work / "results" / "smoke.json").read_text()
        for place in (str(self.work), str(ROOT)):
            self.assertNotIn(place, text + numbers)
        self.assertIn("<svg", (self.work / "results" / "loss_by_dilation_smoke.svg").read_text())

    def test_the_report_says_what_is_missing(self):
        read = results.Results(self.work / "results" / "smoke.json")
        self.assertEqual(read.whole, [0])
        del read.pieces["seed0/rat_plus/needle/D4"]
        text = "\n".join(report.section(read))
        self.assertIn("1 piece was not run: `seed0/rat_plus/needle/D4`", text)

    def test_a_report_has_no_numbers_of_other_settings(self):
        import run
        changed = self.plan(adapt_steps=3)
        names = run.results_of(changed, changed.store)["pieces"]
        self.assertIn("seed0/rat_plus/before/D4", names)
        self.assertNotIn("seed0/rat_plus/after/D4", names)

    def test_a_setting_changes_the_keys_of_what_follows_from_it_alone(self):
        def keys(made):
            return {piece.name: made.store.key(piece) for piece in made.all()}
        first = keys(self.plan())

        def changed(**changes):
            second = keys(self.plan(**changes))
            return {name for name in first if second[name] != first[name]}
        self.assertEqual(changed(), set())
        self.assertTrue(all("/after/" in name for name in changed(adapt_steps=3)))
        self.assertTrue(all("needle" in name for name in changed(needle_steps=3)))
        self.assertTrue(all("/needle/" in name for name in changed(needle_examples=5)))
        self.assertEqual(changed(jobs=1), set())
        text = changed(heldout_bytes=1500)
        self.assertIn("text/heldout", text)
        self.assertNotIn("seed0/rat_plus/pretrain", text)
        self.assertIn("seed0/rat_plus/before/D1", text)

    def test_models_are_trained_on_one_text_and_judged_on_another(self):
        made = self.plan()
        for piece in made.all():
            for words in piece.commands:
                if words[0] in ("train", "adapt", "search"):
                    self.assertNotIn(made.heldout.makes, words, piece.name)
                if words[0] in ("eval", "inspect"):
                    self.assertNotIn(made.train.makes, words, piece.name)
        after = made.after(MODELS[3], 0, View(4))
        adapt, judged = after.commands
        self.assertEqual(adapt[adapt.index("--out") + 1], judged[judged.index("--model") + 1])
        self.assertEqual(adapt[adapt.index("--from") + 1], made.pretrain(MODELS[3], 0).makes)
        self.assertEqual(adapt[adapt.index("--dilation") + 1], judged[judged.index("--dilation") + 1])

    def test_models_of_a_seed_share_text_and_order(self):
        made = self.plan()
        own = {f"--model.recurrence={model.recurrence}" for model in MODELS} | {
            f"--train.joint={model.joint}" for model in MODELS} | {
            f"--train.steps={model.batches * made.steps}" for model in MODELS}
        shared = []
        for model in MODELS:
            (words,) = made.pretrain(model, 7).commands
            shared.append([word for word in words if word not in own and word != made.pretrain(model, 7).makes])
        self.assertTrue(all(words == shared[0] for words in shared))
        self.assertIn("--data.seed=7", shared[0])


class World:
    """Made-up numbers: loss(name, view, when, seed) and needle(name, dilation)."""

    def __init__(self, loss, needle=lambda name, dilation: 0.9, seeds=(0, 1, 2)):
        self.size, self.seeds = SIZES["cpu"], seeds
        self.own_loss, self.own_needle = loss, needle

    def loss(self, model, view, when, seed):
        return self.own_loss(model.name, view, when) + 0.001 * seed

    def needle(self, model, dilation, metric, seed):
        return self.own_needle(model.name, dilation)

    over_seeds = results.Results.over_seeds


def as_claimed(name, view, when):
    """What the paper and we expect: attention falls apart, RAT+ does not."""
    dense = {"attention": 1.7, "attention_joint": 1.72, "rat_plus_dense": 1.65, "rat_plus": 1.5, "attention_twice": 1.6,
             "rat_plus_dense_twice": 1.55}[name]
    if view.top_blocks:
        return dense + (0.01 if name == "rat_plus" else 0.1)
    if view.dilation == 1:
        return dense
    if view.dilation < 1:
        return dense + 2
    falls = {"rat_plus": 0.01, "rat_plus_dense": 0.5, "rat_plus_dense_twice": 0.5}.get(name, 1.0)
    return dense + (falls * (0.8 if when == "after" else 1) + 0.0001 * view.dilation) * (0.2 if view.window else 1)


class ClaimTest(unittest.TestCase):
    def verdicts(self, world):
        return [claim.verdict for claim in claims.Judge(world).claims()]

    def test_every_claim_can_hold(self):
        self.assertEqual(set(self.verdicts(World(as_claimed))), {claims.AGREES})

    def test_every_claim_can_fail(self):
        swapped = {"attention": "rat_plus", "attention_twice": "rat_plus", "attention_joint": "rat_plus",
                   "rat_plus_dense": "rat_plus", "rat_plus_dense_twice": "rat_plus", "rat_plus": "attention"}

        def reverse(name, view, when):
            loss = as_claimed(swapped[name], view, when) + (1 if name == "rat_plus_dense" else 0)
            if view.dilation < 1:
                return 0.5
            if name == "rat_plus" and not view.top_blocks:  # the larger D the better, and a window is bad
                loss += 0.2 if view.window else -0.01 * view.dilation ** 0.5
                loss += 1 if view.window else 0
            return loss
        found = self.verdicts(World(reverse, lambda name, dilation: 0.9 if dilation == 1 else 0.1))
        self.assertEqual(set(found), {claims.DISAGREES}, found)

    def test_without_numbers_nothing_is_said(self):
        world = World(lambda *_: None, lambda *_: None)
        world.loss = lambda *_: None
        self.assertEqual(set(self.verdicts(world)), {claims.ABSENT})

    def test_a_task_that_nobody_learnt_says_nothing(self):
        found = claims.Judge(World(as_claimed, lambda name, dilation: 0.01)).needles()
        self.assertEqual(found.verdict, claims.SMALL)
        one = claims.Judge(World(as_claimed, lambda name, dilation: 1.0 if dilation == 1 else 0.005)).needles()
        self.assertEqual(one.verdict, claims.DISAGREES)

    def test_a_number_counts_where_all_seeds_agree_and_it_is_no_noise(self):
        def verdict(values):
            return claims.verdict_of(values, 0.001)
        self.assertEqual(verdict([0.5, 0.52, 0.49]), claims.AGREES)
        self.assertEqual(verdict([-0.5, -0.52, -0.49]), claims.DISAGREES)
        self.assertEqual(verdict([0.5, -0.1, 0.49]), claims.SMALL)
        self.assertEqual(verdict([0.5, 0.01, 0.01]), claims.SMALL)  # within the interval over seeds
        self.assertEqual(verdict([0.0015, 0.0016, 0.0017]), claims.SMALL)  # and of the text
        self.assertEqual(verdict([0.0025]), claims.AGREES)
        self.assertEqual(verdict([float("nan"), 0.5]), claims.SMALL)

    def test_spread_is_shown_where_there_is_one(self):
        self.assertEqual(results.mean_and_spread([1.0, 1.2]), "1.100 ± 0.141")
        self.assertEqual(results.mean_and_spread([1.0]), "1.000")
        self.assertEqual(results.mean_and_spread([]), "-")


class CommittedTest(unittest.TestCase):
    def test_the_report_is_that_of_its_numbers(self):
        wanted, found = report.texts(FOLDER)
        for path, text in wanted.items():
            self.assertEqual(path.read_text(), text, f"{path} is stale: run experiments/dilation/report.py")
        with tempfile.TemporaryDirectory() as scratch:
            (pathlib.Path(scratch) / "results").mkdir()
            for name, of in found.items():
                report.draw(of, pathlib.Path(scratch), RATEL)
                figure = report.FIGURE.format(name)
                self.assertEqual((FOLDER / figure).read_text(), (pathlib.Path(scratch) / figure).read_text())


if __name__ == "__main__":
    unittest.main()
