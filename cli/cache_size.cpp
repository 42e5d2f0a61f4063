#include "cli/cache_size.h"

#include "cli/output.h"

namespace ratel::cli {

CacheSize cache_size(const OpenedModel& model, const ModelPattern& pattern, int64_t context) {
  const RatPlus& rat_plus = model.loaded.model;
  return {context, kv_cache_bytes(rat_plus.config, pattern, context, rat_plus.dtype()),
          kv_cache_bytes(rat_plus.config, ModelPattern{}, context, rat_plus.dtype())};
}

io::Json to_json(const CacheSize& size) {
  return io::Json::object({{"context", size.context}, {"bytes", size.bytes}, {"dense_bytes", size.dense_bytes}});
}

std::string text_of(const CacheSize& size) {
  const double share = 100 * static_cast<double>(size.bytes) / static_cast<double>(size.dense_bytes);
  return concat_text(human_bytes(size.bytes), " for ", with_commas(size.context), " tokens, ", fixed(share, 1),
                     "% of the dense ", human_bytes(size.dense_bytes));
}

}  // namespace ratel::cli
