"""What is claimed, held against what was measured. Each claim is one number a seed or several, that are above 0 where it
holds. What the words of a claim mean in nats is a constant here."""

from dataclasses import dataclass
import math
import statistics

from results import difference
from sizes import MODELS, NO_KEYS, SCORES, View

MODEL = {model.name: model for model in MODELS}
COLLAPSE = 0.3  # nats a byte: a loss that rises by more has collapsed
HOLDS = 0.1  # one that rises by less has held up
EQUAL = 0.02  # and that of one dense model may be above another's by so much and be no worse
# Standard errors of a difference by the held-out text, over eighths of it: between two models, between two patterns of
# one model. All seeds share the text, so that they do not average it out.
TEXT_BETWEEN, TEXT_WITHIN = 0.0035, 0.001
# Two-sided 95% quantiles of Student's t for the mean of n seeds, by n.
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
NEEDLE_FOUND = 0.2  # share of the answers at D = 1: below it the task has not been learnt
NEEDLE_KEPT = 0.9  # of that share: what has to be found when dilated

AGREES, DISAGREES, SMALL, ABSENT = "agrees", "does not agree", "too small to say", "not measured"


@dataclass
class Claim:
    text: str
    whose: str  # paper, or ours: what an explanation of it would expect
    seen: str  # what was measured, in numbers
    verdict: str


def verdict_of(values, text_error):
    """`agrees` where the mean of the numbers is above 0 by two errors of the text and beyond the error over seeds, and
    all of them are above 0; `does not agree` where the same holds below 0."""
    if not values:
        return ABSENT
    if not all(map(math.isfinite, values)):
        return SMALL
    mean, count = statistics.mean(values), len(values)
    seeds_error = STUDENT.get(count, 2.78) * statistics.stdev(values) / math.sqrt(count) if count > 1 else 0.0
    one_sign = all(value * mean > 0 for value in values)
    if abs(mean) <= max(2 * text_error, seeds_error) or not one_sign:
        return SMALL
    return AGREES if mean > 0 else DISAGREES


def worst(*verdicts):
    """Of several that all have to hold."""
    return min(verdicts, key=[DISAGREES, ABSENT, SMALL, AGREES].index)


def number(values, digits=3):
    return f"{statistics.mean(values):+.{digits}f}" if values else "-"


