"""The numbers of one run of the experiment, by what they are of."""

import json
import statistics

from sizes import MODELS, SIZES, View


class Results:
    """What results/SIZE.json holds. A number that is not there is None."""

    def __init__(self, path):
        self.data = json.loads(path.read_text())
        self.size = SIZES[self.data["size"]]
        self.pieces = self.data["pieces"]
        self.seeds = [seed for seed in self.size.seeds if all(map(self.pieces.__contains__, self.losses_of(seed)))]

    def losses_of(self, seed):
        """The names of the losses of all models; a seed that lacks one is left out of all."""
        size = self.size
        return [f"seed{seed}/{model.name}/{when}/{view.name}" for model in MODELS
                for when, views in (("before", size.views(model) + size.block_views()), ("after", size.views(model)))
                for view in views]

    def piece(self, *names):
        """The result of a piece, or None."""
        record = self.pieces.get("/".join(names))
        return record and record["result"]

    def loss(self, model, view, when, seed):
        """Nats a token of the held-out text; `when` is before or after adaptation."""
        result = self.piece(f"seed{seed}", model.name, when, view.name)
        return result and result["loss"]

    def needle(self, model, dilation, metric, seed):
        result = self.piece(f"seed{seed}", model.name, "needle", View(dilation).name)
        return result and result["metrics"][metric]

    def over_seeds(self, number):
        """number(seed) of every seed that has it."""
        values = (number(seed) for seed in self.seeds)
        return [value for value in values if value is not None]


def difference(a, b):
    return None if a is None or b is None else a - b


def mean_and_spread(values, digits=3):
    """"1.507 ± 0.004": mean and standard deviation over seeds; without the latter for one seed."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
