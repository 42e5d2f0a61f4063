#include "tasks/needles.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "tasks/needle_words.h"
#include "tasks/sentences.h"

namespace ratel::tasks {
namespace {

using enum NeedleTask;

enum class Secret { words, number, uuid };
enum class Hay { text, needles };

struct Kind {
  NeedleTask task;
  int64_t keys, values, asked;  // different keys, values of each, keys asked for
  Secret key, value;
  Hay hay;
};

constexpr std::array<Kind, 8> kKinds = {{
    {single_1, 1, 1, 1, Secret::words, Secret::number, Hay::text},
    {single_2, 1, 1, 1, Secret::words, Secret::number, Hay::text},
    {single_3, 1, 1, 1, Secret::words, Secret::uuid, Hay::text},
    {multikey_1, 4, 1, 1, Secret::words, Secret::number, Hay::text},
    {multikey_2, 1, 1, 1, Secret::words, Secret::number, Hay::needles},
    {multikey_3, 1, 1, 1, Secret::uuid, Secret::uuid, Hay::needles},
    {multivalue, 1, 4, 1, Secret::words, Secret::number, Hay::text},
    {multiquery, 4, 1, 4, Secret::words, Secret::number, Hay::text},
}};

const Kind& kind_of(NeedleTask task) { return *std::ranges::find(kKinds, task, &Kind::task); }

// RULER's noise, of the passkey task (Mohtashami and Jaggi, arXiv 2305.16300).
constexpr std::array<std::string_view, 5> kNoise = {"The grass is green.", "The sky is blue.", "The sun is yellow.",
                                                    "Here we go.", "There and back again."};

std::string uuid_of(Rng& rng) {  // version 4
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
  for (char& c : text) {
    if (c == 'x') c = kDigits[rng.below(16)];
    if (c == 'y') c = kDigits[8 + rng.below(4)];
  }
  return text;
}

std::string number_of(Rng& rng) { return std::to_string(1'000'000 + rng.below(9'000'000)); }

std::string value_of(Secret secret, Rng& rng) { return secret == Secret::uuid ? uuid_of(rng) : number_of(rng); }

/// "a", "a, and b", "a, b, and c".
std::string listed(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? "" : i + 1 == parts.size() ? ", and " : ", ") + parts[i];
  return text;
}

/// All keys in an order that depends on the example: an arithmetic sequence modulo their number.
class KeyOrder {
 public:
  explicit KeyOrder(Rng& rng) : first_(below(rng)) {
    do stride_ = below(rng);
    while (std::gcd(stride_, needle_keys()) != 1);
  }
  [[nodiscard]] std::string operator[](int64_t i) const {
    const int64_t all = needle_keys();
    return needle_key((first_ + i % all * stride_) % all);
  }

 private:
  static int64_t below(Rng& rng) { return static_cast<int64_t>(rng.below(static_cast<uint64_t>(needle_keys()))); }
  int64_t first_, stride_ = 1;
};

struct Needle {
  std::string key, value;
  double depth = 0;  // part of the haystack before it
};

/// One example but for how much haystack it has. All random numbers that its needles take are drawn before, and those
/// of the haystack are of another stream, so that its length changes nothing else.
class Draft {
 public:
  Draft(const NeedleOptions& options, int64_t index)
      : kind_(kind_of(options.task)),
        noun_(kind_.value == Secret::uuid ? "uuid" : "number"),
        rng_(static_cast<uint64_t>(options.seed), stream_of(options.task, index)),
        hay_(rng_.seed(), rng_.stream() + 1),
        order_(rng_) {
    hide_needles();
    ask();
    choose_haystack(options.haystack);
  }

  ~Draft() = default;
  Draft(const Draft&) = delete;  // the haystack's source refers to it
  Draft& operator=(const Draft&) = delete;

  [[nodiscard]] const std::vector<std::string>& answers() const { return answers_; }
  [[nodiscard]] std::string completion() const { return " " + listed(answers_) + "."; }

