"""experiments/dilation in its smallest size, stopped and gone on with, and what its report makes of numbers.

dilation_test.py RATEL
"""

import json
import pathlib
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
import report  # noqa: E402
import results  # noqa: E402

RATEL = pathlib.Path(sys.argv.pop()).resolve()


def start(work):
    return subprocess.Popen([FOLDER / "run.py", "smoke", "--ratel", RATEL, "--work", work / "run", "--results", work],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class SmokeTest(unittest.TestCase):
    """One run for all of them: it takes seconds."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.work = pathlib.Path(cls.scratch.name)
        cls.pieces = cls.work / "run" / "pieces"
        first = start(cls.work)
        while first.poll() is None and len(list(cls.pieces.rglob("before/*.json"))) < 4:
            time.sleep(0.01)
        first.send_signal(signal.SIGTERM)
        cls.stopped = (*first.communicate(), first.returncode)
        cls.reported = (cls.work / "RESULTS.md").exists()
        cls.before = {path: path.stat().st_mtime_ns for path in cls.pieces.rglob("*.json")}
        second = start(cls.work)
        cls.finished = (*second.communicate(), second.returncode)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def test_a_stop_says_how_to_go_on(self):
        out, errors, code = self.stopped
        self.assertEqual(code, 130, out + errors)
        self.assertIn("the same command goes on", errors)
        self.assertFalse(self.reported)

    def test_what_was_done_is_not_done_again(self):
        self.assertEqual(self.finished[2], 0, self.finished[1])
        self.assertGreaterEqual(len(self.before), 4)
        for path, changed in self.before.items():
            self.assertEqual(path.stat().st_mtime_ns, changed, path)

    def test_a_piece_done_again_finds_the_same(self):
        path = self.pieces / "seed0" / "rat_plus" / "after" / "D4.json"
        first = json.loads(path.read_text())
        path.unlink()
        again = start(self.work)
        self.assertIn("after/D4", again.communicate()[0])
        second = json.loads(path.read_text())
        self.assertEqual(second["result"]["loss"], first["result"]["loss"])
        self.assertEqual(second["key"], first["key"])

    def test_the_report_has_every_part_and_no_place_of_this_machine(self):
        text = (self.work / "RESULTS.md").read_text()
        for part in ("Size `smoke`", "RAT+ without joint", "4 keys", "found, D=4", "sixteenth of the cache", "dilation = ",
                     "time constant"):
            self.assertIn(part, text)
        self.assertNotIn("### Missing", text)
        numbers = (self.work / "results" / "smoke.json").read_text()
        for place in (str(self.work), str(ROOT)):
            self.assertNotIn(place, text + numbers)
        self.assertIn("<svg", (self.work / "results" / "loss_by_dilation_smoke.svg").read_text())

    def test_the_report_says_what_is_missing(self):
        read = results.Results(self.work / "results" / "smoke.json")
        del read.pieces["seed0/rat_plus/needle/D4"]
        text = "\n".join(report.section(read))
        self.assertIn("1 pieces were not run: `seed0/rat_plus/needle/D4`", text)


class ClaimTest(unittest.TestCase):
    def test_a_difference_counts_where_all_seeds_agree_and_it_is_no_noise(self):
        self.assertEqual(claims.verdict_of([0.5, 0.52, 0.49]), "agrees")
        self.assertEqual(claims.verdict_of([-0.5, -0.52, -0.49]), "does not agree")
        self.assertEqual(claims.verdict_of([0.5, -0.1, 0.49]), "too small to say")
        self.assertEqual(claims.verdict_of([0.5, 0.01, 0.01]), "too small to say")  # within two standard errors
        self.assertEqual(claims.verdict_of([0.001, 0.0011, 0.0012]), "too small to say")
        self.assertEqual(claims.verdict_of([0.5]), "agrees (one seed)")
        self.assertEqual(claims.verdict_of([float("nan"), 0.5]), "too small to say")
        self.assertEqual(claims.verdict_of([]), "not measured")

    def test_of_several_differences_the_worst_decides(self):
        self.assertEqual(claims.worst_verdict([0.5, 0.5], [0.4, 0.41]), "agrees")
        self.assertEqual(claims.worst_verdict([0.5, 0.5], [0.0, 0.001]), "too small to say")
        self.assertEqual(claims.worst_verdict([0.5, 0.5], [-0.4, -0.41]), "does not agree")
        self.assertEqual(claims.worst_verdict([0.5, 0.5], []), "not measured")

    def test_spread_is_shown_where_there_is_one(self):
        self.assertEqual(results.mean_and_spread([1.0, 1.2]), "1.100 ± 0.141")
        self.assertEqual(results.mean_and_spread([1.0]), "1.000")
        self.assertEqual(results.mean_and_spread([]), "-")


class CommittedTest(unittest.TestCase):
    def test_the_report_is_that_of_its_numbers(self):
        for path, text in report.texts(FOLDER)[0].items():
            self.assertEqual(path.read_text(), text, f"{path} is stale: run experiments/dilation/report.py")


if __name__ == "__main__":
    unittest.main()
