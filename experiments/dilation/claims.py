"""What the paper reports, held against what was measured: each claim is a difference that has a sign, seed by seed."""

from dataclasses import dataclass
import math
import statistics

from results import difference
from sizes import MODELS, SCORES, View

MODEL = {model.name: model for model in MODELS}
SMALLEST = 0.002  # nats a token: what other text of this length moves a difference by
NEEDLE_FOUND = 0.2  # share of the answers: below it in every model nobody has learnt the task


@dataclass
class Claim:
    paper: str  # what it says
    seen: str  # what was measured, in numbers
    verdict: str


def verdict_of(values):
    """`agrees` where the differences are above 0: their mean by two standard errors and by SMALLEST, and each of them;
    `does not agree` where all of that holds below 0."""
    if not values:
        return "not measured"
    if not all(map(math.isfinite, values)):
        return "too small to say"
    mean = statistics.mean(values)
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    one_sign = all(value * mean > 0 for value in values)
    if abs(mean) < max(SMALLEST, 2 * error) or not one_sign:
        return "too small to say"
    return ("agrees" if mean > 0 else "does not agree") + (" (one seed)" if len(values) == 1 else "")


def worst_verdict(*all_values):
    """Of several differences that all have to hold."""
    order = ["does not agree", "does not agree (one seed)", "not measured", "too small to say", "agrees (one seed)",
             "agrees"]
    return min(map(verdict_of, all_values), key=order.index)


def number(values, digits=3, sign="+"):
    return f"{statistics.mean(values):{sign}.{digits}f}" if values else "-"


