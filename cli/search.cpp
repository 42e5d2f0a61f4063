#include "train/search.h"

#include <cmath>
#include <exception>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/model_tokens.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "core/clock.h"
#include "io/distinct_files.h"
#include "io/token_sidecar.h"
#include "models/description.h"
#include "models/pattern_file.h"

namespace ratel::cli {
namespace {

using io::Json;
using train::Grain;
using train::Measured;
using train::SearchResult;
using train::Verdict;

constexpr int kLossDigits = 5;

constexpr std::pair<train::Around, std::string_view> kArounds[] = {{train::Around::budget, "budget"},
                                                                   {train::Around::dense, "dense"}};
constexpr std::pair<Verdict, std::string_view> kVerdicts[] = {
    {Verdict::better, "better"}, {Verdict::tie, "tie"}, {Verdict::worse, "worse"}};

/// What was asked for and what came of it.
struct Search {
  train::SearchOptions options;
  SearchResult result;
  std::string budget, model, output;
  double seconds = 0;
};

bool writes_found(const SearchResult& result) { return &result.best() == &result.found; }

double share_of(const Measured& one, const SearchResult& result) {
  return static_cast<double>(one.kv_bytes) / static_cast<double>(result.dense.kv_bytes);
}

Json as_json(const Measured& one, const SearchResult& result) {
  return Json::object({{"pattern", to_json(one.pattern)},
                       {"loss", one.loss},
                       {"kv_bytes", one.kv_bytes},
                       {"share", share_of(one, result)}});
}

Json as_json(const train::SearchRound& round, const SearchResult& result) {
  Json sensitivities = Json::array();
  for (const train::Sensitivity& one : round.sensitivities)
    sensitivities.push_back(Json::object({{"layer", one.layer},
                                          {"head", one.head < 0 ? Json() : Json(one.head)},
                                          {"change", Json::array_of(one.change)}}));
  return Json::object({{"base", as_json(round.base, result)},
                       {"sensitivities", std::move(sensitivities)},
                       {"predicted_loss", round.predicted_loss},
                       {"chosen", as_json(round.chosen, result)}});
}

Json as_json(const Search& search) {
  const SearchResult& result = search.result;
  Json rounds = Json::array(), uniform = Json::array();
  for (const train::SearchRound& round : result.rounds) rounds.push_back(as_json(round, result));
  for (const Measured& one : result.uniform) uniform.push_back(as_json(one, result));
  return Json::object(
      {{"verdict", name_in(EnumNames<Verdict>(kVerdicts), result.verdict)},
       {"written", writes_found(result) ? "found" : "uniform"},
       {"output", search.output},
       {"found", as_json(result.found, result)},
       {"best_uniform", as_json(result.uniform[result.best_uniform], result)},
       {"difference", result.difference},
       {"standard_error", result.standard_error},
       {"uniform", std::move(uniform)},
       {"dense", as_json(result.dense, result)},
       {"tokens", result.tokens},
       {"seq_len", search.options.seq_len},
       {"context", search.options.context},
       {"keys", Json::object({{"found", result.keys}, {"budget", result.budget_keys}, {"dense", result.dense_keys}})},
       {"dilations", Json::array_of(search.options.dilations)},
       {"rounds", std::move(rounds)},
       {"seconds", search.seconds}});
}

/// The dilations alone: layers are parted by blanks, heads by commas.
std::string dilations_of(const ModelPattern& pattern) {
  std::string text;
  for (const HeadPatterns& heads : pattern.layers)
    for (size_t head = 0; head < heads.size(); ++head)
      text += concat_text(head > 0 ? "," : text.empty() ? "" : " ", heads[head].dilation);
  return text;
}

std::string signed_text(double value) { return (value < 0 ? "-" : "+") + fixed(std::abs(value), kLossDigits); }

std::string as_text(const train::SearchRound& round, const Search& search) {
  std::vector<std::vector<std::string>> rows{{search.options.grain == Grain::heads ? "layer.head" : "layer"}};
  for (const int64_t dilation : search.options.dilations) rows[0].push_back(concat_text("D=", dilation));
  for (const train::Sensitivity& one : round.sensitivities) {
    auto& row = rows.emplace_back();
    row.push_back(one.head < 0 ? std::to_string(one.layer) : concat_text(one.layer, ".", one.head));
    for (const double change : one.change) row.push_back(change == 0 ? "." : signed_text(change));
  }
  return concat_text("Change of the loss ", fixed(round.base.loss, kLossDigits),
                     " of D = ", dilations_of(round.base.pattern), " where one alone gets another D:\n",
                     table_text(rows), "chosen: D = ", dilations_of(round.chosen.pattern), "; predicted loss ",
                     fixed(round.predicted_loss, kLossDigits), ", measured ", fixed(round.chosen.loss, kLossDigits),
                     "\n\n");
}

std::string verdict_text(const SearchResult& result) {
  const std::string uniform = concat_text(result.uniform[result.best_uniform].pattern);
  const std::string error = concat_text(" (standard error ", fixed(result.standard_error, kLossDigits), ")");
  const std::string by = fixed(std::abs(result.difference), kLossDigits) + " nats a token";
  if (result.verdict == Verdict::better)
    return concat_text("better than the best uniform, ", uniform, ", by ", by, error);
  if (result.verdict == Verdict::worse)
    return concat_text("worse than the best uniform, ", uniform, ", by ", by, error);
  if (result.found.pattern == result.uniform[result.best_uniform].pattern)
    return concat_text("it is the uniform ", uniform);
  return concat_text("a tie with the best uniform, ", uniform, ": ", result.difference <= 0 ? "better" : "worse",
                     " by ", by, ", within two standard errors", error);
}

std::string as_text(const Search& search) {
  const SearchResult& result = search.result;
  std::string text;
  for (const train::SearchRound& round : result.rounds) text += as_text(round, search);
  std::vector<std::vector<std::string>> rows{{"pattern", "D", "loss", "KV cache", "of dense"}};
  const auto add = [&](const char* what, const Measured& one) {
    rows.push_back({what, dilations_of(one.pattern), fixed(one.loss, kLossDigits), with_commas(one.kv_bytes) + " B",
                    fixed(100 * share_of(one, result), 2) + "%"});
  };
  add("found", result.found);
  for (const Measured& one : result.uniform) add("uniform", one);
  add("dense", result.dense);
  return concat_text(text, "On ", with_commas(result.tokens), " tokens that were not searched on; KV cache of ",
                     with_commas(search.options.context), " tokens, W=", search.options.window,
                     " S=", search.options.initial, ":\n", table_text(rows, 2), "\nfound: ", verdict_text(result),
                     "\n");
}

std::string written_text(const Search& search) {
  return concat_text("written: ", search.output, ", the ",
                     writes_found(search.result) ? "pattern found" : "uniform pattern", "\n");
}

void write_pattern(const Search& search) {
  const SearchResult& result = search.result;
  const Measured &best = result.best(), &uniform = result.uniform[result.best_uniform];
  const auto line = [](const char* what, const Measured& one) {
    return concat_text(what, fixed(one.loss, kLossDigits), " nats a token, ", with_commas(one.kv_bytes), " B");
  };
  std::string comment = concat_text("ratel search --kv-budget ", search.budget, ", for the model ", search.model, "\n",
                                    line("loss of this pattern: ", best), " of KV cache for ",
                                    with_commas(search.options.context), " tokens");
  if (writes_found(result))
    comment += concat_text("\n", line("of the best uniform pattern: ", uniform), ", ", uniform.pattern);
  write_pattern_file(search.output, best.pattern,
                     comment + concat_text("\n", line("of the dense pattern: ", result.dense)));
}

}  // namespace

int run_search(Arguments args) {
  ModelOptions from;
  Search search;
  train::SearchOptions& how = search.options;
  std::string data, around = "budget";
  bool heads = false, json = false;
  EndOfText eos;
  search.budget = "1/16";
  how.seq_len = 0;
  Options options("search",
                  "Finds the dilation of every layer, or head, such that the KV cache stays within a budget and the\n"
                  "loss is least. Measures on the first half of the data how the loss changes where one layer alone\n"
                  "gets each dilation, chooses, verifies on the second half beside the uniform patterns, and writes\n"
                  "the better one as a pattern file.");
  from.add_to(options);
  options.text("--data", "FILE.bin", data, "Token file, as ratel tokenize writes it", Presence::required);
  options.text("--output", "FILE.toml", search.output, "Pattern file to write", Presence::required);
  options.text("--kv-budget", "SHARE", search.budget,
               "Keys and values that may be kept, of all in a dense cache: 1/16 or 0.0625");
  options.integers("--dilations", "D,D,...", how.dilations, "To choose from; -1: no dilated keys [1,2,4,...,128]");
  options.integer("--window", "W", how.window, "The W keys before a query are seen too, everywhere");
  options.integer("--initial", "S", how.initial, "The first S keys are seen too, everywhere");
  options.flag("--heads", heads, "A dilation for every head; else one for every layer");
  options.text("--around", "budget|dense", around, "The uniform pattern that changes are first measured around");
  options.integer("--rounds", "N", how.rounds, "Times to measure the changes, each around what was found before");
  options.integer("--context", "T", how.context, "Tokens of context that the KV cache is counted for");
  options.integer("--tokens", "N", how.tokens, "Tokens of each evaluation: more tell smaller differences");
  options.integer("--verify-tokens", "N", how.verify_tokens, "The same for the few evaluations that verify");
  options.integer("--seq-len", "T", how.seq_len, "Tokens of a window; 0: as the model was trained, or 256");
  options.integer("--batch-size", "N", how.batch_size, "Windows computed at once");
  eos.add_to(options);
  options.flag("--json", json, "Print one JSON object: verdict, found, uniform, dense, rounds and more");
  options.example("ratel search --model runs/tiny --data heldout.bin --kv-budget 1/16 --output tiny-16th.toml");
  options.example("ratel search --model runs/tiny --data heldout.bin --kv-budget 1/4 --heads --output quarter.toml");
  if (options.parse(args) == Options::Parsed::help) return 0;
  how.budget = train::parse_share(search.budget, "--kv-budget");
  const auto place = value_in(EnumNames<train::Around>(kArounds), around);
  check(place.has_value(), "--around: expected budget or dense, found '", around, "'");
  how.around = *place;
  how.grain = heads ? Grain::heads : Grain::layers;
  check(how.seq_len >= 0, "--seq-len: expected 1 or more, found ", how.seq_len);
  check(how.batch_size >= 1, "--batch-size: expected 1 or more, found ", how.batch_size);
  check_output_path(search.output);
  io::check_distinct(std::vector<io::FileRole>{{"the output", search.output}},
                     std::vector<io::FileRole>{{"the data", data}, {"its sidecar", io::token_sidecar_path(data)}});
  const std::optional<int64_t> asked_eos = eos.given();

  const OpenedModel opened = from.open();
  if (how.seq_len == 0) how.seq_len = opened.seq_len;
  search.model = from.path;
  how.eos = end_of_text(asked_eos, opened, data);
  const io::TokenFile file = open_tokens(opened, data, how.eos);
  catch_signals();
  file.validate(stop_requested);

  how.stop = stop_requested;
  ProgressLine line;
  const auto begin = Clock::now();
  how.progress = [&](int64_t done, int64_t total) {
    if (!line.is_due()) return;
    const double left = seconds_since(begin) / static_cast<double>(done) * static_cast<double>(total - done);
    line.show(concat_text("search: ", with_commas(done), " of ", with_commas(total), " tokens evaluated, ETA ",
                          human_seconds(left)));
  };
  search.result = train::search(opened.loaded.model, file, how);
  line.finish();
  search.seconds = seconds_since(begin);
  if (!search.result.complete) {
    note("ratel: stopped; ", search.output, " was not written");
    return signal_exit_code();
  }
  std::exception_ptr unwritten;  // is not to keep from the screen what was found
  try {
    write_pattern(search);
  } catch (const Error&) {
    unwritten = std::current_exception();
  }
  if (json)
    print_json(as_json(search));
  else
    print(as_text(search) + (unwritten ? "" : written_text(search)));
  if (unwritten) std::rethrow_exception(unwritten);
  return 0;
}

}  // namespace ratel::cli
