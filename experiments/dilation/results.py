"""The numbers of one run of the experiment, by what they are of."""

import json
import statistics

from sizes import MODELS, NO_KEYS, ROOT, Size, View


class Results:
    """What results/SIZE.json holds. A number that is not there is None."""

    def __init__(self, path):
        data = json.loads(path.read_text())
        settings = data["settings"]
        settings["window_view"] = View(**settings["window_view"])
        settings["config"] = ROOT / settings["config"]
        self.size = Size(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
        self.config, self.command, self.pieces = data["config"], data["command"], data["pieces"]
        self.whole = [seed for seed in self.size.seeds if all(map(self.pieces.__contains__, self.losses_of(seed)))]
        some = [seed for seed in self.size.seeds if any(map(self.pieces.__contains__, self.losses_of(seed)))]
        # Means are over seeds that have every loss; before there is one, over whatever there is.
        self.seeds = self.whole or some

    def losses_of(self, seed):
        """The names of the losses of all models."""
        size = self.size
        return [f"seed{seed}/{model.name}/{when}/{view.name}" for model in MODELS
                for when, views in (("before", [*size.views(model), NO_KEYS, *size.block_views()]),
                                    ("after", size.views(model)))
                for view in views]

    def expected(self):
        """The names of everything that this size measures."""
        size, first = self.size, f"seed{self.size.seeds[0]}"
        names = [name for seed in size.seeds for name in self.losses_of(seed)]
        names += [f"seed{seed}/{model.name}/needle/D{dilation}" for seed in size.seeds for model in MODELS
                  for dilation in size.needle_dilations if size.asks_for_needles(model, seed)]
        names += [f"{first}/{name}/decode/{view.name}" for name in ("rat_plus", "attention") for view in size.views()]
        return names + [f"{first}/rat_plus/hybrid", f"{first}/rat_plus/gates"]

    def piece(self, *names):
        """The results of a piece's commands, or None."""
        record = self.pieces.get("/".join(names))
        return record and record["results"]

    def loss(self, model, view, when, seed):
        """Nats a byte of the held-out text; `when` is before or after adaptation."""
        found = self.piece(f"seed{seed}", model.name, when, view.name)
        return found and found[-1]["loss"]

    def needle(self, model, dilation, metric, seed):
        found = self.piece(f"seed{seed}", model.name, "needle", View(dilation).name)
        return found and found[-1]["metrics"][metric]

    def over_seeds(self, number):
        """number(seed) of every seed that has it."""
        values = (number(seed) for seed in self.seeds)
        return [value for value in values if value is not None]

    def distinct(self, field):
        return sorted({record[field] for record in self.pieces.values()})

    def seconds(self):
        return sum(record["seconds"] for record in self.pieces.values())


def difference(a, b):
    return None if a is None or b is None else a - b


def mean_and_spread(values, digits=3):
    """"1.507 ± 0.004": mean and standard deviation over seeds; without the latter for one seed."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
