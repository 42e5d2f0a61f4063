#pragma once

#include <cstddef>
#include <cstdint>

#include "core/shape.h"

/// The most a parser accepts. Each bounds what a hostile file can cost in memory, time or stack, far above what an
/// honest one needs.
namespace ratel::io {

inline constexpr size_t kJsonDepth = 16;          ///< arrays and objects inside one another
inline constexpr size_t kJsonValues = 4'000'000;  ///< values held at once while a document is read
inline constexpr size_t kJsonBytes = 100'000'000;

inline constexpr size_t kTomlBytes = 1'000'000;
inline constexpr size_t kTomlDepth = 16;  ///< parts of a key, and arrays inside one another

inline constexpr size_t kTokenSidecarBytes = 100'000;

inline constexpr size_t kPromptBytes = 100'000'000;  ///< a file of prompts

inline constexpr size_t kTokenizerBytes = 100'000'000;  ///< a SentencePiece .model file
inline constexpr size_t kTokenizerPieces = 4'000'000;
inline constexpr size_t kTrainingWordBytes = size_t{2} << 30;  ///< different words that a tokenizer is trained on
inline constexpr size_t kUncutBytes = size_t{1} << 20;  ///< text that a tokenizer must encode at once: 160 times that

inline constexpr uint64_t kSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kSafetensorsTensors = 1'000'000;
inline constexpr size_t kSafetensorsRank = kMaxRank;
inline constexpr size_t kSafetensorsShards = 10'000;

inline constexpr size_t kPickleBytes = 64'000'000;
inline constexpr size_t kPickleOpcodes = 10'000'000;
inline constexpr size_t kPickleNodes = 4'000'000;     ///< values of a pickle, which take about 50 bytes each
inline constexpr size_t kPickleDepth = 256;           ///< values, and marks, inside one another
inline constexpr size_t kPickleJsonValues = 100'000;  ///< of what is shown of a pickle as JSON

inline constexpr size_t kZipEntries = 1'000'000;
inline constexpr uint64_t kZipRatio = 100;  ///< bytes that one compressed byte may become

}  // namespace ratel::io