  /// The prompt with `count` sentences of haystack, of which the first lack `cut` bytes: the first, or more of them.
  std::string prompt(int64_t count, size_t cut = 0) {
    while (static_cast<int64_t>(sentences_.size()) < count) sentences_.push_back(next_sentence_());
    auto first = sentences_.begin();
    const auto end = first + count;
    while (first != end && cut > first->size()) cut -= first++->size() + separator_.size();
    const int64_t left = end - first;

    std::string text =
        concat_text("Some special magic ", noun_, "s are hidden within the following text. Make sure to memorize it. ",
                    "I will quiz you about the ", noun_, "s afterwards.\n");
    auto needle = needles_.begin();
    for (int64_t i = 0; i <= left; ++i) {
      for (; needle != needles_.end() && static_cast<int64_t>(needle->depth * static_cast<double>(left + 1)) <= i;
           ++needle)
        text += sentence_of(*needle).append(separator_);
      if (i < left) text += i == 0 ? tail_of(*first, cut).append(separator_) : first[i] + separator_;
    }
    text.resize(text.size() - separator_.size());
    return text + question_;
  }

 private:
  static uint64_t stream_of(NeedleTask task, int64_t index) {
    return 2 * (static_cast<uint64_t>(index) * kKinds.size() + static_cast<uint64_t>(task));
  }

  void hide_needles() {
    for (int64_t k = 0; k < kind_.keys; ++k) {
      keys_.push_back(kind_.key == Secret::uuid ? uuid_of(rng_) : order_[k]);
      for (int64_t v = 0; v < kind_.values; ++v) {
        std::string value = value_of(kind_.value, rng_);
        while (std::ranges::find(needles_, value, &Needle::value) != needles_.end())
          value = value_of(kind_.value, rng_);
        needles_.push_back({keys_.back(), value, rng_.uniform()});
      }
    }
    std::ranges::stable_sort(needles_, {}, &Needle::depth);
  }

  void ask() {
    keys_.resize(static_cast<size_t>(kind_.asked));
    for (const std::string& key : keys_)
      for (const Needle& needle : needles_)
        if (needle.key == key) answers_.push_back(needle.value);
    const std::string of = concat_text(" for ", listed(keys_), " mentioned in the provided text");
    question_ = answers_.size() == 1
                    ? concat_text("\nWhat is the special magic ", noun_, of, "? The special magic ", noun_, of, " is")
                    : concat_text("\nWhat are all the special magic ", noun_, "s", of, "? The special magic ", noun_,
                                  "s", of, " are");
  }

  void choose_haystack(std::string_view text) {
    if (kind_.hay == Hay::needles) {
      separator_ = "\n";
      next_sentence_ = [this] { return other_needle(); };
    } else if (text.empty()) {
      next_sentence_ = [this] { return std::string(kNoise[sentences_.size() % kNoise.size()]); };
    } else {
      next_sentence_ = [source = Sentences(text, hay_.below(text.size()))]() mutable { return source.next(); };
    }
  }

  [[nodiscard]] std::string sentence_of(const Needle& needle) const {
    return concat_text("One of the special magic ", noun_, "s for ", needle.key, " is: ", needle.value, ".");
  }

  /// A needle nobody asks for.
  std::string other_needle() {
    Needle needle;
    if (kind_.key == Secret::uuid) {
      do needle.key = uuid_of(hay_);
      while (needle.key == keys_.front());
    } else {
      const auto i = static_cast<int64_t>(sentences_.size());
      needle.key = order_[kind_.keys + i % (needle_keys() - kind_.keys)];
    }
    do needle.value = value_of(kind_.value, hay_);
    while (std::ranges::find(answers_, needle.value) != answers_.end());
    return sentence_of(needle);
  }

  static std::string tail_of(const std::string& sentence, size_t cut) {
    std::string tail = sentence.substr(cut);
    for (size_t i = 0; cut > 0 && i < tail.size() && (static_cast<unsigned char>(tail[i]) & 0xC0) == 0x80; ++i)
      tail[i] = ' ';
    return tail;
  }

