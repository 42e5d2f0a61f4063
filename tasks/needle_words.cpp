#include "tasks/needle_words.h"

#include <array>
#include <string_view>

#include "core/error.h"

namespace ratel::tasks {
namespace {

constexpr auto kAdjectives = std::to_array<std::string_view>({
    "able",    "acid",     "agile",    "alert",   "amber",    "ample",   "ancient", "angular", "arctic",   "ashen",
    "autumn",  "bald",     "bare",     "bashful", "bitter",   "blank",   "bleak",   "blunt",   "bold",     "brave",
    "brief",   "bright",   "brisk",    "bronze",  "calm",     "candid",  "careful", "charred", "cheerful", "chilly",
    "civil",   "clean",    "clever",   "cloudy",  "clumsy",   "coarse",  "cold",    "coral",   "cordial",  "cosmic",
    "crisp",   "crooked",  "curious",  "curly",   "damp",     "daring",  "dense",   "dim",     "distant",  "dry",
    "dusty",   "eager",    "early",    "earnest", "eastern",  "elastic", "elegant", "empty",   "even",     "exact",
    "faded",   "faint",    "fair",     "famous",  "fancy",    "fertile", "fierce",  "final",   "fluent",   "foggy",
    "formal",  "fragile",  "frank",    "fresh",   "frosty",   "frugal",  "gentle",  "giant",   "glad",     "glossy",
    "golden",  "graceful", "grand",    "gritty",  "handy",    "hardy",   "hasty",   "hazel",   "heavy",    "hidden",
    "hollow",  "honest",   "humble",   "icy",     "idle",     "indigo",  "inner",   "ivory",   "jolly",    "jumbled",
    "keen",    "kind",     "lanky",    "large",   "late",     "lavish",  "lazy",    "lean",    "level",    "lilac",
    "limber",  "little",   "lively",   "local",   "lofty",    "lone",    "loud",    "loyal",   "lucid",    "lunar",
    "marble",  "mellow",   "merry",    "mild",    "modest",   "mossy",   "muddy",   "muted",   "narrow",   "neat",
    "nimble",  "noble",    "northern", "novel",   "oblong",   "odd",     "olive",   "opaque",  "open",     "orderly",
    "outer",   "oval",     "pale",     "patient", "peaceful", "pearly",  "plain",   "playful", "polite",   "prompt",
    "proud",   "quaint",   "quick",    "quiet",   "rapid",    "rare",    "ready",   "remote",  "ripe",     "rocky",
    "rosy",    "rough",    "round",    "royal",   "rugged",   "rural",   "rustic",  "rusty",   "sandy",    "scarlet",
    "secret",  "serene",   "shallow",  "sharp",   "shiny",    "shy",     "silent",  "silky",   "simple",   "sleepy",
    "slender", "slim",     "slow",     "smooth",  "snowy",    "sober",   "solar",   "solemn",  "solid",    "southern",
    "sparse",  "spicy",    "stately",  "steady",  "steep",    "stern",   "stormy",  "sturdy",  "subtle",   "sudden",
    "sunny",   "supple",   "sweet",    "swift",   "tall",     "tame",    "tender",  "thorny",  "tidy",     "timid",
    "tiny",    "tranquil", "upper",    "urban",   "vague",    "valiant", "vast",    "velvet",  "violet",   "vivid",
    "warm",    "weary",    "western",  "windy",   "wise",     "witty",   "wooden",  "woolen",  "young",    "zealous",
});

constexpr auto kNouns = std::to_array<std::string_view>({
    "acorn",   "alley",    "almond",  "anchor",  "ankle",   "anvil",   "apple",   "apron",    "arch",    "arrow",
    "atlas",   "attic",    "badger",  "bagpipe", "balcony", "banjo",   "barley",  "barn",     "barrel",  "basin",
    "basket",  "beacon",   "beaver",  "beetle",  "bell",    "bench",   "berry",   "blanket",  "bottle",  "boulder",
    "branch",  "brick",    "bridge",  "broom",   "brush",   "bucket",  "button",  "cabin",    "cable",   "cactus",
    "camel",   "candle",   "canoe",   "canyon",  "carpet",  "castle",  "cavern",  "cedar",    "cellar",  "chair",
    "chalk",   "chapel",   "cherry",  "chimney", "cider",   "clock",   "clover",  "cobbler",  "comet",   "compass",
    "copper",  "cottage",  "crane",   "crater",  "creek",   "cricket", "crown",   "crystal",  "cup",     "curtain",
    "cushion", "dagger",   "dairy",   "daisy",   "desk",    "dolphin", "donkey",  "door",     "dove",    "dragon",
    "drum",    "eagle",    "easel",   "ember",   "falcon",  "feather", "fence",   "fern",     "ferry",   "fiddle",
    "field",   "finch",    "flask",   "flute",   "forest",  "forge",   "fossil",  "fountain", "fox",     "furnace",
    "galaxy",  "garden",   "gate",    "geyser",  "ginger",  "glacier", "glove",   "goblet",   "goose",   "granite",
    "grape",   "guitar",   "hammer",  "hamlet",  "harbor",  "harp",    "hawk",    "hedge",    "helmet",  "heron",
    "hinge",   "honey",    "horizon", "horse",   "inlet",   "island",  "ivy",     "jacket",   "jar",     "jasmine",
    "jigsaw",  "kettle",   "key",     "kite",    "kitten",  "ladder",  "lagoon",  "lamp",     "lantern", "lark",
    "lemon",   "lentil",   "library", "lizard",  "lobster", "locket",  "loom",    "magnet",   "magpie",  "mango",
    "maple",   "market",   "meadow",  "melon",   "mill",    "mirror",  "mitten",  "monkey",   "moon",    "mosaic",
    "motor",   "mountain", "muffin",  "museum",  "mustard", "napkin",  "needle",  "nest",     "nickel",  "notebook",
    "nutmeg",  "oak",      "oasis",   "ocean",   "onion",   "orchard", "organ",   "otter",    "oven",    "owl",
    "oyster",  "paddle",   "palace",  "panther", "parcel",  "parrot",  "pasture", "peach",    "pebble",  "pelican",
    "pencil",  "pepper",   "piano",   "pigeon",  "pillow",  "pine",    "planet",  "plaza",    "plow",    "plum",
    "pocket",  "pond",     "poppy",   "porch",   "potter",  "prairie", "pumpkin", "puzzle",   "quarry",  "quilt",
    "rabbit",  "raft",     "ranch",   "raven",   "reef",    "ribbon",  "river",   "robin",    "rocket",  "saddle",
    "sailor",  "salmon",   "satchel", "school",  "shelf",   "shovel",  "sofa",    "sparrow",  "spoon",   "squid",
    "stable",  "statue",   "storm",   "street",  "summit",  "swan",    "table",   "tailor",   "teapot",  "temple",
    "thistle", "thunder",  "tiger",   "timber",  "tower",   "train",   "trumpet", "tulip",    "tunnel",  "turnip",
    "valley",  "vessel",   "village", "vine",    "violin",  "volcano", "wagon",   "walnut",   "walrus",  "water",
    "whale",   "wheat",    "wheel",   "whistle", "willow",  "window",  "winter",  "wolf",     "yarn",    "zebra",
});

}  // namespace

int64_t needle_keys() { return static_cast<int64_t>(kAdjectives.size() * kNouns.size()); }

std::string needle_key(int64_t index) {
  check(index >= 0 && index < needle_keys(), "needle_key: expected 0 to ", needle_keys() - 1, ", found ", index);
  const auto at = static_cast<size_t>(index);
  return concat_text(kAdjectives[at / kNouns.size()], "-", kNouns[at % kNouns.size()]);
}

}  // namespace ratel::tasks
