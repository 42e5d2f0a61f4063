// continue_text FOLDER [PROMPT]: lets the model of a folder continue a text, through every 16th key. Where there is no
// folder it first makes one, of a small model that has learned nothing.
#include <filesystem>
#include <iostream>

#include "models/generate.h"
#include "models/model_folder.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: continue_text FOLDER [PROMPT]\n";
    return 2;
  }
  const std::string folder = argv[1], prompt = argc > 2 ? argv[2] : "It is a truth";
  try {
    if (!std::filesystem::exists(folder)) {
      ratel::nn::ParamStore store(ratel::DType::f32, /*seed=*/1);
      const ratel::ModelDescription description{ratel::rat_plus_preset("tiny"), ratel::Tokenizer::bytes(), {}};
      const ratel::RatPlus model(store, description.config);
      ratel::save_model(folder, description, store);
    }
    const ratel::LoadedModel loaded = ratel::load_model(folder);
    if (!loaded.description.tokenizer) ratel::fail(folder, ": the model has no tokenizer of its own");
    const ratel::Tokenizer& tokenizer = *loaded.description.tokenizer;
    const auto texts =
        ratel::generate(loaded.model, {tokenizer.encode(prompt)}, ratel::ModelPattern::uniform({.dilation = 16}),
                        {.max_new_tokens = 16, .token_text = ratel::texts_of(tokenizer)});
    std::cout << prompt << texts.sequences[0].text << '\n';
  } catch (const ratel::Error& error) {
    std::cerr << "continue_text: " << error.what() << '\n';
    return static_cast<int>(error.kind());
  }
}