class Judge:
    def __init__(self, results):
        self.results = results
        self.dense = View(1)
        self.far = [View(dilation) for dilation in results.size.compared_dilations if dilation >= 16]
        self.far = self.far or [View(results.size.compared_dilations[-1])]

    def loss(self, name, view, when, seed):
        return self.results.loss(MODEL[name], view, when, seed)

    def costs(self, name, view, other, when):
        """By seed, the loss of a model through one view above that through another."""
        return self.results.over_seeds(
            lambda seed: difference(self.loss(name, view, when, seed), self.loss(name, other, when, seed)))

    def rise(self, name, view, when):
        """By seed, the loss through a view above the dense one: of the same weights before adaptation, and after it of
        those that were adapted as long to D = 1."""
        return self.costs(name, view, self.dense, when)

    def above(self, name, other, view, when):
        """By seed, the loss of `name` above that of `other`."""
        return self.results.over_seeds(
            lambda seed: difference(self.loss(name, view, when, seed), self.loss(other, view, when, seed)))

    def rises(self, name, when):
        return ", ".join(f"{number(self.rise(name, view, when))} at {view.title}" for view in self.far)

    def all_above(self, name, when, limit):
        """Whether every rise is above the limit."""
        return worst(*(verdict_of([value - limit for value in self.rise(name, view, when)], TEXT_WITHIN)
                       for view in self.far))

    def all_below(self, name, when, limit):
        return worst(*(verdict_of([limit - value for value in self.rise(name, view, when)], TEXT_WITHIN)
                       for view in self.far))

    def claims(self):
        return [self.collapses("before"), self.collapses("after"), self.holds("before"), self.holds("after"),
                self.joint_attention(), self.needs_joint(), self.keys_matter(), self.larger_costs_more(),
                self.window_helps(), self.dense_quality(), *self.blocks(), self.needles()]

    def collapses(self, when):
        how = "even adapted" if when == "after" else "as it is"
        return Claim(f"attention collapses when dilated, {how}: by more than {COLLAPSE} nats", "paper",
                     f"{self.rises('attention', when)}; on 2x batches {self.rises('attention_twice', when)}",
                     worst(self.all_above("attention", when, COLLAPSE), self.all_above("attention_twice", when, COLLAPSE)))

    def holds(self, when):
        how = "adapted" if when == "after" else "as it is"
        return Claim(f"RAT+ holds up when dilated, {how}: by less than {HOLDS} nats", "paper",
                     self.rises("rat_plus", when), self.all_below("rat_plus", when, HOLDS))

    def joint_attention(self):
        return Claim("joint training without the recurrence does not prevent the collapse", "ours",
                     f"attention trained jointly: {self.rises('attention_joint', 'before')}; adapted "
                     f"{self.rises('attention_joint', 'after')}",
                     worst(self.all_above("attention_joint", "before", COLLAPSE),
                           self.all_above("attention_joint", "after", COLLAPSE)))

    def needs_joint(self):
        models = ("rat_plus_dense", "rat_plus_dense_twice")
        return Claim("the recurrence without joint training does not hold up, even adapted", "ours",
                     f"RAT+ without joint: {self.rises(models[0], 'after')}; on 2x batches "
                     f"{self.rises(models[1], 'after')}",
                     worst(*(self.all_above(model, "after", HOLDS) for model in models)))

    def keys_matter(self):
        gains = {view: self.costs("rat_plus", NO_KEYS, view, "before") for view in (self.dense, *self.far)}
        return Claim("dilated keys are what RAT+ holds up by: it is better with them than without any", "ours",
                     "by " + ", ".join(f"{number(values, 4)} at {view.title}" for view, values in gains.items()),
                     worst(*(verdict_of(gains[view], TEXT_WITHIN) for view in self.far)))

    def larger_costs_more(self):
        first, last = self.far[0], self.far[-1]
        cost = {when: self.costs("rat_plus", last, first, when) for when in ("before", "after")}
        return Claim(f"{last.title} costs RAT+ more than {first.title}", "paper",
                     f"{number(cost['before'], 4)} nats; adapted {number(cost['after'], 4)}",
                     verdict_of(cost["after"], TEXT_WITHIN))

    def window_helps(self):
        window = self.results.size.window_view
        plain = View(window.dilation)
        gain = {when: self.costs("rat_plus", plain, window, when) for when in ("before", "after")}
        return Claim(f"a window helps RAT+: {window.title} is better than {plain.title}, adapted", "paper",
                     f"by {number(gain['after'], 4)} nats; before adaptation by {number(gain['before'], 4)}",
                     verdict_of(gain["after"], TEXT_WITHIN))

    def dense_quality(self):
        twice = self.above("attention_twice", "rat_plus", self.dense, "before")
        once = self.above("attention", "rat_plus_dense", self.dense, "before")
        return Claim(f"dense, RAT+ is no worse than attention: at most {EQUAL} nats", "ours",
                     f"attention above RAT+ by {number(twice)} at as many updates (on twice the text); both without joint "
                     f"training, by {number(once)}",
                     worst(verdict_of([value + EQUAL for value in twice], TEXT_BETWEEN),
                           verdict_of([value + EQUAL for value in once], TEXT_BETWEEN)))

    def blocks(self):
        size, views = self.results.size, self.results.size.block_views()
        others = ("attention", "attention_twice")
        better = {name: [self.above(name, "rat_plus", view, "before") for view in views] for name in others}
        lost = {name: [self.rise(name, view, "before") for view in views] for name in (*others, "rat_plus")}
        less = [[a - b for a, b in zip(*pair)] for name in others for pair in zip(lost[name], lost["rat_plus"])]

        def by_score(values):
            return ", ".join(f"{number(one)} ({score})" for one, score in zip(values, SCORES))

        return [Claim(f"RAT+ beats attention under top-k blocks ({size.top_blocks} of {size.block_size}), trained on the "
                      "same text", "paper",
                      f"by {by_score(better['attention'])}; attention on 2x batches by "
                      f"{by_score(better['attention_twice'])}",
                      worst(*(verdict_of(values, TEXT_BETWEEN) for values in better["attention"]))),
                Claim("and loses less to them than attention does, whatever the score", "ours",
                      f"attention {by_score(lost['attention'])}; on 2x batches {by_score(lost['attention_twice'])}; RAT+ "
                      f"{by_score(lost['rat_plus'])}", worst(*(verdict_of(values, TEXT_WITHIN) for values in less)))]

    def needles(self):
        """Seeds are put together: shares of all their examples."""
        size, results = self.results.size, self.results
        share = {}
        for name in ("rat_plus", "attention"):
            for dilation in size.needle_dilations:
                values = results.over_seeds(lambda seed: results.needle(MODEL[name], dilation, "string_match", seed))
                share[name, dilation] = statistics.mean(values) if values else None
        def listed(name):
            return ", ".join(f"{100 * share[name, dilation]:.0f}% at D={dilation}" if share[name, dilation] is not None
                             else f"- at D={dilation}" for dilation in size.needle_dilations)
        dense = share["rat_plus", size.needle_dilations[0]]
        verdicts = []
        for dilation in size.needle_dilations[1:]:
            found = share["rat_plus", dilation]
            if found is None or dense is None:
                verdicts.append(ABSENT)
                continue
            variance = (found * (1 - found) + NEEDLE_KEPT ** 2 * dense * (1 - dense)) / size.needle_examples
            verdicts.append(SMALL if dense < NEEDLE_FOUND else
                            verdict_of([found - NEEDLE_KEPT * dense], max(math.sqrt(variance), 1e-6)))
        return Claim(f"RAT+ still finds {100 * NEEDLE_KEPT:.0f}% of its needles when dilated", "paper",
                     f"RAT+ {listed('rat_plus')}; attention {listed('attention')}", worst(*verdicts))