class Judge:
    def __init__(self, results):
        self.results = results
        self.dense = View(1)
        self.far = [View(dilation) for dilation in results.size.compared_dilations if dilation >= 16]
        self.far = self.far or [View(results.size.compared_dilations[-1])]

    def losses(self, name, view, when="before"):
        return self.results.over_seeds(lambda seed: self.results.loss(MODEL[name], view, when, seed))

    def rises(self, name, view, when="before"):
        """Loss through the view, above that of the same weights before adaptation when dense."""
        return self.results.over_seeds(lambda seed: difference(
            self.results.loss(MODEL[name], view, when, seed), self.results.loss(MODEL[name], self.dense, "before", seed)))

    def between(self, first, second):
        """first(seed) - second(seed) of every seed that has both."""
        return self.results.over_seeds(lambda seed: difference(first(seed), second(seed)))

    def rise(self, name, view, when):
        def of(seed):
            return difference(self.results.loss(MODEL[name], view, when, seed),
                              self.results.loss(MODEL[name], self.dense, "before", seed))
        return of

    def loss(self, name, view, when):
        return lambda seed: self.results.loss(MODEL[name], view, when, seed)

    def listed(self, name, when):
        return ", ".join(f"{number(self.rises(name, view, when))} at {view.title}" for view in self.far)

    def more_than(self, other, when):
        """How much more `other` loses than RAT+ at each large dilation."""
        return [self.between(self.rise(other, view, when), self.rise("rat_plus", view, when)) for view in self.far]

    def claims(self):
        return [self.collapses("before"), self.collapses("after"), self.holds(), self.joint_attention(),
                self.needs_joint(), self.larger_costs_more(), self.window_helps(), self.dense_quality(), self.blocks(),
                self.needles()]

    def collapses(self, when):
        adapted = ", even adapted" if when == "after" else ""
        twice = self.listed("attention_twice", when)
        return Claim(f"attention collapses when dilated{adapted}, and RAT+ does not",
                     f"loss of attention {self.listed('attention', when)} (2x batches: {twice}); of RAT+ "
                     f"{self.listed('rat_plus', when)}",
                     worst_verdict(*self.more_than("attention", when), *self.more_than("attention_twice", when)))

    def holds(self):
        """About dense accuracy at D = 16: within a twentieth of what attention loses there."""
        view = self.far[0]
        values = self.between(lambda seed: self.scaled("attention", view, seed, 0.05),
                              self.rise("rat_plus", view, "after"))
        return Claim(f"RAT+ adapted to {view.title} is about as good as dense",
                     f"{number(self.rises('rat_plus', view, 'after'))} nats, and attention adapted to it "
                     f"{number(self.rises('attention', view, 'after'))}; a twentieth of that is taken for \"about\"",
                     verdict_of(values))

    def scaled(self, name, view, seed, factor):
        rise = self.rise(name, view, "after")(seed)
        return None if rise is None else factor * rise

    def joint_attention(self):
        values = [self.between(self.loss("attention_joint", view, "after"), self.loss("rat_plus", view, "after"))
                  for view in self.far]
        dense = self.between(self.loss("attention_joint", self.dense, "before"),
                             self.loss("rat_plus", self.dense, "before"))
        return Claim("joint training does not do it without the recurrence",
                     "adapted, attention trained jointly is above RAT+ by " + ", ".join(
                         f"{number(one)} at {view.title}" for one, view in zip(values, self.far)) +
                     f"; dense, by {number(dense)}", worst_verdict(*values))

    def needs_joint(self):
        twice = self.more_than("rat_plus_dense_twice", "after")
        values = self.more_than("rat_plus_dense", "after") + twice
        return Claim("the recurrence does not do it without joint training",
                     f"adapted, RAT+ without joint loses {self.listed('rat_plus_dense', 'after')} (2x batches: "
                     f"{self.listed('rat_plus_dense_twice', 'after')})", worst_verdict(*values))

    def larger_costs_more(self):
        first, last = self.far[0], self.far[-1]
        values = self.between(self.loss("rat_plus", last, "after"), self.loss("rat_plus", first, "after"))
        return Claim(f"{last.title} costs RAT+ more than {first.title}", f"adapted, {number(values)} nats",
                     verdict_of(values))

    def window_helps(self):
        window = self.results.size.window_view
        plain = View(window.dilation)
        values = self.between(self.loss("rat_plus", plain, "after"), self.loss("rat_plus", window, "after"))
        return Claim(f"a window helps RAT+: {window.title}",
                     f"adapted, {number(values)} nats better than {plain.title} alone", verdict_of(values))

    def dense_quality(self):
        values = self.between(self.loss("attention_twice", self.dense, "before"),
                              self.loss("rat_plus", self.dense, "before"))
        without = self.between(self.loss("attention", self.dense, "before"),
                               self.loss("rat_plus_dense", self.dense, "before"))
        return Claim("dense, RAT+ is no worse than attention",
                     f"at as many updates attention is above RAT+ by {number(values)} nats, and without joint training "
                     f"by {number(without)}", worst_verdict(values, without))

    def blocks(self):
        size = self.results.size
        views = [View(size.block_size, top_blocks=size.top_blocks, score=score) for score in SCORES]
        values = [self.between(self.loss("attention_twice", view, "before"), self.loss("rat_plus", view, "before"))
                  for view in views]
        return Claim(f"RAT+ beats attention under top-k blocks ({size.top_blocks} of {size.block_size})",
                     "at as many updates, by " + ", ".join(
                         f"{number(one)} ({score})" for one, score in zip(values, SCORES)), worst_verdict(*values))

    def needles(self):
        size, results = self.results.size, self.results
        found = {dilation: results.over_seeds(lambda seed: results.needle(MODEL["rat_plus"], dilation, "string_match", seed))
                 for dilation in size.needle_dilations}
        attention = results.over_seeds(
            lambda seed: results.needle(MODEL["attention"], size.needle_dilations[-1], "string_match", seed))
        shares = [statistics.mean(values) for values in found.values() if values]
        values = self.between(
            lambda seed: results.needle(MODEL["rat_plus"], size.needle_dilations[-1], "string_match", seed),
            lambda seed: results.needle(MODEL["attention"], size.needle_dilations[-1], "string_match", seed))
        verdict = "not measured"
        if shares:
            verdict = "too small to say" if max(shares) < NEEDLE_FOUND else verdict_of(values)
        return Claim("RAT+ still finds a needle when dilated",
                     "fine-tuned, it finds " + ", ".join(
                         f"{100 * share:.0f}% at D={dilation}" for share, dilation in zip(shares, found)) +
                     (f"; attention {100 * statistics.mean(attention):.0f}% at D={size.needle_dilations[-1]}"
                      if attention else ""), verdict)