  const Kind& kind_;
  std::string noun_;
  Rng rng_, hay_;
  KeyOrder order_;
  std::vector<std::string> keys_;  // asked for
  std::vector<Needle> needles_;    // by depth
  std::vector<std::string> answers_;
  std::string question_, separator_ = " ";
  std::function<std::string()> next_sentence_;
  std::vector<std::string> sentences_;  // of the haystack, as far as they were needed
};

/// Counts tokens with what an Encoder remembers; of bytes without making them.
class TokenCount {
 public:
  explicit TokenCount(const Tokenizer& tokenizer) : encoder_(tokenizer) {}
  int64_t operator()(std::string_view text, Part part = Part::first) {
    if (encoder_.tokenizer().kind() == TokenizerKind::bytes) return static_cast<int64_t>(text.size());
    ids_.clear();
    encoder_.encode(text, ids_, part);
    return static_cast<int64_t>(ids_.size());
  }

 private:
  Encoder encoder_;
  std::vector<int64_t> ids_;
};

void check_options(const NeedleOptions& options, int64_t index) {
  check(options.seed >= 0, "needles: expected a seed of 0 or more, found ", options.seed);
  check(options.length <= kLongestNeedles, "needles: expected a length of at most ", kLongestNeedles, ", found ",
        options.length);
  check(index >= 0, "needles: expected an index of 0 or more, found ", index);
  check(options.max_new_tokens >= 0, "needles: expected max_new_tokens of 0 or more, found ", options.max_new_tokens);
  if (options.fit == LengthFit::at_most) return;
  check(options.tokenizer.kind() == TokenizerKind::bytes,
        "needles: an exact length needs tokens of bytes, found the tokenizer ", options.tokenizer.name());
  check(options.max_new_tokens == 0, "needles: an exact length leaves no room for max_new_tokens, found ",
        options.max_new_tokens);
}

}  // namespace

EnumNames<NeedleTask> names_of(NeedleTask) {
  static constexpr std::array<std::pair<NeedleTask, std::string_view>, 8> kNames = {{{single_1, "single_1"},
                                                                                     {single_2, "single_2"},
                                                                                     {single_3, "single_3"},
                                                                                     {multikey_1, "multikey_1"},
                                                                                     {multikey_2, "multikey_2"},
                                                                                     {multikey_3, "multikey_3"},
                                                                                     {multivalue, "multivalue"},
                                                                                     {multiquery, "multiquery"}}};
  return kNames;
}

std::optional<NeedleTask> needle_task(std::string_view name) {
  constexpr std::string_view kPrefix = "niah_";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  return value_in(names_of(NeedleTask{}), name);
}

bool takes_haystack(NeedleTask task) { return kind_of(task).hay == Hay::text; }

NeedleExample needle_example(const NeedleOptions& options, int64_t index) {
  check_options(options, index);
  Draft draft(options, index);
  TokenCount tokens(options.tokenizer);
  NeedleExample example;
  example.answers = draft.answers();
  example.completion = draft.completion();
  const int64_t said = std::max(options.max_new_tokens, tokens(example.completion, Part::rest));
  const int64_t end = options.fit == LengthFit::exact ? 1 : 0;  // of the text

  const auto length = [&](int64_t count) {
    const std::string prompt = draft.prompt(count);
    // Where completion follows prompt in one text, pieces may be merged across.
    return end + std::max(tokens(prompt) + said, tokens(prompt + example.completion));
  };
  const int64_t least = length(0);
  check(least <= options.length, name_in(names_of(options.task), options.task), ": needs at least ", least,
        " tokens for example ", index, ", found ", options.length);
  int64_t fits = 0, beyond = 1;  // sentences; one has a token at least
  const auto goes_on = [&] { return !options.stop || !options.stop(); };
  while (goes_on() && beyond <= options.length && length(beyond) <= options.length) {
    fits = beyond;
    beyond *= 2;
  }
  while (goes_on() && beyond - fits > 1) {
    const int64_t middle = fits + (beyond - fits) / 2;
    (length(middle) <= options.length ? fits : beyond) = middle;
  }
  example.prompt = draft.prompt(fits);
  if (options.fit == LengthFit::exact && length(fits) < options.length)
    example.prompt = draft.prompt(fits + 1, static_cast<size_t>(length(fits + 1) - options.length));
  example.max_new_tokens = std::max(said, tokens(example.prompt + example.completion) - tokens(example.prompt));
  return example;
}

}  // namespace ratel::tasks
